"""Versions in git tags: Semantic Versioning as npm's ``semver`` reads it, and PEP 440."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from packaging.version import InvalidVersion
from packaging.version import Version as PythonVersion
from semver import Version as SemanticVersion

SEMVER_MAX_CHARACTERS: Final = 256  # npm's limit
_LARGEST: Final = 2**53 - 1  # the largest whole number of JavaScript
PEP440_MAX_CHARACTERS: Final = 256  # ours: a tag has at most 128

VERSION_NAMES: Final = frozenset({"raw", "version", "major", "minor", "patch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version. ``text`` is its usual form, ``is_final`` says that it is no pre-, post- or dev release."""

    raw: str
    text: str
    major: int
    minor: int
    patch: int
    is_final: bool

    def value(self, name: str) -> str:
        """What ``{{name}}`` stands for."""
        match name:
            case "raw":
                return self.raw
            case "version":
                return self.text
            case "major":
                return str(self.major)
            case "minor":
                return str(self.minor)
            case _:
                return str(self.patch)


def read_semver(text: str) -> Version | None:
    """Read a version as npm does: white space around it and one ``v`` before it are no matter.

    https://semver.org, and https://github.com/npm/node-semver for the ``v``, which the standard refuses.
    ``text`` then is without ``v`` and without build metadata.
    """
    if len(text) > SEMVER_MAX_CHARACTERS:
        return None
    try:
        found = SemanticVersion.parse(text.strip().removeprefix("v"))
    except ValueError:
        return None
    if max(found.major, found.minor, found.patch) > _LARGEST:
        return None
    return Version(
        raw=text,
        text=str(found.replace(build=None)),
        major=found.major,
        minor=found.minor,
        patch=found.patch,
        is_final=found.prerelease is None,
    )


def read_pep440(text: str) -> Version | None:
    """Read a version of Python's kind: https://packaging.python.org/specifications/version-specifiers."""
    if len(text) > PEP440_MAX_CHARACTERS or text != text.strip():
        return None
    try:
        found = PythonVersion(text)
    except InvalidVersion:
        return None
    # metadata-action's library writes commas between the parts of a local version, which tags turn to dashes.
    local = f"+{found.local.replace('.', ',')}" if found.local else ""
    return Version(
        raw=text,
        text=f"{found.public}{local}",
        major=found.major,
        minor=found.minor,
        patch=found.micro,
        is_final=not (found.is_prerelease or found.is_postrelease),
    )
