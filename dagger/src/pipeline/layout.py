"""From the engine's image archive to an OCI layout directory."""

import re
import shutil
import tarfile
from pathlib import Path
from typing import Final

from anyarch.errors import ContentError

# The archive also has Docker's own manifest.json, which a layout does not need.
_KEPT: Final = re.compile(r"oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}", re.ASCII)


def unpack(archive: Path, folder: Path) -> None:
    """Take the OCI layout out of an archive, by name, so that no entry lands elsewhere.

    Raises:
        ContentError: there is no layout in it.
    """
    (folder / "blobs/sha256").mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or not _KEPT.fullmatch(member.name):
                continue
            with (folder / member.name).open("wb") as file:
                shutil.copyfileobj(content, file)
    if not (folder / "index.json").exists():
        raise ContentError("the engine's image archive holds no OCI layout")
