"""Platforms: ``os/architecture[/variant]``, normalised on construction.

The table of synonyms is containerd's (https://github.com/containerd/platforms). Nothing here looks at
the machine it runs on: the same words mean the same platform everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)

# The values Go knows: https://go.dev/doc/install/source#environment, which image-spec refers to.
_OPERATING_SYSTEMS: Final = frozenset(
    {"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "linux", "netbsd"}
    | {"openbsd", "plan9", "solaris", "wasip1", "windows"}
)
_ARCHITECTURES: Final = frozenset(
    {"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64"}
    | {"ppc64le", "riscv64", "s390x", "wasm"}
)
# synonym → (architecture, variant that it implies)
_SYNONYMS: Final = {
    "aarch64": ("arm64", ""),
    "armel": ("arm", "v6"),
    "armhf": ("arm", "v7"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "x86-64": ("amd64", ""),
    "x86_64": ("amd64", ""),
}
# What the architecture alone already means; such a variant is left out.
_IMPLIED_VARIANTS: Final = {"amd64": "v1", "arm64": "v8"}
_ATTESTATION_WORD: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform, normalised: ``linux/arm64/v8`` is ``linux/arm64``, ``linux/arm`` is ``linux/arm/v7``.

    ``os_version`` and ``os_features`` are Windows matters; they take part in equality.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        os, architecture, variant = _normalise(self.os, self.architecture, self.variant)
        object.__setattr__(self, "os", os)
        object.__setattr__(self, "architecture", architecture)
        object.__setattr__(self, "variant", variant)
        object.__setattr__(self, "os_features", tuple(sorted(self.os_features)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``os/architecture[/variant]`` as a user types it.

        Raises:
            UsageError: not that form, or an operating system or architecture that nobody has.
        """
        words = text.split("/")
        if len(words) not in {2, 3} or not all(_WORD.fullmatch(word) for word in words):
            raise UsageError(
                f"{text[:80]!r} is not a platform",
                hint="expected os/architecture[/variant], for example linux/arm64 or linux/arm/v7",
            )
        platform = cls(words[0], words[1], "".join(words[2:]))
        if platform.os not in _OPERATING_SYSTEMS:
            raise _unknown_word(text, "operating system", platform.os, _OPERATING_SYSTEMS)
        if platform.architecture not in _ARCHITECTURES:
            raise _unknown_word(text, "architecture", platform.architecture, _ARCHITECTURES, _SYNONYMS)
        return platform

    @classmethod
    def from_oci(cls, fields: Mapping[str, object]) -> Self:
        """Read the ``platform`` object of a descriptor, or the same fields of an image config.

        Unknown words are kept: images by other tools may name platforms that we do not know.

        Raises:
            UsageError: ``os`` or ``architecture`` is missing, or a field is not of its type.
        """
        words = {key: fields.get(key, "") for key in ("os", "architecture", "variant", "os.version")}
        features = fields.get("os.features") or []
        strings = all(isinstance(word, str) for word in words.values())
        if not strings or not isinstance(features, list | tuple):
            raise UsageError(f"platform fields must be strings: {str(dict(fields))[:160]}")
        if not all(word.isprintable() for word in map(str, (*words.values(), *features))):
            raise UsageError("a platform field holds a character that cannot be printed")
        if not words["os"] or not words["architecture"]:
            raise UsageError(f"a platform needs os and architecture: {str(dict(fields))[:160]}")
        return cls(
            os=str(words["os"]),
            architecture=str(words["architecture"]),
            variant=str(words["variant"]),
            os_version=str(words["os.version"]),
            os_features=tuple(str(feature) for feature in features),
        )

    def to_oci(self) -> dict[str, object]:
        """The ``platform`` object of a descriptor, in the specification's key order."""
        fields: dict[str, object] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            fields["os.version"] = self.os_version
        if self.os_features:
            fields["os.features"] = list(self.os_features)
        if self.variant:
            fields["variant"] = self.variant
        return fields

    def is_spelled(self, fields: Mapping[str, object]) -> bool:
        """Whether a ``platform`` object says this platform in the words that readers compare with theirs.

        A variant that goes without saying may be said or not.
        """
        usual = {"", self.variant, _IMPLIED_VARIANTS.get(self.architecture, "")}
        said = fields.get("os"), fields.get("architecture")
        return said == (self.os, self.architecture) and (fields.get("variant") or "") in usual

    @property
    def is_attestation(self) -> bool:
        """Whether this is BuildKit's ``unknown/unknown``, the mark of an attestation manifest."""
        return self.os == _ATTESTATION_WORD and self.architecture == _ATTESTATION_WORD

    @property
    def slug(self) -> str:
        """The platform as part of a file or job name: ``linux-arm-v7``."""
        return str(self).replace("/", "-")

    def runs(self, target: Platform) -> bool:
        """Whether a machine of this platform surely executes ``target`` without an emulator.

        64-bit x86 runs 32-bit x86, and a later 32-bit ARM runs an earlier one. 64-bit ARM is not
        counted for 32-bit ARM: many servers have no such mode, and a native claim must hold.
        """
        if self.os != target.os:
            return False
        if self.architecture == target.architecture:
            return not target.variant or self.variant >= target.variant
        return (self.architecture, target.architecture) == ("amd64", "386")

    def __str__(self) -> str:
        words = [self.os, self.architecture, self.variant]
        return "/".join(word for word in words if word)


def _normalise(os: str, architecture: str, variant: str) -> tuple[str, str, str]:
    os, architecture, variant = os.lower(), architecture.lower(), variant.lower()
    os = "darwin" if os == "macos" else os
    architecture, implied = _SYNONYMS.get(architecture, (architecture, ""))
    variant = variant or implied
    if variant.isdigit():
        variant = f"v{variant}"
    if architecture == "arm" and not variant:
        variant = "v7"
    if _IMPLIED_VARIANTS.get(architecture) == variant:
        variant = ""
    return os, architecture, variant


def _unknown_word(
    text: str, kind: str, word: str, known: Collection[str], more: Collection[str] = ()
) -> UsageError:
    """The error for a word that nobody has; ``more`` are other names of known ones, meant perhaps."""
    import difflib  # noqa: PLC0415  only a mistake needs it

    near = difflib.get_close_matches(word, sorted({*known, *more}), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
    return UsageError(f"platform {text[:80]!r}: no {kind} is called {word!r}", hint=hint)
