"""What lies in a blob folder of an OCI layout."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.inventory import Held

if TYPE_CHECKING:
    from collections.abc import Iterator


def blobs_in(folder: int, algorithm: str) -> Iterator[Held]:
    """Every blob of one folder, with its size and when it was written.

    Args:
        folder: The open directory.
        algorithm: Its name: the names of its files are digests without it.
    """
    for name in sorted(os.listdir(folder)):
        try:
            digest = Digest.parse(f"{algorithm}:{name}")
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (UsageError, FileNotFoundError):  # no blob, or gone since it was listed
            continue
        if stat.S_ISREG(found.st_mode):
            written = datetime.fromtimestamp(found.st_mtime, UTC)
            yield Held(digest=digest, written=written, size=found.st_size)
