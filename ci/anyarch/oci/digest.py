"""Digests: the name of a blob or manifest is the hash of its bytes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

from anyarch.errors import ContentError, UsageError

# https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
_HEX_LENGTHS: Final = {"sha256": 64, "sha512": 128}
_ON_THE_WAY: Final = "a proxy or the registry's storage altered them; try again, then ask its operator"
_DIGEST: Final = re.compile(r"(?P<algorithm>[a-z0-9]+):(?P<hex>[0-9a-f]+)", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """``algorithm:hex``, e.g. ``sha256:2c26b4…``; only sha256 and sha512 are accepted."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a digest.

        Raises:
            UsageError: ``text`` is not a sha256 or sha512 digest in lower-case hexadecimal.
        """
        match = _DIGEST.fullmatch(text)
        if match is None or _HEX_LENGTHS.get(match["algorithm"]) != len(match["hex"]):
            raise UsageError(
                f"{text[:160]!r} is not a digest",
                hint="expected sha256: and 64 lower-case hexadecimal digits",
            )
        return cls(match["algorithm"], match["hex"])

    @classmethod
    def of(cls, content: bytes, *, algorithm: str = "sha256") -> Self:
        """Hash ``content``."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def matches(self, content: bytes) -> bool:
        """Whether ``content`` has this digest."""
        return self.of(content, algorithm=self.algorithm) == self

    def check(self, content: bytes, *, subject: str, hint: str = _ON_THE_WAY) -> None:
        """Refuse bytes that are not this digest's.

        Raises:
            ContentError: ``content`` hashes to something else; ``subject`` says whose bytes they are.
        """
        found = self.of(content, algorithm=self.algorithm)
        if found != self:
            raise ContentError(
                f"{subject}: expected {self}, but the bytes received are {found}",
                hint=hint,
            )

    @property
    def short(self) -> str:
        """The first 12 hexadecimal digits, for tables read by people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
