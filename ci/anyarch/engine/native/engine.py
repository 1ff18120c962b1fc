"""The native engine: ``up``, ``down`` and ``status`` of one engine among any number of them."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.engine import DAGGER_VERSION
from anyarch.engine.native import cgroups, emulation, network, record, remains
from anyarch.engine.native.build import Installation, install
from anyarch.engine.native.image import python_sdk
from anyarch.engine.native.locks import locked
from anyarch.engine.native.options import UpOptions, digest, engine_config
from anyarch.engine.native.places import Places
from anyarch.engine.native.process import Process
from anyarch.engine.native.record import Record
from anyarch.engine.native.start import Launch, Start, reachable_servers, resolv_conf, wait_until_ready
from anyarch.engine.native.status import EngineInfo, answers, native_platforms
from anyarch.engine.native.tools import require
from anyarch.errors import EngineStartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyarch.engine.native.image import SdkImage
    from anyarch.engine.native.process import Signals
    from anyarch.oci.platforms import Platform

STOP_SECONDS: Final = 300.0  # the cache is written while stopping; 20 s are usual
_KILL_SECONDS: Final = 15.0
_LOCK_SECONDS: Final = 900.0  # another process may be starting or stopping this engine
_STOP: Final[Signals] = ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, _KILL_SECONDS))
# Even an engine that is given up is asked first: killed, it would throw its cache away at the next start.
_GIVE_UP: Final[Signals] = ((signal.SIGTERM, 20.0), (signal.SIGKILL, _KILL_SECONDS))


def _silent(_: str) -> None:
    """Say nothing."""


async def up(
    name: str = "default",
    *,
    options: UpOptions | None = None,
    on_event: Callable[[str], None] = _silent,
) -> EngineInfo:
    """Have the engine ``name`` running with these options; return when it answers.

    One that runs with the same options and answers stays as it is; with other options it is restarted on its
    kept state; what a crash or a reboot left behind is removed first.

    Raises:
        EngineStartError: it does not come up; the message has the cause from its log.
        MissingToolError: programs are missing or this is not root.
        UsageError: a name or an option that cannot be.
    """
    options = options or UpOptions()
    places = Places.of(name)
    machine = emulation.host_platform()
    emulated = emulation.to_emulate(options.emulate, machine)
    require([emulation.emulator(platform) for platform in emulated])
    # The image first: it takes seconds, and what it lacks should not show after minutes of compiling.
    image = await python_sdk(on_event=on_event) if options.python_sdk else None
    installed = await install(on_event=on_event)
    wanted = _digest(places, options, installed, image, emulated)
    async with locked(places.runtime / "lock", deadline_seconds=_LOCK_SECONDS):
        known = record.read(places.record)
        if known and known.options == wanted and await answers(known):
            return _info(known, installed, started=False)
        if known and known.process.alive:
            on_event(f"restarting engine {name!r}: {_why(known, wanted)}")
        await remains.clear(places, known, _STOP)
        on_event(f"starting engine {name!r}")
        try:
            started = await _start(places, options, installed, image, wanted)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await remains.clear(places, record.read(places.record), _GIVE_UP)
                await remains.forget(places)
            raise
    if not reachable_servers(resolv_conf()):
        on_event(
            "warning: /etc/resolv.conf names no server that an engine can reach; builds will find no host"
        )
    return _info(started, installed, started=True)


async def down(name: str = "default", *, on_event: Callable[[str], None] = _silent) -> bool:
    """Stop the engine and undo everything it needed; its state is kept. True if it was running.

    Raises:
        EngineStartError: it cannot be stopped.
        MissingToolError: this is not root.
    """
    places = Places.of(name)
    require()
    if not places.runtime.exists():
        return False
    async with locked(places.runtime / "lock", deadline_seconds=_LOCK_SECONDS):
        known = record.read(places.record)
        running = known is not None and known.process.alive
        if running:
            on_event(f"stopping engine {name!r}")
        with anyio.CancelScope(shield=True):
            await remains.clear(places, known, _STOP)
            await remains.forget(places)
    return running


async def _start(
    places: Places, options: UpOptions, installed: Installation, image: SdkImage | None, wanted: str
) -> Record:
    remains.prepare_folders(places)
    start = Start(
        places=places,
        options=options,
        installed=installed,
        image=image,
        network=await network.lease(places.name),
        hierarchies=cgroups.create(places.name),
        emulated=emulation.to_emulate(options.emulate, emulation.host_platform()),
    )
    launch = await Launch.begin(start)
    try:
        async with locked(remains.EMULATION_LOCK, deadline_seconds=remains.LOCK_SECONDS):
            pid = (await launch.hear("pid"))["pid"]
            process = Process.read(int(str(pid)))
            if process is None:
                raise EngineStartError("the engine's first process ended at once")
            made = _record(start, process, wanted)
            record.write(places.record, made)
            await launch.hear("ready")
        await network.connect(places.name, start.network, process.pid)
        await launch.say("go")
        await launch.hear("started")
    finally:
        await launch.end()
    await wait_until_ready(places, process, deadline_seconds=options.deadline_seconds)
    return made


def _record(start: Start, process: Process, wanted: str) -> Record:
    return Record(
        name=start.places.name,
        url=start.places.url,
        version=DAGGER_VERSION,
        pid=process.pid,
        ticks=process.ticks,
        boot=process.boot,
        started=time.time(),
        options=wanted,
        prefix=str(start.installed.prefix),
        state=str(start.places.state),
        native=native_platforms(),
        emulated=tuple(map(str, start.emulated)),
        entries=tuple(start.emulators),
    )


def _digest(
    places: Places,
    options: UpOptions,
    installed: Installation,
    image: SdkImage | None,
    emulated: tuple[Platform, ...],
) -> str:
    return digest(
        prefix=installed.prefix,
        state=places.state,
        config=engine_config(options),
        image=image.manifest_digest if image else None,
        emulated=emulated,
    )


def _why(known: Record, wanted: str) -> str:
    return "it does not answer" if known.options == wanted else "its options change"


def _info(known: Record, installed: Installation, *, started: bool) -> EngineInfo:
    return EngineInfo(
        name=known.name,
        url=known.url,
        version=known.version,
        pid=known.pid,
        dagger=installed.dagger,
        emulated=known.emulated,
        started=started,
    )
