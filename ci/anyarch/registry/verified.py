"""Streams of bytes held against the size and digest that their descriptor promises."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from anyarch.errors import ContentError

if TYPE_CHECKING:
    from anyarch.oci.descriptor import Descriptor


class Verifier:
    """Checks a blob as it passes.

    Args:
        blob: What the bytes should be.
        subject: Whose blob it is, for the message.
    """

    def __init__(self, blob: Descriptor, *, subject: str) -> None:
        self.blob = blob
        self.subject = subject
        self.seen = 0
        self._hash = hashlib.new(blob.digest.algorithm)

    @property
    def complete(self) -> bool:
        """Whether as many bytes came as were promised."""
        return self.seen == self.blob.size

    def take(self, chunk: bytes) -> None:
        """Count and hash the next bytes; with the last ones comes the verdict.

        Raises:
            ContentError: too many bytes, or the digest is another one.
        """
        self.seen += len(chunk)
        self._hash.update(chunk)
        if self.seen > self.blob.size:
            raise ContentError(f"{self.subject}: more than the {self.blob.size} bytes promised")
        found = self._hash.hexdigest() if self.complete else ""
        if found and found != self.blob.digest.hex:
            raise ContentError(
                f"{self.subject}: the bytes received are {self.blob.digest.algorithm}:{found}",
                hint="a proxy or the storage altered them; try again, then ask its operator",
            )

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises:
            ContentError: too early.
        """
        if not self.complete:
            raise ContentError(f"{self.subject}: {self.seen} bytes instead of the {self.blob.size} promised")
        if not self.blob.size:
            self.take(b"")


def too_long(blob: Descriptor, max_bytes: int, name: str) -> ContentError:
    """The error for a blob that is longer than its reader accepts."""
    return ContentError(f"{name}@{blob.digest}: {blob.size} bytes are more than the {max_bytes} allowed")
