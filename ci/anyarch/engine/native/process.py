"""Which process is meant: a number alone may belong to somebody else by now."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

_PROC: Final = Path("/proc")

# Signals to send one after the other, each with the seconds to wait for the end.
Signals = tuple[tuple[signal.Signals, float], ...]


def boot_id() -> str:
    """A word that is another one after every start of the machine."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class Process:
    """One process for good: its number, when it started (clock ticks since boot), and which boot."""

    pid: int
    ticks: int
    boot: str

    @classmethod
    def read(cls, pid: int) -> Process | None:
        """The process that has this number now; None if there is none, or only its remains."""
        try:
            text = (_PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, ticks = parse_stat(text)
        return None if state in "ZXx" else cls(pid, ticks, boot_id())

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return Process.read(self.pid) == self

    async def stop(self, signals: Signals) -> bool:
        """End the process; True if it ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive:  # checked after opening: from here on the descriptor is this process
                return True
            for number, seconds in signals:
                signal.pidfd_send_signal(descriptor, number)
                with anyio.move_on_after(seconds):
                    await anyio.wait_readable(descriptor)
                    return True
        except ProcessLookupError:
            return True
        finally:
            os.close(descriptor)
        return False


def parse_stat(text: str) -> tuple[str, int]:
    """State and start time of ``/proc/PID/stat``; the program's name in it may hold any character."""
    words = text.rpartition(")")[2].split()
    return words[0], int(words[19])
