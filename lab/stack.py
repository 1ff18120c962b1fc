"""A registry and one native engine per platform, started together and stopped together.

The engines stand for the runners of a team: each has its own network, cache and emulators, and all they
share with each other is the registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
from anyarch.engine.native import emulation, engine
from anyarch.engine.native.options import UpOptions

from lab import base_images, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from anyarch.engine.native.status import EngineInfo
    from anyarch.oci.platforms import Platform

    Say = Callable[[str], None]

UP_SECONDS: Final = 2400.0  # compiling the engine on a slow machine is most of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What runs: a registry (``host:port``, plain HTTP) and an engine for each platform.

    ``private`` is a second registry that asks for ``registry.USERNAME`` and ``PASSWORD``, if one was wanted.
    """

    name: str
    registry: str
    private: str | None
    engines: Mapping[Platform, EngineInfo]

    @property
    def engine_flags(self) -> list[str]:
        """``--engine P=URL`` for each engine."""
        return [f"--engine={platform}={info.url}" for platform, info in self.engines.items()]


async def up(
    name: str,
    platforms: Sequence[Platform],
    *,
    cache: Path,
    storage: Path,
    mirror: bool,
    say: Say,
    private: bool = False,
) -> Stack:
    """Have everything running; what runs already stays as it is.

    Args:
        name: First part of the engines' names and the registry's.
        platforms: One engine for each; those the machine cannot run itself are emulated by their engine.
        cache: Where the base images are kept.
        storage: Where the registry keeps its blobs.
        mirror: Whether ``docker.io`` is served from the registry, with base images made here.
        say: Called with a line of progress.
        private: Whether there is a second registry, with a password.

    Raises:
        AnyarchError: some part did not come up; ``down`` stops the others.
    """
    host = await registry.start(name, storage)
    say(f"registry {host}")
    hidden = registry.address(private_name(name))
    if private:
        hidden = await registry.start(private_name(name), storage / "private", True)
    machine = emulation.host_platform()
    engines: dict[Platform, EngineInfo] = {}

    async def start(platform: Platform) -> None:
        options = UpOptions(
            insecure_registries=(host, hidden) if hidden else (host,),
            mirrors={"docker.io": f"http://{host}"} if mirror else {},
            emulate=() if machine.runs(platform) else (platform,),
        )
        info = await engine.up(engine_name(name, platform), options=options, on_event=say)
        engines[platform] = info
        how = "emulates" if info.emulated else "native"
        say(f"engine {info.name} ({how} {platform}): {info.url}")

    async def fill_mirror() -> None:
        digest = await base_images.push(await base_images.ensure(cache, on_line=say), host)
        say(f"registry serves docker.io/{base_images.NAME}:{base_images.TAG} @ {digest[:19]}")

    try:
        with anyio.fail_after(UP_SECONDS):
            async with anyio.create_task_group() as tasks:
                if mirror:
                    tasks.start_soon(fill_mirror)
                for platform in platforms:
                    tasks.start_soon(start, platform)
    except BaseExceptionGroup as group:
        raise first_of(group) from None
    in_order = {platform: engines[platform] for platform in platforms}
    return Stack(name=name, registry=host, private=hidden, engines=in_order)


async def down(name: str, platforms: Sequence[Platform], *, say: Say) -> None:
    """Stop the engines, whose caches stay, and the registry; whatever does not run is no error."""
    for each in (name, private_name(name)):  # first: the last engine removes what all of them share
        await registry.stop(each)
    async with anyio.create_task_group() as tasks:
        for platform in platforms:
            tasks.start_soon(_stop, engine_name(name, platform), say)


def first_of(error: BaseException) -> BaseException:
    """The failure that ended the others."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def private_name(name: str) -> str:
    """The name of a stack's registry with a password."""
    return f"{name}-private"


def engine_name(name: str, platform: Platform) -> str:
    """The name of a stack's engine, for ``anyarch engine status --name``."""
    return f"{name}-{platform.slug}"


async def _stop(name: str, say: Say) -> None:
    if await engine.down(name):
        say(f"engine {name} stopped")
