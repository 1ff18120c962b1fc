"""Credentials from where ``docker login`` leaves them: config.json and credential helpers."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

from anyarch.errors import AuthenticationError, ContentError
from anyarch.oci import strict_json

_CONFIG_MAX_BYTES: Final = 4 * 1024 * 1024
_HELPER_SECONDS_MAX: Final = 10.0
_HELPER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_DOCKER_HUB_KEY: Final = "https://index.docker.io/v1/"
_DOCKER_HUB_NAMES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
# What helpers say on stdout when they simply have nothing; the text is their protocol:
# https://github.com/docker/docker-credential-helpers/blob/master/credentials/error.go
_HELPER_HAS_NOTHING: Final = "credentials not found"
_IDENTITY_TOKEN_USER: Final = "<token>"  # noqa: S105  a helper's mark, not a secret


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name with a password, or an identity token that buys access tokens."""

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown, in every form in which it travels."""
        plain = [secret for secret in (self.password, self.identity_token) if secret]
        return (*plain, *map(quote, plain), *map(quote_plus, plain), self.basic.partition(" ")[2])


def credential_for(host: str) -> Credential | None:
    """What Docker's configuration holds for a registry, or None: then requests are anonymous.

    ``credHelpers`` come before ``credsStore``, and that before ``auths``. A helper may take up to 10 s.

    Args:
        host: As in a reference: ``docker.io``, ``registry.example.com:5000``.

    Raises:
        AuthenticationError: the configuration cannot be read, or a helper fails.
    """
    path = config_path()
    config = _read_config(path)
    helper = _by_host(config.get("credHelpers"), host)
    if helper is None and config.get("credsStore"):
        helper = config["credsStore"]
    if helper is not None:
        found = _ask_helper(str(helper), host, path)
        if found is not None:
            return found
    entry = _by_host(config.get("auths"), host)
    return _from_entry(entry, path, host) if isinstance(entry, dict) else None


def config_path() -> Path:
    """``$DOCKER_CONFIG/config.json``, or the one in the home folder."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def _read_config(path: Path) -> dict[str, object]:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise AuthenticationError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return strict_json.loads_object(raw, subject=str(path), max_bytes=_CONFIG_MAX_BYTES)
    except ContentError:
        # Not the parser's words: they may quote a secret.
        raise AuthenticationError(
            f"{path} is not valid JSON", hint="repair it, or log in again: docker login"
        ) from None


def _by_host(entries: object, host: str) -> object:
    """The entry of a host. Keys are hosts, or URLs of old: ``https://host/v1/``."""
    if not isinstance(entries, dict):
        return None
    names = _DOCKER_HUB_NAMES if host in _DOCKER_HUB_NAMES else frozenset({host})
    for key, value in entries.items():
        if key in names or _host_of(key) in names:
            return value
    return None


def _host_of(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _from_entry(entry: dict[str, object], path: Path, host: str) -> Credential | None:
    username, password = _text(entry, "username"), _text(entry, "password")
    if _text(entry, "auth"):
        try:
            pair = base64.b64decode(_text(entry, "auth"), validate=True).decode()
        except (binascii.Error, ValueError):
            raise AuthenticationError(
                f"{path}: the entry of {host} is damaged", hint=f"log in again: docker login {host}"
            ) from None
        username, _, password = pair.partition(":")
        password = password.rstrip("\0")
    token = _text(entry, "identitytoken")
    return Credential(username, password, token) if token or (username and password) else None


def _text(fields: dict[str, object], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _ask_helper(name: str, host: str, path: Path) -> Credential | None:
    if _HELPER_NAME.fullmatch(name) is None:
        raise AuthenticationError(
            f"{path} names a credential helper {name[:80]!r}, which no program is called"
        )
    program = _find_program(f"docker-credential-{name}")
    if program is None:
        raise AuthenticationError(
            f"{path} names the credential helper docker-credential-{name}, which is not in PATH",
            hint="install it, or take it out of credHelpers/credsStore",
        )
    server = _DOCKER_HUB_KEY if host in _DOCKER_HUB_NAMES else host
    code, answer = _run(program, server)
    if code != 0:
        if _HELPER_HAS_NOTHING in answer:
            return None
        # A helper's answer may hold anything, so it is not quoted.
        raise AuthenticationError(
            f"{program} failed for {host} (exit code {code})",
            hint=f"try it by hand: echo {server} | {program.name} get",
        )
    try:
        fields = json.loads(answer)
        username, secret = fields["Username"], fields["Secret"]
    except (ValueError, TypeError, KeyError):
        raise AuthenticationError(f"{program} did not answer with a credential for {host}") from None
    if not isinstance(username, str) or not isinstance(secret, str) or not secret:
        return None
    if username == _IDENTITY_TOKEN_USER:
        return Credential(username, identity_token=secret)
    return Credential(username, secret)


def _find_program(name: str) -> Path | None:
    """From the absolute folders of PATH only: never the working directory (CVE-2019-15752)."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder) / name
        if Path(folder).is_absolute() and path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def _run(program: Path, server: str) -> tuple[int, str]:
    try:
        process = subprocess.Popen(
            [program, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise AuthenticationError(f"{program} cannot be run: {error.strerror}") from error
    with process:
        try:
            answer, _ = process.communicate(f"{server}\n", timeout=_HELPER_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):  # its children too: one of them may be what waits
                os.killpg(process.pid, signal.SIGKILL)
            raise AuthenticationError(
                f"{program} did not answer within {_HELPER_SECONDS_MAX:.0f} s"
            ) from None
    return process.returncode, answer
