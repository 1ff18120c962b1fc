"""The lock that keeps writers of a layout's ``index.json`` apart, and is gone when they are."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from anyarch.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_FILE: Final = "index.json.lock"

_SECONDS_MAX: Final = 30.0
_POLL_SECONDS: Final = 0.05
_OPENING: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def locked(directory: int, subject: str) -> Iterator[None]:
    """Hold the lock file of BuildKit's in a directory, and remove it at the end: a layout stays clean.

    A lock on a file that somebody removed meanwhile counts for nothing, so that it is looked up again
    after it was got; and only who holds the lock removes the file. A killed process leaves the file, but
    no lock: the next writer takes it over, and removes it.

    Args:
        directory: The layout's, open.
        subject: The file, for messages.

    Raises:
        RegistryUnavailableError: another process keeps it for longer than 30 s.
        OSError: the file cannot be made.
    """
    ends_at = time.monotonic() + _SECONDS_MAX
    while (held := _try(directory)) is None:
        if time.monotonic() > ends_at:
            raise RegistryUnavailableError(
                f"{subject} is held by another process for more than {_SECONDS_MAX:.0f} s",
                hint="wait for it to end, or stop it; the file itself may stay",
            )
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        try:
            with suppress(OSError):  # in a folder where only the owner removes files, it stays
                if _is_there(directory, held):
                    os.unlink(LOCK_FILE, dir_fd=directory)
        finally:
            os.close(held)


def _try(directory: int) -> int | None:
    """The lock file, open and locked; None if somebody else holds it, or has just removed it."""
    descriptor = os.open(LOCK_FILE, _OPENING, 0o666, dir_fd=directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    if _is_there(directory, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _is_there(directory: int, descriptor: int) -> bool:
    """Whether the file of that name is still the one that we have open."""
    try:
        named = os.stat(LOCK_FILE, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))
