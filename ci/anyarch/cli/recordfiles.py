"""Reading record files from a folder that strangers may have filled."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from anyarch.errors import FileProblemError, RecordError
from anyarch.release.record import RECORD_MAX_BYTES

FILES_MAX: Final = 1000


def read_folder(folder: Path) -> dict[str, bytes]:
    """The ``*.json`` files of a folder and of its sub-folders, one level deep, as artifacts arrive.

    Only regular files count, no symbolic links; of a file that is too long only so much is read that
    the reader of records sees it is.

    Raises:
        FileProblemError: the folder is not there or cannot be read.
        RecordError: more files than any release has.
    """
    try:
        paths = sorted([*_json_files(folder), *(p for sub in _folders(folder) for p in _json_files(sub))])
    except OSError as error:
        raise FileProblemError(
            f"records folder {folder}: {error.strerror}",
            hint="anyarch run leaves records in .anyarch/records; --records names the folder",
            path=str(folder),
        ) from error
    if len(paths) > FILES_MAX:
        raise RecordError(f"{folder} holds {len(paths)} files; {FILES_MAX} are allowed", path=str(folder))
    return {
        str(path.relative_to(folder)): content for path in paths if (content := read_file(path)) is not None
    }


def read_file(path: Path) -> bytes | None:
    """A record file's bytes; None if it is no regular file (it may have been swapped for a link).

    Raises:
        FileProblemError: it cannot be read.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileProblemError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return None
        return file.read(RECORD_MAX_BYTES + 1)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]


def _json_files(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith("."))
    return [path for path in found if path.is_file() and not path.is_symlink()]
