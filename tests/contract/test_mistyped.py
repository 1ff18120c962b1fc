"""A registry of Amazon's whose name is mistyped: what was meant is said wherever nothing is found there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyarch.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

HOST = "123456789012.dkr.ecr.eu-west-1.amazonws.com"
MEANT = "did you mean 123456789012.dkr.ecr.eu-west-1.amazonaws.com?"


@pytest.fixture(autouse=True)
def _nothing_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(["verify", f"{HOST}/shop/api:1"], 20, id="verify"),
        pytest.param(["promote", f"{HOST}/shop/api:1", "--tag", "stable"], 20, id="promote"),
        pytest.param(["login", HOST], 2, id="login"),
        pytest.param(["doctor", "aws", f"{HOST}/shop/api"], 2, id="doctor aws"),
    ],
)
def test_what_was_meant_is_said(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == code
    assert f"→ {MEANT}" in capsys.readouterr().err
