"""Every failure a user can meet: one tree, facts as fields, one exit code per class.

::

    AnyarchError
    ├── UsageError 2            a word on the command line cannot be understood
    ├── ConfigError 3           anyarch.toml
    ├── MissingToolError 4      a program this command needs
    ├── FileProblemError 5      a file or folder that cannot be read or written
    ├── EngineError
    │   ├── EngineUnreachableError 10
    │   ├── EngineStartError 11
    │   ├── BuildFailedError 12
    │   ├── EngineDiskFullError 13
    │   ├── BuildTimeoutError 14
    │   ├── PartialBuildError 15  some platforms were built, a required one was not
    │   └── CannotRunError 16     an engine cannot start an image's program
    ├── RegistryError
    │   ├── RegistryUnavailableError 20
    │   ├── AuthenticationError 21
    │   ├── DeniedError 22
    │   ├── NotFoundError 23
    │   ├── ImmutableTagError 24
    │   ├── RegistryProtocolError 25
    │   ├── ContentError 26       bytes that are not what their digest, size or media type says
    │   └── DeletionUnsupportedError 27
    ├── RecordError 30
    ├── PlanMismatchError 31
    ├── MergeRefusedError 32
    ├── VerifyFailedError 33
    ├── LostRaceError 34
    ├── PlanError 35
    ├── ImagesDifferError 36      anyarch diff found differences
    ├── OlderRunError 37          a tag holds the release of a newer run
    ├── TrialFailedError 38       a command failed on some platforms' images
    ├── PruneError 39             what is needed cannot be told, or not all could be deleted
    └── ChecksFailedError 40      anyarch doctor found something that publishing needs
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from anyarch.shown import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, as shells report it


class AnyarchError(Exception):
    """A failure with a message for people: what happened, where, what was expected, what to do next.

    Args:
        what: One sentence: what happened and to which object. Line breaks are escaped, but for ``in_lines``.
        hint: What the reader can do next; empty if there is nothing to add.
        facts: What a program reading ``--format json`` wants as fields: ``platform``, ``url``, ``status`` …
    """

    exit_code: ClassVar[int] = 1
    usual_hint: ClassVar[str] = ""  # where nothing nearer is known

    def __init__(self, what: str, *, hint: str = "", **facts: object) -> None:
        self.what = shown(what)
        self.hint = shown(hint or self.usual_hint)
        self.facts: Mapping[str, object] = MappingProxyType(facts)
        super().__init__(self.what)

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.hint}" if self.hint else self.what


class OffendersError(AnyarchError):
    """A failure that names every offender at once, one line each."""

    def __init__(self, what: str, *, offenders: Sequence[str] = (), hint: str = "", **facts: object) -> None:
        super().__init__(what, hint=hint, **facts)
        self.offenders = tuple(map(shown, offenders))

    def __str__(self) -> str:
        lines = [self.what, *(f"  - {offender}" for offender in self.offenders)]
        return "\n".join([*lines, f"  → {self.hint}"] if self.hint else lines)


class UsageError(AnyarchError):
    """A word on the command line cannot be understood."""

    exit_code = 2


class ConfigError(OffendersError):
    """anyarch.toml says something that cannot be done."""

    exit_code = 3


class MissingToolError(AnyarchError):
    """A program that this command needs is not installed."""

    exit_code = 4


class FileProblemError(AnyarchError):
    """A file or folder cannot be read or written."""

    exit_code = 5
    usual_hint = "is the path right, and may this user read and write there?"


class EngineError(AnyarchError):
    """A Dagger engine, or a build on it, failed."""


class EngineUnreachableError(EngineError):
    """Nothing that speaks Dagger's protocol answers at an engine's URL."""

    exit_code = 10


class EngineStartError(EngineError):
    """The native engine did not come up."""

    exit_code = 11


class BuildFailedError(EngineError):
    """A Dockerfile instruction, or the function around it, failed."""

    exit_code = 12


class EngineDiskFullError(EngineError):
    """The engine has no room left for layers."""

    exit_code = 13


class BuildTimeoutError(EngineError):
    """A platform's build did not end within its deadline."""

    exit_code = 14


class PartialBuildError(OffendersError, EngineError):
    """Some platforms were built and published by digest; a required one was not: nothing is tagged."""

    exit_code = 15


class CannotRunError(EngineError):
    """An engine cannot start a program of an image: foreign, with no emulator for it, or not there."""

    exit_code = 16


class RegistryError(AnyarchError):
    """A registry, or an OCI layout, refused or failed.

    ``is_refusal``: it is certain that what was asked was not done.
    """

    is_refusal: ClassVar[bool] = True


class RegistryUnavailableError(RegistryError):
    """A registry does not answer, or answers only with temporary errors, within the deadline."""

    exit_code = 20
    is_refusal = False


class AuthenticationError(RegistryError):
    """A registry does not accept the credentials (401)."""

    exit_code = 21


class DeniedError(RegistryError):
    """The credentials are known but may not do this (403)."""

    exit_code = 22


class NotFoundError(RegistryError):
    """A repository, manifest, tag or blob is not there (404)."""

    exit_code = 23
    usual_hint = "is the name right, and was it pushed there? registries say so also to whoever may not look"

    @property
    def of_repository(self) -> bool:
        """Whether all of a repository is missing, which is to be made first."""
        return "repository" in self.facts


class ImmutableTagError(RegistryError):
    """A tag exists, points elsewhere and the registry forbids moving it."""

    exit_code = 24


class RegistryProtocolError(RegistryError):
    """A registry's answer breaks the distribution specification or one of our limits."""

    exit_code = 25
    is_refusal = False
    usual_hint = "the registry, or a proxy before it, breaks the protocol: ask whoever runs it"


class ContentError(RegistryError):
    """Bytes are not what their digest, size or media type says, or are no valid manifest."""

    exit_code = 26
    is_refusal = False
    usual_hint = "damaged, or written by a tool that breaks the specification: build and push it again"


class DeletionUnsupportedError(RegistryError):
    """A registry deletes no manifests by the distribution protocol."""

    exit_code = 27


class RecordError(OffendersError):
    """A record file is truncated, hostile or not a record."""

    exit_code = 30


class PlanMismatchError(OffendersError):
    """Records and plan do not belong together."""

    exit_code = 31


class MergeRefusedError(OffendersError):
    """The images do not make up the planned index."""

    exit_code = 32


class VerifyFailedError(OffendersError):
    """A published index is not what it should be."""

    exit_code = 33


class LostRaceError(AnyarchError):
    """Somebody else moved a tag while we did."""

    exit_code = 34


class PlanError(OffendersError):
    """A plan file is truncated, hostile or not a plan."""

    exit_code = 35
    usual_hint = "make it again: anyarch plan --format json"


class ImagesDifferError(AnyarchError):
    """Two images were compared, and they are not the same."""

    exit_code = 36


class OlderRunError(OffendersError):
    """A tag points at the release of a newer run than the one that wants to move it."""

    exit_code = 37


class TrialFailedError(OffendersError):
    """A command was run on every platform's image of a release, and on some it failed."""

    exit_code = 38


class PruneError(OffendersError):
    """What is still needed cannot be told, so that nothing was deleted; or not all could be."""

    exit_code = 39


class ChecksFailedError(AnyarchError):
    """A doctor looked, and something is not as it must be."""

    exit_code = 40
