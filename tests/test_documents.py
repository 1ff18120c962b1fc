"""The documents say what is true: commands exist, codes match, links resolve."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from anyarch import errors
from anyarch.cli.main import run
from anyarch.errors import AnyarchError
from anyarch.registry.ecr_repository import HISTORY_TAGS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if ".venv" not in path.parts
)


def console_lines(text: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    return [
        line[2:].partition("  #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line[:2] == "$ "
    ]


def commands(program: str) -> list[list[str]]:
    return [words for line in console_lines(README) if (words := shlex.split(line)) and words[0] == program]


def test_the_first_command_stands_on_the_first_screen() -> None:
    lines = README.splitlines()
    assert next(number for number, line in enumerate(lines, 1) if line.startswith("$ ")) <= 20
    assert len(lines) <= 150


@pytest.mark.parametrize("words", commands("anyarch"), ids=" ".join)
def test_every_anyarch_flag_in_the_readme_exists(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    names = [word for word in words[1:3] if word.isalpha() and word != "records"]
    sub = names if names[:1] == ["engine"] else names[:1]
    assert run([*sub, "--help"]) == 0
    shown = capsys.readouterr().out
    for flag in (word for word in words if word.startswith("--")):
        assert flag in shown


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_every_make_target_in_the_readme_exists(words: list[str]) -> None:
    assert f"\n{words[1]}:" in "\n" + (ROOT / "Makefile").read_text()


def test_the_table_of_exit_codes_covers_every_error() -> None:
    rows = re.findall(r"^\| ([0-9\u2013, ]+) \|", README, flags=re.MULTILINE)
    listed: set[int] = set()
    for number in ",".join(rows).split(","):
        first, _, last = number.strip().partition("\u2013")
        listed |= set(range(int(first), int(last or first) + 1))
    kinds: list[type[AnyarchError]] = [AnyarchError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    assert {kind.exit_code for kind in kinds} - {AnyarchError.exit_code} <= listed
    assert errors.INTERRUPTED_EXIT_CODE in listed


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_resolves(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_all_pages_except_the_same_tags_from_immutability() -> None:
    named = [re.findall(r"_anyarch[\w.]*\.\*", path.read_text()) for path in DOCUMENTS]
    assert {pattern for each in named for pattern in each} == {HISTORY_TAGS}
