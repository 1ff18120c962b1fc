from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyarch.engine.veil import Veil
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "canary/pass word"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f"echo {PASSWORD}", id="as it stands"),
        pytest.param("GET /?p=canary%2Fpass%20word", id="in an address"),
        pytest.param("p=canary%2Fpass+word&x=1", id="in a form"),
        pytest.param("Authorization: Basic cm9ib3Q6Y2FuYXJ5L3Bhc3Mgd29yZA==", id="as Basic credentials"),
        pytest.param("> authorization: bearer canary-token", id="a bearer token"),
        pytest.param('{"Proxy-Authorization": "Basic canary"}', id="a proxy's, as JSON"),
        pytest.param("clone https://user:canary@git.example.com/x failed", id="user information"),
        pytest.param("https://canary@git.example.com/x", id="a token as the user"),
        pytest.param("https://b.s3.example.com/x?a=1&X-Amz-Signature=canary&b=2", id="a signed address"),
        pytest.param("HTTP 403 https://x.example/y?X-Amz-Security-Token=canary", id="a session's token"),
        pytest.param("https://x.blob.example/y?sv=1&sig=canary%3D", id="Azure's signature"),
        pytest.param('url="https://x.example/y?token=canary"', id="a token in a query"),
        pytest.param("npm token canary-npm-token", id="a build secret of the environment"),
        pytest.param("line canary-of-a-key in a trace", id="one line of a build secret of a file"),
    ],
)
def test_no_secret_that_is_known_stays(line: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN\r\ncanary-of-a-key\r\n-----END\n")
    words = ["--secret=env:NPM_TOKEN", "--secret-id=npm", f"--secret=file:{tmp_path}/key", "--secret=cmd:x"]
    environ = {"NPM_TOKEN": "canary-npm-token\n"}
    shown = Veil.of(words, username="robot", password=PASSWORD, environ=environ)(line)
    assert "canary" not in shown
    assert "Y2FuYXJ5" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "line",
    [
        "RUN pip install app==1.2.3",
        "resolving docker.io/library/python:3.13@sha256:abc",
        "https://example.com/x?version=1&platform=linux/amd64",
        "signature verified; token: none; a@b.example",
        "#5 0.123 [1.2s] | x",
    ],
)
def test_ordinary_lines_stay_as_they_are(line: str) -> None:
    assert Veil.of(["--secret=env:ABSENT", "--secret=file:/nowhere"], environ={})(line) == line


def test_a_secret_of_three_letters_does_not_star_every_word() -> None:
    assert Veil.of([], password="app", environ={})("build app") == "build app"


def test_a_veil_does_not_show_what_it_hides() -> None:
    assert "canary" not in repr(Veil.of([], password="canary", environ={}))


@given(st.text(min_size=4, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_password_is_never_shown_whatever_it_is(password: str, before: str, after: str) -> None:
    shown = Veil.of([], password=password, environ={})(f"{before}{password}{after}")
    assert password.strip("\r\n") not in shown.replace("***", "") or len(password.strip("\r\n")) < 4
