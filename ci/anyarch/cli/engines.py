"""From a plan to engines that answer: choose one for each platform, start the native one, probe them all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.cli.output import note
from anyarch.engine.locate import container_engine_answers, find_dagger
from anyarch.engine.probe import PROBE_SECONDS, probe
from anyarch.engine.select import Choice, choose
from anyarch.engine.urls import parse_engine_url
from anyarch.errors import AnyarchError, EngineUnreachableError, MissingToolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.oci.platforms import Platform
    from anyarch.release.plan import PlannedPlatform

NATIVE_NAME: Final = "default"


@dataclass(frozen=True, slots=True)
class Engines:
    """The engine of each platform, and the client that calls them."""

    choices: Mapping[Platform, Choice]
    dagger: str
    unreachable: Mapping[Platform, AnyarchError]


async def choices(
    planned: Sequence[PlannedPlatform], *, flags: Mapping[Platform, str]
) -> dict[Platform, Choice]:
    """Which engine would serve each platform. Starts and probes nothing.

    Args:
        planned: The platforms; an engine that ``--engine`` named is in there too.
        flags: ``--engine``.

    Raises:
        UsageError: a URL that cannot be one.
    """

    def pick(each: PlannedPlatform, *, docker: bool, native: str | None) -> Choice:
        return choose(
            each.platform,
            flag=flags,
            configured=each.engine,
            environ=os.environ,
            docker_available=docker,
            native=native,
        )

    without = {each.platform: pick(each, docker=False, native=None) for each in planned}
    if not any(choice.native for choice in without.values()):
        return without  # asking Docker takes up to ten seconds, and nobody needs to know
    docker = await container_engine_answers(os.environ)
    native = None if docker else await native_url()
    return {each.platform: pick(each, docker=docker, native=native) for each in planned}


async def native_url() -> str | None:
    """The URL of the native engine, or None while it is not up."""
    from anyarch.engine.native import record  # noqa: PLC0415  machines with other engines need none of it
    from anyarch.engine.native.places import Places  # noqa: PLC0415
    from anyarch.engine.native.status import answers  # noqa: PLC0415

    known = record.read(Places.of(NATIVE_NAME).record)
    return known.url if known and await answers(known) else None


async def ready(
    planned: Sequence[PlannedPlatform], *, flags: Mapping[Platform, str], insecure: Sequence[str]
) -> Engines:
    """Choose, start what must be started, and probe.

    Args:
        planned: The platforms to be built now.
        flags: ``--engine``.
        insecure: Registries that a native engine started here must speak plain HTTP to.

    Raises:
        EngineUnreachableError: the engine of a required platform does not answer; nothing has been built.
        EngineStartError: the native engine does not come up.
        MissingToolError: no Dagger client, or what the native engine needs.
    """
    chosen = await choices(planned, flags=flags)
    if any(choice.native and choice.url is None for choice in chosen.values()):
        url = parse_engine_url(await _start_native([*chosen], insecure))
        chosen = {
            platform: Choice(url, choice.why, native=True) if choice.native else choice
            for platform, choice in chosen.items()
        }
    native = any(choice.native for choice in chosen.values())
    dagger = find_dagger(os.environ, cached=_cached_client(), native=native)
    unreachable = await _probe_all(chosen, dagger)
    _require(planned, unreachable)
    return Engines(chosen, dagger, unreachable)


async def _start_native(platforms: Sequence[Platform], insecure: Sequence[str]) -> str:
    if os.geteuid() != 0:
        raise MissingToolError(
            "no engine: none is configured, no Docker or Podman runs, and only root can start the native one",
            hint="sudo anyarch engine up, or name one: --engine PLATFORM=URL",
        )
    from anyarch.engine.native import emulation  # noqa: PLC0415  as above
    from anyarch.engine.native.engine import up  # noqa: PLC0415
    from anyarch.engine.native.options import UpOptions  # noqa: PLC0415
    from anyarch.engine.native.tools import find  # noqa: PLC0415

    machine = emulation.host_platform()
    foreign = tuple(platform for platform in platforms if not machine.runs(platform))
    # The usual other one, too, where that costs nothing: the next run may ask for it, and QEMU is only
    # looked for when an engine starts.
    usual = tuple(each for each in emulation.default_emulation() if find(emulation.emulator(each)))
    options = UpOptions(insecure_registries=tuple(insecure), emulate=(*foreign, *usual))
    return (await up(NATIVE_NAME, options=options, on_event=note)).url


def _cached_client() -> Path | None:
    """The Dagger client that was compiled with the native engine, if it was."""
    from anyarch.engine.native.build import installation  # noqa: PLC0415  as above

    client = installation().dagger
    return client if client.is_file() else None


async def _probe_all(chosen: Mapping[Platform, Choice], dagger: str) -> dict[Platform, AnyarchError]:
    """Ask every engine once, all at the same time; return what is wrong with which."""
    failures: dict[str, AnyarchError] = {}
    urls = {str(choice.url): choice.url for choice in chosen.values() if choice.url is not None}

    async def ask(name: str) -> None:
        try:
            await probe(urls[name], dagger=dagger, deadline_seconds=PROBE_SECONDS)
        except AnyarchError as error:
            failures[name] = error

    async with anyio.create_task_group() as group:
        for name in urls:
            group.start_soon(ask, name)
    return {
        platform: failures[str(choice.url)]
        for platform, choice in chosen.items()
        if str(choice.url) in failures
    }


def _require(planned: Sequence[PlannedPlatform], unreachable: Mapping[Platform, AnyarchError]) -> None:
    """Refuse to build half of what cannot become a release; optional platforms may be missing."""
    needed = [each.platform for each in planned if each.required and each.platform in unreachable]
    if not needed:
        return
    said = "; ".join(f"{platform}: {unreachable[platform].what}" for platform in needed)
    raise EngineUnreachableError(
        f"{said}; nothing was built",
        hint=unreachable[needed[0]].hint,
        platforms=[str(platform) for platform in needed],
    )
