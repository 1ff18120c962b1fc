"""What an engine needs and leaves outside its namespaces: making it, and removing every trace."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from anyarch.engine.native import cgroups, emulation, network, record
from anyarch.engine.native.locks import locked
from anyarch.engine.native.places import RUNTIME
from anyarch.errors import EngineStartError

if TYPE_CHECKING:
    from collections.abc import Collection

    from anyarch.engine.native.places import Places
    from anyarch.engine.native.process import Signals
    from anyarch.engine.native.record import Record

EMULATION_LOCK: Final = RUNTIME / "emulation.lock"
LOCK_SECONDS: Final = 60.0


async def clear(places: Places, known: Record | None, how: Signals) -> None:
    """Stop the engine if it runs, and remove every trace of it outside its namespaces."""
    if known is not None and not await known.process.stop(how):
        raise EngineStartError(
            f"engine {places.name!r} (process {known.pid}) does not end, not even by SIGKILL"
        )
    await network.disconnect(places.name)
    await cgroups.remove(places.name)
    for path in (places.socket, places.record):
        path.unlink(missing_ok=True)
    if known is not None and known.entries:
        await _forget_emulators(known.entries)


async def _forget_emulators(names: Collection[str]) -> None:
    """Remove those of the kernel's entries that no running engine needs."""
    async with locked(EMULATION_LOCK, deadline_seconds=LOCK_SECONDS):
        needed: set[str] = set()
        for folder in RUNTIME.iterdir():
            other = record.read(folder / "engine.json")
            if other is not None and other.process.alive:
                needed.update(other.entries)
        await emulation.forget(set(names) - needed)


async def forget(places: Places) -> None:
    """Remove the runtime folder, and the common one with the last engine; the lock inside is ours."""
    shutil.rmtree(places.runtime, ignore_errors=True)
    async with locked(EMULATION_LOCK, deadline_seconds=LOCK_SECONDS):
        if {path.name for path in RUNTIME.iterdir()} == {EMULATION_LOCK.name}:
            EMULATION_LOCK.unlink()
            with suppress(OSError):  # somebody else came in just now
                RUNTIME.rmdir()


def prepare_folders(places: Places) -> None:
    """Make the state's folders; the last run's log is kept once more."""
    tmp = places.state / "tmp"
    shutil.rmtree(tmp, ignore_errors=True)
    for folder in (places.root, tmp, places.state / "home", places.scratch):
        folder.mkdir(parents=True, exist_ok=True)
    if places.log.exists():
        os.replace(places.log, places.log.with_suffix(".previous.log"))  # noqa: PTH105  it replaces
