"""How much of a stranger's image is read before it is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

from anyarch.errors import ContentError

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# Go's archive/tar, which every container runtime unpacks with, has the same limit for such headers.
SPECIAL_HEADER_MAX_BYTES: Final = 1 * MIB
PATH_MAX_BYTES: Final = 4096  # Linux's PATH_MAX: a longer path cannot be unpacked
NAME_MAX_BYTES: Final = 255  # of one component of a path, on every file system in use
PIECE_BYTES: Final = 1 * MIB  # no more of a layer's content is in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for one image. The defaults are several times those of the largest images in use.

    Args:
        entries: Files, directories, links and whiteouts over all layers.
        content_bytes: Uncompressed bytes over all layers, holes of sparse files counted.
        name_bytes: Paths, link targets and extended attributes, which are kept in memory.
    """

    entries: int = 1_000_000
    content_bytes: int = 64 * GIB
    name_bytes: int = 256 * MIB


@dataclass(slots=True, kw_only=True)
class Budget:
    """What is left of an image's limits while its layers are read."""

    limits: Limits
    entries: int = 0
    content_bytes: int = 0
    name_bytes: int = 0

    def copy(self) -> Self:
        """An independent budget with the same amounts spent."""
        return replace(self)

    def spend_entry(self, name_bytes: int, *, subject: str) -> None:
        """Count one entry and the bytes of its names.

        Raises:
            ContentError: the image has more than the limits allow.
        """
        self.entries += 1
        self.name_bytes += name_bytes
        if self.entries > self.limits.entries:
            raise ContentError(f"{subject}: more than {self.limits.entries} entries in one image")
        if self.name_bytes > self.limits.name_bytes:
            raise ContentError(
                f"{subject}: more than {self.limits.name_bytes // MIB} MiB of names and attributes"
            )

    def spend_content(self, count: int, *, subject: str) -> None:
        """Count ``count`` uncompressed bytes.

        Raises:
            ContentError: the image has more than the limits allow.
        """
        self.content_bytes += count
        if self.content_bytes > self.limits.content_bytes:
            raise ContentError(
                f"{subject}: the image is larger than {self.limits.content_bytes / GIB:g} GiB uncompressed",
                hint="if that is what it should be, allow more with --max-gib",
            )
