"""Nobody publishes under the tags in which anyarch keeps its books, whichever way one asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyarch.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORY = "registry.example.com/shop/api"
HISTORY, PRUNE = "_anyarch.history.latest", "_anyarch.prune"
MERGE = ["merge", f"{REPOSITORY}:1", "--to", REPOSITORY]
PLAN = ["plan", "--engine", "linux/amd64=tcp://amd:1", "--engine", "linux/arm64=tcp://arm:1"]


@pytest.fixture(autouse=True)
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([*MERGE, "--tag", HISTORY], id="merge"),
        pytest.param([*MERGE, "--tag", f"1.4.2 {PRUNE}"], id="merge, beside a good one"),
        pytest.param(["run", "--to", REPOSITORY, "--tag", HISTORY], id="run"),
        pytest.param([*PLAN, "--tag", PRUNE], id="plan"),
        pytest.param(["promote", f"{REPOSITORY}:1", "--tag", HISTORY], id="promote"),
        pytest.param(["promote", f"{REPOSITORY}:1", "--tag", "_anyarch.later"], id="a book to come"),
        pytest.param(["rollback", f"{REPOSITORY}:{HISTORY}"], id="rollback"),
        pytest.param(["rollback", f"{REPOSITORY}:{PRUNE}", f"--to=sha256:{'a' * 64}"], id="rollback --to"),
    ],
)
def test_a_tag_of_our_own_is_no_tag_of_a_release(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    said = capsys.readouterr().err
    assert "is anyarch's own: no release can have it" in said
    assert "what tags pointed at" in said


@pytest.mark.parametrize("command", [pytest.param(PLAN, id="plan"), pytest.param(["run"], id="run")])
def test_a_rule_gives_no_tag_of_our_own(
    app: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (app / "anyarch.toml").write_text(f'[tags]\nrules = ["{HISTORY}"]\n')
    assert run(command) == 2
    assert f"the tag {HISTORY} is anyarch's own" in capsys.readouterr().err
