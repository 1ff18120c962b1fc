"""No command prints, or leaves on disk, what it was given as a secret; not even when it meets a bug."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from anyarch.cli import main

from tests.fake_registry import PASSWORD, TOKEN_PREFIX, USERNAME, FakeRegistry, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BASIC = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
CANARIES = (PASSWORD, BASIC, TOKEN_PREFIX, "canary")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", USERNAME)
    monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", PASSWORD)
    monkeypatch.setenv(main.TRACEBACK_VARIABLE, "1")
    return tmp_path


def assert_clean(*texts: str) -> None:
    assert [canary for text in texts for canary in CANARIES if canary in text] == []


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("echo", 400, times=999, code="UNSUPPORTED"), id="400"),
        pytest.param(Fault("echo", 403, times=999, code="DENIED"), id="403"),
        pytest.param(Fault("echo", 404, times=999, code="NAME_UNKNOWN"), id="404"),
        pytest.param(
            Fault("echo", 307, {"Location": "http://x.example/{sent}?sig=canary"}, times=999),
            id="a redirect",
        ),
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["verify", "{host}/team/app:v1"], id="verify"),
        pytest.param(["diff", "{host}/team/app:v1", "{host}/team/app:v2"], id="diff"),
        pytest.param(["promote", "{host}/team/app:v1", "--tag", "x"], id="promote"),
        pytest.param(["history", "{host}/team/app:v1"], id="history"),
        pytest.param(["rollback", "{host}/team/app:v1"], id="rollback"),
    ],
)
def test_a_registry_that_repeats_what_it_was_shown(
    work: Path, auth: str, fault: Fault, words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeRegistry(auth=auth) as registry:
        registry.faults.append(replace(fault, shown=True))
        command = [word.format(host=registry.host) for word in words]
        main.run([*command, "--format", "json"])
        assert any(seen.authorization for seen in registry.seen), "it was shown"
    assert_clean(*capsys.readouterr())
    assert_clean(*(path.read_text() for path in work.rglob("*") if path.is_file()))


@pytest.mark.parametrize(
    "text",
    [
        f"cannot send {PASSWORD}",
        f"Illegal header value b'Authorization: Basic {BASIC}'",
        "Authorization: Bearer canary-token",
        "no route to https://user:canary@proxy.example.com:3128",
        "GET https://b.s3.example.com/x?X-Amz-Signature=canary failed",
    ],
)
@pytest.mark.usefixtures("work")
def test_a_bug_shows_where_it_is_and_no_secret(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> object:
        raise RuntimeError(text) from ValueError(text)

    monkeypatch.setattr(main, "_app", broken)
    assert main.run(["verify", "x"]) == 1
    said = capsys.readouterr().err
    assert "RuntimeError" in said
    assert "Traceback" in said
    assert "***" in said
    assert_clean(said)
