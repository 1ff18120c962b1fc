"""Reading record files from a folder that strangers may have filled."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from anyarch.errors import FileProblemError
from anyarch.release.record import RECORD_MAX_BYTES
from anyarch.release.record_files import NO_FILE, check_count, is_record_name

if TYPE_CHECKING:
    from anyarch.release.record_files import RecordFile


def read_folder(folder: Path) -> dict[str, RecordFile]:
    """What is called like a record in a folder and in its sub-folders.

    Only regular files are read, no symbolic links; of a file that is too long only so much that the
    reader of records sees it is.

    Raises:
        FileProblemError: the folder is not there or cannot be read.
        RecordError: more files than any release has.
    """
    try:
        inside = [*folder.iterdir(), *(path for sub in _folders(folder) for path in sub.iterdir())]
        paths = sorted(path for path in inside if is_record_name(str(path.relative_to(folder))))
    except OSError as error:
        raise FileProblemError(
            f"records folder {folder}: {error.strerror}",
            hint="anyarch run leaves records in .anyarch/records; --records names the folder",
            path=str(folder),
        ) from error
    check_count(len(paths), str(folder))
    return {str(path.relative_to(folder)): _content(path) for path in paths}


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


def _content(path: Path) -> RecordFile:
    is_file = path.is_file() and not path.is_symlink()
    content = read_file(path) if is_file else None
    return NO_FILE if content is None else content
