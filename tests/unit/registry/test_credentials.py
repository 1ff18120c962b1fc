from __future__ import annotations

import base64
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import AuthenticationError
from anyarch.registry.credential import Credential
from anyarch.registry.credentials import credential_for, source_for

if TYPE_CHECKING:
    from pathlib import Path

HOST = "registry.example.com"
SECRET = "canary-secret"
AUTH = base64.b64encode(f"robot:{SECRET}".encode()).decode()
HELPER = """#!{python}
import sys, json
server = sys.stdin.readline().strip()
{body}
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's folder, and a folder of programs that is all of PATH."""
    (tmp_path / "docker").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def configure(docker: Path, document: object) -> None:
    (docker / "docker" / "config.json").write_text(json.dumps(document))


def install(docker: Path, name: str, body: str) -> None:
    path = docker / "bin" / f"docker-credential-{name}"
    path.write_text(HELPER.format(python=sys.executable, body=body))
    path.chmod(0o755)


def answering(username: str, secret: str) -> str:
    return f'print(json.dumps({{"ServerURL": server, "Username": {username!r}, "Secret": {secret!r}}}))'


@pytest.mark.parametrize(
    ("host", "key"),
    [
        pytest.param(HOST, HOST, id="the host"),
        pytest.param(f"{HOST}:5000", f"{HOST}:5000", id="with a port"),
        pytest.param(HOST, f"https://{HOST}/v1/", id="a URL of old"),
        pytest.param("docker.io", "https://index.docker.io/v1/", id="Docker Hub"),
    ],
)
def test_auths(docker: Path, host: str, key: str) -> None:
    configure(docker, {"auths": {"other.example.com": {"auth": "eDp5"}, key: {"auth": AUTH}}})
    assert credential_for(host) == Credential("robot", SECRET)


def test_another_port_is_another_registry(docker: Path) -> None:
    configure(docker, {"auths": {f"{HOST}:5000": {"auth": AUTH}}})
    assert credential_for(HOST) is None
    assert credential_for(f"{HOST}:5001") is None


def test_an_identity_token_comes_along(docker: Path) -> None:
    configure(docker, {"auths": {HOST: {"auth": "MDAwOg==", "identitytoken": SECRET}}})
    found = credential_for(HOST)
    assert found is not None
    assert found.identity_token == SECRET


@pytest.mark.parametrize(
    "document", [{}, {"auths": {}}, {"auths": {HOST: {}}}, {"auths": None}, {"auths": {HOST: "x"}}]
)
def test_nothing_there_is_anonymous(docker: Path, document: object) -> None:
    configure(docker, document)
    assert credential_for(HOST) is None


@pytest.mark.usefixtures("docker")
def test_no_file_is_anonymous() -> None:
    assert credential_for(HOST) is None


@pytest.mark.parametrize("text", ["", "[]", "{", f'{{"auths": {{"{HOST}": {{"auth": "{SECRET}!"}}}}}}'])
def test_a_damaged_file_is_named_and_not_quoted(docker: Path, text: str) -> None:
    (docker / "docker" / "config.json").write_text(text)
    with pytest.raises(AuthenticationError, match=r"config\.json") as failed:
        credential_for(HOST)
    assert SECRET not in f"{failed.value} {failed.value.__cause__} {failed.value.facts}"


def test_a_helper_of_this_host_comes_before_the_store_and_the_file(docker: Path) -> None:
    configure(docker, {"credHelpers": {HOST: "mine"}, "credsStore": "all", "auths": {HOST: {"auth": AUTH}}})
    install(docker, "mine", answering("from-mine", "x"))
    install(docker, "all", answering("from-all", "y"))
    assert credential_for(HOST) == Credential("from-mine", "x")
    assert credential_for("other.example.com") == Credential("from-all", "y")


def test_a_helper_is_asked_for_the_server(docker: Path) -> None:
    configure(docker, {"credsStore": "echo"})
    install(docker, "echo", 'print(json.dumps({"Username": server, "Secret": sys.argv[1]}))')
    assert credential_for(HOST) == Credential(HOST, "get")
    assert credential_for("docker.io") == Credential("https://index.docker.io/v1/", "get")


def test_a_helper_may_give_an_identity_token(docker: Path) -> None:
    configure(docker, {"credsStore": "token"})
    install(docker, "token", answering("<token>", SECRET))
    found = credential_for(HOST)
    assert found is not None
    assert (found.identity_token, found.password) == (SECRET, "")


def test_a_helper_that_has_nothing_leaves_the_file(docker: Path) -> None:
    configure(docker, {"credsStore": "empty", "auths": {HOST: {"auth": AUTH}}})
    install(docker, "empty", 'print("credentials not found in native keychain"); sys.exit(1)')
    assert credential_for(HOST) == Credential("robot", SECRET)
    assert credential_for("other.example.com") is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f'print("{SECRET}"); sys.exit(1)', id="fails"),
        pytest.param(f'print("{SECRET}")', id="answers nonsense"),
        pytest.param(f'print(json.dumps(["{SECRET}"]))', id="answers another document"),
        pytest.param("pass", id="says nothing"),
        pytest.param(f'print("[" * 100_000 + "{SECRET}")', id="answers JSON without end"),
        pytest.param(
            f'print(\'{{"Username": "a", "Username": "b", "Secret": "{SECRET}"}}\')', id="a key twice"
        ),
        pytest.param(
            f'print(\'{{"Username": "\\\\ud800", "Secret": "{SECRET}"}}\')', id="half a surrogate pair"
        ),
        pytest.param(f'sys.stdout.buffer.write(b"\\xff\\xfe{SECRET}")', id="answers bytes of no text"),
    ],
)
def test_a_helper_that_fails_is_named_and_not_quoted(docker: Path, body: str) -> None:
    configure(docker, {"credsStore": "bad"})
    install(docker, "bad", body)
    with pytest.raises(AuthenticationError, match="docker-credential-bad") as failed:
        credential_for(HOST)
    assert SECRET not in f"{failed.value} {failed.value.__cause__}"


def test_a_helper_that_hangs_is_ended_with_its_children(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyarch.registry.helper_program.SECONDS_MAX", 0.5)
    configure(docker, {"credsStore": "slow"})
    install(
        docker,
        "slow",
        'import subprocess; subprocess.run([sys.executable, "-c", "import time; time.sleep(30)"])',
    )
    started = time.monotonic()
    with pytest.raises(AuthenticationError, match="did not answer"):
        credential_for(HOST)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param("while True: print('x' * 65536)", "more than 1048576 bytes", id="never stops talking"),
        pytest.param(
            "sys.stdout.flush(); import os, time; os.close(1); time.sleep(30)",
            "did not answer within 0.5 s",
            id="closes its output and stays",
        ),
    ],
)
def test_a_helper_is_ended_when_it_is_too_much(
    docker: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    if "sleep" in body:
        monkeypatch.setattr("anyarch.registry.helper_program.SECONDS_MAX", 0.5)
    configure(docker, {"credsStore": "much"})
    install(docker, "much", body)
    with pytest.raises(AuthenticationError, match=said):
        credential_for(HOST)


def test_a_helper_that_answers_without_listening_is_heard(docker: Path) -> None:
    configure(docker, {"credsStore": "deaf"})
    body = 'print(json.dumps({"Username": "u", "Secret": "s"}))'
    install(docker, "deaf", body)
    path = docker / "bin" / "docker-credential-deaf"
    path.write_text(path.read_text().replace("server = sys.stdin.readline().strip()", "sys.stdin.close()"))
    assert credential_for(HOST) == Credential("u", "s")


@pytest.mark.parametrize("kind", ["a pipe", "a directory", "endless"])
def test_a_configuration_that_is_no_file_does_not_hold_us(docker: Path, kind: str) -> None:
    path = docker / "docker" / "config.json"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(AuthenticationError, match=r"config\.json cannot be read: "):
        credential_for(HOST)


def test_a_password_of_any_bytes_can_be_sent() -> None:
    """The environment hands out bytes that are no UTF-8 as lone surrogates."""
    credential = Credential("robot", os.fsdecode(b"p\xff"))
    assert base64.b64decode(credential.basic.removeprefix("Basic ")) == b"robot:p\xff"
    assert "p%FF" in credential.secrets


@pytest.mark.parametrize("name", ["../evil", "/bin/sh", "a b", "", "UPPER", "a;b", "-x"])
def test_helper_names_that_are_none(docker: Path, name: str) -> None:
    configure(docker, {"credHelpers": {HOST: name}})
    with pytest.raises(AuthenticationError):
        credential_for(HOST)


@pytest.mark.parametrize("path", ["", ".", "bin", "bin:", ":bin"])
def test_a_helper_is_never_taken_from_the_working_directory(
    docker: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    configure(docker, {"credsStore": "planted"})
    install(docker, "planted", answering("evil", "evil"))
    monkeypatch.chdir(docker / "bin" if path in {"", "."} else docker)
    monkeypatch.setenv("PATH", path)
    with pytest.raises(AuthenticationError, match="not in PATH"):
        credential_for(HOST)


def test_the_environment_comes_after_what_docker_login_left(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a CI system sets it for pulls, a login in the job must count (docker/cli#6156)."""
    said = {"auths": {HOST: {"auth": base64.b64encode(b"robot:env").decode()}, "b.example.com": {}}}
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(said))
    assert credential_for(HOST) == Credential("robot", "env")
    assert "DOCKER_AUTH_CONFIG" in source_for(HOST)
    assert credential_for("b.example.com") is None
    assert credential_for("c.example.com") is None
    configure(docker, {"auths": {HOST: {"username": "me", "password": "file"}}})
    assert credential_for(HOST) == Credential("me", "file")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("canary", id="no JSON"),
        pytest.param('["canary"]', id="no object"),
        pytest.param('{"auths": {"registry.example.com": {"auth": "canary!"}}}', id="no Base64"),
    ],
)
def test_a_damaged_environment_is_named_and_not_quoted(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", text)
    with pytest.raises(AuthenticationError, match="DOCKER_AUTH_CONFIG") as caught:
        credential_for(HOST)
    assert "canary" not in str(caught.value)


def test_a_credential_does_not_show_its_secrets() -> None:
    assert SECRET not in repr(Credential("robot", SECRET, SECRET))
