"""``anyarch engine``: Dagger engines as ordinary processes of this machine, without Docker."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
import msgspec
from cyclopts import App, Parameter

from anyarch.engine.native.emulation import default_emulation
from anyarch.engine.native.engine import down as stop_engine
from anyarch.engine.native.engine import up as start_engine
from anyarch.engine.native.options import START_SECONDS, UpOptions
from anyarch.engine.native.status import status as read_status
from anyarch.engine.select import RUNNER_HOST
from anyarch.errors import EngineUnreachableError, UsageError
from anyarch.oci.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

app = App(name="engine", help="Run Dagger engines as ordinary processes, with no Docker.")

Name = Annotated[str, Parameter(help="The engine's name; each has a network and a cache of its own.")]
Format = Annotated[Literal["text", "json"], Parameter(help="For people or for programs.")]


@app.command
def up(
    *,
    name: Name = "default",
    format: Format = "text",  # noqa: A002  the flag's name
    insecure_registry: Annotated[
        tuple[str, ...],
        Parameter(help="HOST:PORT of a registry without TLS; repeat for more.", show_default=False),
    ] = (),
    mirror: Annotated[
        tuple[str, ...],
        Parameter(
            help="HOST=URL, for example docker.io=http://10.87.1.2:5000; repeat for more.", show_default=False
        ),
    ] = (),
    emulate: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="PLATFORM to run under QEMU, or 'none'; repeat for more. Default: amd64's or arm64's other.",
            show_default=False,
        ),
    ] = None,
    deadline: Annotated[float, Parameter(help="Seconds for the engine to answer.")] = START_SECONDS,
) -> None:
    """Start an engine and print its URL once it answers.

    One that runs already with the same options is left as it is, with others it is started anew on its cache.

    Example: anyarch engine up --name arm64 --emulate linux/arm64

    Example: export _EXPERIMENTAL_DAGGER_RUNNER_HOST=$(anyarch engine up)
    """
    options = UpOptions(
        insecure_registries=insecure_registry,
        mirrors=_mirrors(mirror),
        emulate=default_emulation() if emulate is None else _platforms(emulate),
        deadline_seconds=deadline,
    )

    async def run() -> None:
        info = await start_engine(name, options=options, on_event=_say)
        if format == "json":
            _print_json(info)
        else:
            _say(f"for `dagger call`: export {RUNNER_HOST}={info.url}; its client is {info.dagger}")
            sys.stdout.write(f"{info.url}\n")

    anyio.run(run)


@app.command
def down(*, name: Name = "default") -> None:
    """Stop an engine; its cache is kept, everything else that it needed is undone.

    Example: anyarch engine down --name arm64
    """

    async def run() -> None:
        running = await stop_engine(name, on_event=_say)
        _say(f"engine {name!r} is down" if running else f"engine {name!r} was not running")

    anyio.run(run)


@app.command
def status(*, name: Name = "default", format: Format = "text") -> int:  # noqa: A002  the flag's name
    """Tell what is known of an engine. Ends with 0 if it answers, with 10 if not: usable in scripts.

    Example: anyarch engine status --format json
    """
    known = anyio.run(read_status, name)
    if format == "json":
        _print_json(known)
    else:
        _print_table(msgspec.to_builtins(known))
    return 0 if known.state == "up" else EngineUnreachableError.exit_code


def _platforms(words: tuple[str, ...]) -> tuple[Platform, ...]:
    if "none" in words:
        if len(words) > 1:
            raise UsageError("--emulate none cannot stand with a platform")
        return ()
    return tuple(map(Platform.parse, words))


def _mirrors(words: tuple[str, ...]) -> Mapping[str, str]:
    return {host: url for host, _, url in (word.partition("=") for word in words)}


def _say(line: str) -> None:
    """Progress goes beside the output, which programs read."""
    sys.stderr.write(f"{line}\n")


def _print_json(facts: object) -> None:
    encoded = msgspec.json.encode(facts, enc_hook=str)
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")


def _print_table(facts: Mapping[str, object]) -> None:
    width = max(map(len, facts))
    for key, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        sys.stdout.write(f"{key.replace('_', ' '):{width}}  {'-' if shown in (None, '') else shown}\n")


if __name__ == "__main__":
    app()
