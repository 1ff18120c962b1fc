"""The policy files beside the guide to Amazon ECR are what ``anyarch doctor aws`` prints."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from anyarch.cli.main import run
from anyarch.registry.aws_policy import JOBS
from anyarch.registry.ecr_lifecycle import hazards, read_policy, safe

ROOT = Path(__file__).parent.parent
FILES = ROOT / "docs" / "aws"
GUIDE = (ROOT / "docs" / "ecr-setup.md").read_text()
REPOSITORY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/api"
# Each command of the guide that writes a policy, and the file that it names.
PRINTED = {
    name: shlex.split(words)
    for words, name in re.findall(r"^\$ anyarch (doctor aws .*) > (\S+\.json)$", GUIDE, flags=re.MULTILINE)
} | {f"{job}.json": ["doctor", "aws", REPOSITORY, "--policy", job] for job in JOBS}


@pytest.mark.parametrize("name", sorted(set(PRINTED) - {"lifecycle.json"}))
def test_a_policy_in_the_guide_is_what_the_doctor_prints(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(PRINTED[name]) == 0
    assert capsys.readouterr().out == (FILES / name).read_text()


def test_the_lifecycle_policy_in_the_guide_is_the_proposed_one() -> None:
    text = (FILES / "lifecycle.json").read_text()
    assert json.loads(text) == safe(())
    assert hazards(read_policy(text, subject="the file")) == []


def test_every_file_is_made_by_a_command_of_the_guide_and_named_there() -> None:
    there = {path.name for path in FILES.iterdir()}
    assert there == set(PRINTED)
    assert [name for name in there if f"(aws/{name})" not in GUIDE and f"> {name}\n" not in GUIDE] == []
    assert "lifecycle.json" in PRINTED


def test_every_flag_of_the_doctor_in_the_documents_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """In a command or in a sentence."""
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    named = {
        flag
        for page in pages
        for words in re.findall(r"anyarch doctor aws[^`\n#>]*", page.read_text())
        for flag in re.findall(r"--[a-z-]+", words)
    }
    assert run(["doctor", "aws", "--help"]) == 0
    shown = capsys.readouterr().out
    assert len(named) >= 8
    assert [flag for flag in sorted(named) if f"{flag} " not in shown] == []
