"""What is known of an engine from outside."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from anyarch.engine import DAGGER_VERSION
from anyarch.engine.native import emulation, record
from anyarch.engine.native.places import Places
from anyarch.engine.probe import probe
from anyarch.engine.urls import parse_engine_url
from anyarch.errors import EngineUnreachableError
from anyarch.oci.platforms import Platform

if TYPE_CHECKING:
    from anyarch.engine.native.record import Record

_ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An engine that answers."""

    name: str
    url: str
    version: str
    pid: int
    dagger: Path  # the client of the same version
    emulated: tuple[str, ...]
    started: bool  # by this call; False if it was up already


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of an engine, up or down."""

    name: str
    state: str  # "up", "unresponsive" or "down"
    url: str
    version: str
    native: tuple[str, ...]
    emulated: tuple[str, ...]
    pid: int | None
    uptime_seconds: float | None
    state_folder: str
    state_bytes: int
    log: str


async def status(name: str = "default") -> Status:
    """What is known of the engine; reads only."""
    places = Places.of(name)
    known = record.read(places.record)
    alive = known is not None and known.process.alive
    state = ("up" if await answers(known) else "unresponsive") if known and alive else "down"
    size = await anyio.to_thread.run_sync(_size, places.state)
    return Status(
        name=name,
        state=state,
        url=places.url,
        version=known.version if known and alive else DAGGER_VERSION,
        native=known.native if known and alive else native_platforms(),
        emulated=known.emulated if known and alive else (),
        pid=known.pid if known and alive else None,
        uptime_seconds=round(time.time() - known.started, 1) if known and alive else None,
        state_folder=str(places.state),
        state_bytes=size,
        log=str(places.log),
    )


async def answers(known: Record) -> bool:
    """Whether the recorded engine still runs and answers."""
    if not known.process.alive:
        return False
    try:
        await probe(parse_engine_url(known.url), deadline_seconds=_ANSWER_SECONDS)
    except EngineUnreachableError:
        return False
    return True


def native_platforms() -> tuple[str, ...]:
    """What this machine runs by itself."""
    machine = emulation.host_platform()
    both = (machine, Platform("linux", "386"))
    return tuple(str(platform) for platform in both if machine.runs(platform))


def _size(folder: Path) -> int:
    """Bytes on disk below a folder, every hard link counted once; what vanishes meanwhile is not."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                stat = (Path(parent) / name).lstat()
            except FileNotFoundError:
                continue
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_blocks * 512
    return total
