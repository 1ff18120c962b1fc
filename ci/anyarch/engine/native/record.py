"""What is known of a started engine: the file that ``up`` leaves for the next command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from anyarch.engine.native.process import Process

if TYPE_CHECKING:
    from pathlib import Path


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine's start. Times are seconds since 1970."""

    name: str
    url: str
    version: str
    pid: int
    ticks: int
    boot: str
    started: float
    options: str  # their digest
    prefix: str
    state: str
    native: tuple[str, ...]
    emulated: tuple[str, ...]
    entries: tuple[str, ...]  # names of the kernel entries that these need

    @property
    def process(self) -> Process:
        """The engine's process, told from any later one with its number."""
        return Process(self.pid, self.ticks, self.boot)


def read(path: Path) -> Record | None:
    """The record; None if there is none or it was cut short."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def write(path: Path, record: Record) -> None:
    """Put the record in place, whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_bytes(msgspec.json.encode(record))
    os.replace(draft, path)  # noqa: PTH105  the name says that it replaces
