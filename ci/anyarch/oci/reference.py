"""References: which repository, and which tag or digest in it.

Grammar: https://github.com/distribution/reference/blob/main/reference.go
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from anyarch.errors import UsageError
from anyarch.oci.digest import Digest

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN_PART: Final = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_HOST: Final = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?"
_HOST_ALONE: Final = re.compile(_HOST, re.ASCII)
_REPOSITORY: Final = re.compile(rf"(?:(?P<host>{_HOST})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)", re.ASCII)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_NAME_MAX_CHARACTERS: Final = 255

DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_ALIASES: Final = frozenset({"index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag: 1 to 128 of letters, digits, ``_``, ``.`` and ``-``, not starting with ``.`` or ``-``."""

    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a tag.

        Raises:
            UsageError: ``text`` has a character or a length that no registry takes.
        """
        if _TAG.fullmatch(text) is None:
            raise UsageError(
                f"{text[:160]!r} is not a tag",
                hint="up to 128 letters, digits, '_', '.', '-', and no '.' or '-' at the start",
            )
        return cls(text)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """``host/path``: where one application's images live. Docker Hub's short names are spelled out."""

    host: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``[host/]path`` with no tag or digest.

        Raises:
            UsageError: not a repository name; upper-case letters and a tag are named as the cause. Or a
                host alone, which Docker would take for one of Docker Hub's official images.
        """
        if _is_host(text.rstrip("/")):
            raise UsageError(
                f"{text[:160]!r} names a registry, but no repository in it",
                hint=f"write {text.rstrip('/')[:160]}/PATH, for example {text.rstrip('/')[:160]}/team/app",
            )
        host, path = _split_host(text)
        match = _REPOSITORY.fullmatch(f"{host}/{path}")
        if match is None or match["host"] != host or len(text) > _NAME_MAX_CHARACTERS:
            raise UsageError(f"{text[:160]!r} is not a repository", hint=_why_not(text))
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        return cls(host, path)

    def at(self, target: Digest | Tag) -> Reference:
        """The reference to one manifest in this repository."""
        return Reference(self, target)

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


@dataclass(frozen=True, slots=True)
class Reference:
    """One manifest in one repository, by tag or by digest."""

    repository: Repository
    target: Digest | Tag

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``repository:tag``, ``repository@digest`` or ``repository:tag@digest``.

        With both, the digest counts, as in Docker. There is no default tag: what a command acts on
        is always written out.

        Raises:
            UsageError: not a reference, or one without tag and digest.
        """
        name, at, digest = text.partition("@")
        colon = name.rfind(":")
        has_tag = colon > name.rfind("/")
        tag = Tag.parse(name[colon + 1 :]) if has_tag else None
        repository = Repository.parse(name[:colon] if has_tag else name)
        if at:
            return cls(repository, Digest.parse(digest))
        if tag is None:
            raise UsageError(
                f"{text[:160]!r} names no tag and no digest",
                hint=f"write {text[:160]}:TAG or {text[:160]}@sha256:…",
            )
        return cls(repository, tag)

    def __str__(self) -> str:
        mark = "@" if isinstance(self.target, Digest) else ":"
        return f"{self.repository}{mark}{self.target}"


def _is_host(text: str) -> bool:
    """Whether this is a registry's name with nothing behind it; ``app:1`` is a repository with a tag."""
    named = text == "localhost" or "." in text or text.startswith(("[", "localhost:"))
    return named and _HOST_ALONE.fullmatch(text) is not None


def _split_host(text: str) -> tuple[str, str]:
    """Docker's rule: the first component is a host if it has a dot or colon or is localhost."""
    first, slash, rest = text.partition("/")
    if slash and (any(mark in first for mark in ".:[") or first == "localhost" or first != first.lower()):
        return (DOCKER_HUB if first in _DOCKER_HUB_ALIASES else first), rest
    return DOCKER_HUB, text


def _why_not(text: str) -> str:
    if "://" in text:
        return "leave the scheme away: host/path"
    if "@" in text or ":" in text.rpartition("/")[2]:
        return "a repository has no tag or digest; tags go to --tag"
    if text != text.lower():
        return f"repository names are lower case: {text.lower()[:160]}"
    return "expected host/path, for example registry.example.com/team/app"
