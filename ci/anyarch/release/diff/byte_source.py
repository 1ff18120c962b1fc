"""Uncompressed bytes, read forwards only: counted and hashed as they pass."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from anyarch.errors import ContentError
from anyarch.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyarch.release.diff.limits import Budget


class ByteSource:
    """Pieces of any size, read in the sizes that a tar archive needs."""

    def __init__(self, pieces: Iterator[bytes], *, diff_id: Digest, budget: Budget, subject: str) -> None:
        """Start at the first byte.

        Args:
            pieces: The bytes.
            diff_id: What the config says they hash to; ``finish`` holds them to it.
            budget: What they are counted against.
            subject: Whose bytes they are, for messages.
        """
        self._pieces = pieces
        self._expected = diff_id
        self._budget = budget
        self._subject = subject
        self._hash = hashlib.new(diff_id.algorithm)
        self._piece = b""
        self._at = 0

    def read(self, count: int) -> bytes:
        """``count`` bytes, or fewer at the end."""
        end = self._at + count
        if end <= len(self._piece):
            start, self._at = self._at, end
            return self._piece[start:end]
        return b"".join(self.pieces(count))

    def exactly(self, count: int, *, of: str) -> bytes:
        """``count`` bytes; an earlier end is an error that names what they were part ``of``."""
        found = self.read(count)
        if len(found) != count:
            raise self.truncated(of)
        return found

    def pieces(self, count: int) -> Iterator[memoryview]:
        """``count`` bytes, or fewer at the end, in pieces of any size."""
        while count and (self._at < len(self._piece) or self._next()):
            part = memoryview(self._piece)[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            yield part

    def skip(self, count: int, *, of: str) -> None:
        """Pass over ``count`` bytes."""
        left = count - sum(len(part) for part in self.pieces(count))
        if left:
            raise self.truncated(of)

    def finish(self) -> None:
        """Read to the end, whatever is behind the archive, and hold all bytes to the diff_id.

        Raises:
            ContentError: the config promises something else.
        """
        while self._next():
            pass
        found = Digest(self._expected.algorithm, self._hash.hexdigest())
        if found != self._expected:
            raise ContentError(
                f"{self._subject}: the diff_id is {self._expected}, but the layer unpacks to {found}",
                hint="whoever made the image joined a config with layers that are not its own",
            )

    def truncated(self, of: str) -> ContentError:
        """The error for an end in the middle of something."""
        return ContentError(f"{self._subject}: the archive ends in the middle of {of}")

    def _next(self) -> bool:
        for piece in self._pieces:
            if not piece:
                continue
            self._budget.spend_content(len(piece), subject=self._subject)
            self._hash.update(piece)
            self._piece, self._at = piece, 0
            return True
        self._piece, self._at = b"", 0
        return False
