"""Leaving a credential where ``docker login`` leaves it, so that every other tool finds it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.errors import AuthenticationError, FileProblemError
from anyarch.registry import helper_program
from anyarch.registry.credentials import config_path, read_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.registry.credential import Credential

_DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_KEY: Final = "https://index.docker.io/v1/"
_HELPER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_ASKS_AWS_ITSELF: Final = "ecr-login"


def leave(host: str, credential: Credential) -> str:
    """Store a credential as ``docker login`` would: with the helper that is configured, else in the file.

    Args:
        host: As in a reference.
        credential: User name and password.

    Returns:
        Where it is now, for people.

    Raises:
        AuthenticationError: the configuration is damaged, or its helper does not store.
        FileProblemError: the file cannot be written.
    """
    path = config_path()
    config = read_config(path)
    helpers = config.get("credHelpers")
    helper = helpers.get(host) if isinstance(helpers, dict) else None
    helper = helper or config.get("credsStore")
    key = _DOCKER_HUB_KEY if host == _DOCKER_HUB else host
    auths = config.get("auths")
    entries = dict(auths) if isinstance(auths, dict) else {}
    if helper:
        _hand_over(str(helper), key, credential)
        entries[key] = {}
        where = f"with docker-credential-{helper}"
    else:
        entries[key] = {"auth": credential.basic.partition(" ")[2]}
        where = f"in {path}, which is not encrypted"
    _write(path, {**config, "auths": entries})
    return where


def lend(folder: Path, credentials: Mapping[str, Credential]) -> None:
    """Make a folder a configuration of Docker's: the user's own, with further credentials.

    Args:
        folder: Empty; only we may read it.
        credentials: By host.

    Raises:
        AuthenticationError: the user's own is damaged.
        FileProblemError: it cannot be written.
    """
    path = config_path()
    config = read_config(path)
    auths, helpers = config.get("auths"), config.get("credHelpers")
    lent = {host: {"auth": each.basic.partition(" ")[2]} for host, each in credentials.items()}
    # A host without a helper's name is looked up in the file, even where credsStore names one for all.
    own = dict.fromkeys(credentials, "")
    merged = {
        **config,
        "auths": {**(auths if isinstance(auths, dict) else {}), **lent},
        "credHelpers": {**(helpers if isinstance(helpers, dict) else {}), **own},
    }
    _write(folder / path.name, merged)
    with suppress(OSError):
        for other in path.absolute().parent.iterdir():  # contexts, plugins
            if other.name != path.name:
                (folder / other.name).symlink_to(other)


def _hand_over(helper: str, server: str, credential: Credential) -> None:
    if helper == _ASKS_AWS_ITSELF:
        raise AuthenticationError(
            f"{config_path()} has docker-credential-{helper} log in to {server}; it stores nothing",
            hint="there is nothing to do: every tool asks it when it needs a password",
        )
    if _HELPER_NAME.fullmatch(helper) is None:
        raise AuthenticationError(f"{config_path()} names a credential helper {helper[:80]!r}")
    program = helper_program.find_program(f"docker-credential-{helper}")
    if program is None:
        raise AuthenticationError(
            f"{config_path()} names the credential helper docker-credential-{helper}, which is not in PATH",
            hint="install it, or take it out of credHelpers/credsStore",
        )
    entry = {"ServerURL": server, "Username": credential.username, "Secret": credential.password}
    code, _ = helper_program.ask(program, json.dumps(entry), verb="store")
    if code != 0:
        # Its answer may repeat what it was given, so it is not quoted.
        raise AuthenticationError(
            f"{program} did not store the password for {server} (exit status {code})",
            hint="is the keychain locked? Without credsStore in the configuration a file is used",
        )


def _write(path: Path, config: dict[str, object]) -> None:
    """Replace the file at once, readable by its owner alone; a link to it stays a link."""
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(json.dumps(config, indent="\t", ensure_ascii=False) + "\n")
            Path(draft).replace(target)
        except BaseException:
            with suppress(OSError):
                Path(draft).unlink()
            raise
    except OSError as error:
        raise FileProblemError(f"{target} cannot be written: {error.strerror}", path=str(target)) from error
