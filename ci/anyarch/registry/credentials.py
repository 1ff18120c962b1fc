"""Credentials from where ``docker login`` leaves them, config.json and credential helpers, and from AWS."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import re
import stat
from pathlib import Path
from typing import Final

import anyio.to_thread

from anyarch.errors import AuthenticationError, ContentError, DeniedError
from anyarch.oci import strict_json
from anyarch.registry import aws_settings, helper_program
from anyarch.registry.credential import Credential
from anyarch.registry.ecr_host import EcrHost

AUTH_VARIABLE: Final = "DOCKER_AUTH_CONFIG"  # https://github.com/docker/cli/pull/6008
_CONFIG_MAX_BYTES: Final = 4 * 1024 * 1024
_HELPER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_DOCKER_HUB_KEY: Final = "https://index.docker.io/v1/"
_DOCKER_HUB_NAMES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
# What helpers say on stdout when they simply have nothing; the text is their protocol:
# https://github.com/docker/docker-credential-helpers/blob/master/credentials/error.go
_HELPER_HAS_NOTHING: Final = b"credentials not found"
_IDENTITY_TOKEN_USER: Final = "<token>"  # noqa: S105  a helper's mark, not a secret

# What a registry of Amazon's no longer takes: a file or helper would hand it out again, to an engine, too.
_refused: set[tuple[str, str]] = set()


async def find_credential(
    host: str, refused: Credential | None = None, *, aws_profile: str = ""
) -> Credential | None:
    """The credential for a registry, or None: then requests are anonymous.

    For a registry of Amazon's, AWS comes first wherever it has credentials: what signs the calls of the API
    is then the same that pushes. What ``docker login`` left counts where there are none, and the machine's
    own role after that: where there is none, it takes seconds to find out.

    Args:
        host: As in a reference.
        refused: What an earlier call gave, and the registry does not accept.
        aws_profile: The profile to ask AWS with, for a registry of Amazon's; then only AWS counts.

    Raises:
        AuthenticationError: where it should be, it cannot be had.
    """
    where = EcrHost.parse(host)
    if where is None:
        return await anyio.to_thread.run_sync(credential_for, host)
    if aws_profile or await _aws_has_some(where):
        given = await _from_aws(where, aws_profile, refused)
        if given is not None or aws_profile:
            return given
    if refused is not None:
        _refused.add((host, refused.basic))
    found = await anyio.to_thread.run_sync(credential_for, host)
    if found is not None and (host, found.basic) not in _refused:
        return found
    try:
        return await _from_aws(where, "", refused)
    except (AuthenticationError, DeniedError) as error:
        if found is None:
            raise
        raise type(error)(
            f"{host} no longer accepts what docker login left, and {error.what}",
            hint=f"{error.hint}; or log in again: anyarch login {host}",
            **error.facts,
        ) from None


async def _aws_has_some(where: EcrHost) -> bool:
    if not aws_settings.any_set(os.environ):
        return False
    from anyarch.registry import ecr  # noqa: PLC0415  loading the SDK takes a third of a second

    account = ecr.account(where)
    try:
        return await ecr.within_deadline(account.has_credentials, where)
    except AuthenticationError:
        return True  # there are some, which do not do: to go on as somebody else would hide that


async def _from_aws(where: EcrHost, profile: str, refused: Credential | None) -> Credential | None:
    from anyarch.registry import ecr  # noqa: PLC0415  loading the SDK takes a third of a second

    try:
        return await ecr.account(where, profile=profile).credential(refused)
    except (AuthenticationError, DeniedError):
        if where.is_public and refused is None:
            return None  # anybody may read there
        raise


def credential_for(host: str) -> Credential | None:
    """What Docker's configuration holds for a registry, or None: then requests are anonymous.

    ``credHelpers`` come before ``credsStore``, and that before ``auths``. A helper may take up to 10 s. Last
    comes ``DOCKER_AUTH_CONFIG``: where a CI system sets it for pulls, a login of one's own must count.

    Args:
        host: As in a reference: ``docker.io``, ``registry.example.com:5000``.

    Raises:
        AuthenticationError: the configuration cannot be read, or a helper fails.
    """
    path = config_path()
    config = read_config(path)
    helper = _by_host(config.get("credHelpers"), host)
    if helper is None and config.get("credsStore"):
        helper = config["credsStore"]
    if helper is not None:
        found = _ask_helper(str(helper), host, path)
        if found is not None:
            return found
    entry = _by_host(config.get("auths"), host)
    found = _from_entry(entry, str(path), host) if isinstance(entry, dict) else None
    return found or _from_environment(host)


def _from_environment(host: str) -> Credential | None:
    entry = _by_host(_environment().get("auths"), host)
    return _from_entry(entry, f"${AUTH_VARIABLE}", host) if isinstance(entry, dict) else None


def _environment() -> dict[str, object]:
    raw = os.environ.get(AUTH_VARIABLE, "")
    return _parsed(raw.encode(errors="replace"), f"${AUTH_VARIABLE}") if raw else {}


def source_for(host: str, *, aws_profile: str = "") -> str:
    """Where a registry's credential comes from, in words; nothing is asked of helpers or AWS.

    Raises:
        AuthenticationError: the configuration cannot be read.
    """
    if EcrHost.parse(host) is None:
        return f"from {left}" if (left := left_for(host)) else f"none for {host} in {config_path()}"
    if aws_profile:
        return f"from the AWS profile {aws_profile}, named in anyarch.toml"
    left = left_for(host)
    return f"from AWS credentials, else {left}" if left else "from AWS credentials"


def left_for(host: str) -> str:
    """Where ``docker login`` left something for a registry, in words; empty for nowhere.

    Raises:
        AuthenticationError: the configuration cannot be read.
    """
    path = config_path()
    config = read_config(path)
    helper = _by_host(config.get("credHelpers"), host) or config.get("credsStore")
    named = [f"docker-credential-{str(helper)[:80]}, named in {path}"] if helper else []
    if isinstance(_by_host(config.get("auths"), host), dict) and not helper:
        named.append(f"the entry of {host} in {path}")
    if isinstance(_by_host(_environment().get("auths"), host), dict):
        named.append(f"${AUTH_VARIABLE}")
    return ", else ".join(named)


def config_path() -> Path:
    """``$DOCKER_CONFIG/config.json``, or the one in the home folder."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def read_config(path: Path) -> dict[str, object]:
    """Docker's configuration; empty if there is none.

    Raises:
        AuthenticationError: it cannot be read.
    """
    try:
        raw = _read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise AuthenticationError(f"{path} cannot be read: {error.strerror}") from error
    return _parsed(raw, str(path))


def _parsed(raw: bytes, subject: str) -> dict[str, object]:
    try:
        return strict_json.loads_object(raw, subject=subject, max_bytes=_CONFIG_MAX_BYTES)
    except ContentError:
        # Not the parser's words: they may quote a secret.
        raise AuthenticationError(
            f"{subject} is not valid JSON", hint="repair it, or take it away and log in again: anyarch login"
        ) from None


def _read_regular(path: Path) -> bytes:
    """The file, as far as it may be read: a pipe would hold us, a device would fill the memory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return file.read(_CONFIG_MAX_BYTES + 1)


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


def _from_entry(entry: dict[str, object], subject: str, host: str) -> Credential | None:
    username, password = _text(entry, "username"), _text(entry, "password")
    if _text(entry, "auth"):
        try:
            pair = base64.b64decode(_text(entry, "auth"), validate=True).decode()
        except (binascii.Error, ValueError):
            raise AuthenticationError(
                f"{subject}: the entry of {host} is damaged", hint=f"log in again: anyarch login {host}"
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
    program = helper_program.find_program(f"docker-credential-{name}")
    if program is None:
        raise AuthenticationError(
            f"{path} names the credential helper docker-credential-{name}, which is not in PATH",
            hint="install it, or take it out of credHelpers/credsStore",
        )
    server = _DOCKER_HUB_KEY if host in _DOCKER_HUB_NAMES else host
    code, answer = helper_program.ask(program, server)
    if code != 0:
        if _HELPER_HAS_NOTHING in answer:
            return None
        # A helper's answer may hold anything, so it is not quoted.
        raise AuthenticationError(
            f"{program} failed for {host} (exit code {code})",
            hint=f"try it by hand: echo {server} | {program.name} get",
        )
    try:
        fields = strict_json.loads_object(answer, subject=str(program), max_bytes=_CONFIG_MAX_BYTES)
        username, secret = fields["Username"], fields["Secret"]
    except (ContentError, KeyError):
        raise AuthenticationError(f"{program} did not answer with a credential for {host}") from None
    if not isinstance(username, str) or not isinstance(secret, str) or not secret:
        return None
    if username == _IDENTITY_TOKEN_USER:
        return Credential(username, identity_token=secret)
    return Credential(username, secret)
