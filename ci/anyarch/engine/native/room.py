"""Whether a native engine's disk is full: it loses commands then, and tells no client why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.engine.native import record
from anyarch.engine.native.places import LOG, RECORD, RUNTIME

if TYPE_CHECKING:
    from anyarch.engine.urls import EngineUrl

_WORDS: Final = "no space left on device"
_READ_MAX_BYTES: Final = 8 * 1024**2  # the log's end; a busy engine writes less in minutes
_LITTLE_BYTES: Final = 64 * 1024**2  # no layer of use fits


@dataclass(frozen=True, slots=True)
class Room:
    """A native engine's state folder, and how long its log was at first."""

    state: Path
    before_bytes: int

    @classmethod
    def of(cls, url: EngineUrl | None) -> Room | None:
        """Look at the engine of this URL; None if it is no native engine of this machine and cache."""
        if url is None or url.scheme != "unix" or Path(url.socket_path).parent.parent != RUNTIME:
            return None
        try:
            known = record.read(Path(url.socket_path).parent / RECORD)
            if known is None:
                return None
            state = Path(known.state)
            return cls(state, (state / LOG).stat().st_size)
        except OSError:
            return None  # another user's

    def lack(self) -> str:
        """What shows that there is, or just was, no room; empty if nothing does."""
        try:
            if _WORDS in self._said():
                return f"{self.state / LOG} says: {_WORDS}"
            disk = os.statvfs(self.state)
        except OSError:
            return ""
        free = disk.f_bavail * disk.f_frsize
        return f"{free // 1024**2} MiB are free in {self.state}" if free < _LITTLE_BYTES else ""

    def _said(self) -> str:
        with (self.state / LOG).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            begin = self.before_bytes if self.before_bytes <= size else 0  # it was begun anew
            log.seek(max(begin, size - _READ_MAX_BYTES))
            return log.read(_READ_MAX_BYTES).decode(errors="replace")
