"""Locks between processes: files that vanish with what they guard."""

from __future__ import annotations

import fcntl
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import EngineStartError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_POLL_SECONDS: Final = 0.1


@asynccontextmanager
async def locked(path: Path, *, deadline_seconds: float) -> AsyncIterator[None]:
    """Hold an exclusive lock; the holder may delete the file.

    Raises:
        EngineStartError: somebody else held it for the whole time.
    """
    descriptor = -1
    try:
        with anyio.fail_after(deadline_seconds):
            while (descriptor := _try(path)) < 0:  # noqa: ASYNC110  flock(2) has no event to wait for
                await anyio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise EngineStartError(
            f"another anyarch process has held {path} for {deadline_seconds:g} s",
            hint=f"see who holds it: fuser -v {path}",
            path=str(path),
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _try(path: Path) -> int:
    """An open descriptor that holds the lock, or -1."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return -1  # its last holder removed the folder just now
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)  # held by somebody else, or deleted by its last holder
    return -1
