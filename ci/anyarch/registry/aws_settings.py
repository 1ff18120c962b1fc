"""What is set of AWS on this machine, told without its SDK: loading that takes a third of a second.

https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROFILE_VARIABLES: Final = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")  # in the SDK's order
_KEY: Final = "AWS_ACCESS_KEY_ID"
_ROLES: Final = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")
_CONTAINER: Final = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
# Each file with where it is unless its variable says otherwise, and what it writes before a profile's name.
_FILES: Final = (
    ("AWS_CONFIG_FILE", "config", "profile "),
    ("AWS_SHARED_CREDENTIALS_FILE", "credentials", ""),
)
_FILE_MAX_BYTES: Final = 4 * 1024 * 1024


def any_set(environ: Mapping[str, str]) -> bool:
    """Whether credentials may come from the environment or a file: from anywhere but the machine itself."""
    named = (_KEY, "AWS_SECRET_ACCESS_KEY", *PROFILE_VARIABLES, *_ROLES, *_CONTAINER)
    return any(environ.get(name) for name in named) or any(path.is_file() for path, _ in _files(environ))


def keys_in(environ: Mapping[str, str]) -> bool:
    """Whether the environment itself holds keys."""
    return bool(environ.get(_KEY)) and not profile_in(environ)


def profile_in(environ: Mapping[str, str]) -> str:
    """The profile that the environment names; empty for none."""
    return next((environ[name] for name in PROFILE_VARIABLES if environ.get(name)), "")


def usable(profile: str, environ: Mapping[str, str]) -> str:
    """The profile that a file of the project names, where it counts; else empty.

    A machine that has no such profile, but keys or a role in its environment, is a CI job: there these count.
    """
    others = (_KEY, *_ROLES, *_CONTAINER)
    if not profile or not any(environ.get(name) for name in others):
        return profile
    return profile if profile in profiles(environ) else ""


def profiles(environ: Mapping[str, str]) -> frozenset[str]:
    """The names of the profiles that are there. A file that cannot be read has none."""
    return frozenset(name for path, before in _files(environ) for name in _sections(path, before) if name)


def _files(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    for variable, name, before in _FILES:
        yield Path(environ.get(variable) or Path("~/.aws", name)).expanduser(), before


def _sections(path: Path, before: str) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_MAX_BYTES).decode(errors="replace")
    except (OSError, RuntimeError):  # RuntimeError: nobody's home
        return
    for line in text.splitlines():
        inside, closed, _ = line.strip().removeprefix("[").partition("]")
        if not closed or not line.lstrip().startswith("["):
            continue
        name = " ".join(inside.split())
        if name == "default" or name.startswith(before):
            yield name.removeprefix(before).strip("\"'")
