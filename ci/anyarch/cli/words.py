"""The words of flags, read once into what the library takes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from anyarch.errors import UsageError
from anyarch.oci.platforms import Platform
from anyarch.release.reserved import release_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anyarch.oci.reference import Tag
    from anyarch.registry.credential import Credential

INSECURE_VARIABLE: Final = "ANYARCH_INSECURE_REGISTRIES"
USERNAME_VARIABLE: Final = "ANYARCH_REGISTRY_USERNAME"
PASSWORD_VARIABLE: Final = "ANYARCH_REGISTRY_PASSWORD"  # noqa: S105  a name, not a password


def separate(values: Iterable[str]) -> list[str]:
    """The words of a flag that may be repeated, or given once with several words, or given empty.

    A workflow has one string for a list: ``--tag "1.2.3 latest"``.
    """
    return [word for value in values for word in value.replace(",", " ").split()]


def platforms(values: Iterable[str]) -> tuple[Platform, ...]:
    """``--platform``.

    Raises:
        UsageError: a word that is no platform.
    """
    return tuple(dict.fromkeys(Platform.parse(word) for word in separate(values)))


def tags(values: Iterable[str]) -> tuple[Tag, ...]:
    """``--tag``.

    Raises:
        UsageError: a word that no registry takes as a tag, or one of our own tags.
    """
    return tuple(dict.fromkeys(release_tag(word) for word in separate(values)))


def engines(values: Iterable[str]) -> dict[Platform, str]:
    """``--engine PLATFORM=URL``.

    Raises:
        UsageError: not that form, a URL that cannot be one, or two URLs for one platform.
    """
    from anyarch.engine.urls import parse_engine_url  # noqa: PLC0415  most commands know no engine

    found: dict[Platform, str] = {}
    for value in values:
        word, equals, url = value.partition("=")
        if not equals:
            raise UsageError(
                f"--engine {value[:160]!r} is not PLATFORM=URL",
                hint="for example --engine linux/arm64=tcp://arm.example.com:1234",
            )
        platform = Platform.parse(word)
        if platform in found:
            raise UsageError(f"--engine names two engines for {platform}", platform=str(platform))
        found[platform] = str(parse_engine_url(url))
    return found


def insecure_hosts(flags: Iterable[str], configured: Iterable[str] = ()) -> tuple[str, ...]:
    """Registries spoken to without TLS: flag, environment and file together."""
    named = separate([*flags, os.environ.get(INSECURE_VARIABLE, ""), *configured])
    return tuple(dict.fromkeys(named))


def credential_from(environ: Mapping[str, str]) -> Credential | None:
    """The credential that the environment gives for the destination; None: what ``docker login`` left counts.

    Raises:
        UsageError: a user name without a password.
    """
    username = environ.get(USERNAME_VARIABLE, "")
    if not username:
        return None
    password = environ.get(PASSWORD_VARIABLE, "")
    if not password:
        raise UsageError(f"{USERNAME_VARIABLE} is set, but {PASSWORD_VARIABLE} is not")
    from anyarch.registry.credential import Credential  # noqa: PLC0415  most calls need none

    return Credential(username=username, password=password)
