"""``make demo``: one application, three platforms, three engines, one verified tag; then ``make demo-down``.

Everything is real and on this machine. The steps are those of a team's release: an engine per platform
builds and pushes by digest, the records are merged, the tag is written last, and somebody else pulls it.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyarch.engine.native.places import cache_folder
from anyarch.errors import INTERRUPTED_EXIT_CODE, AnyarchError
from anyarch.oci.reference import Tag
from anyarch.registry.stores import open_store
from anyarch.release.record import Record
from rich.console import Console
from rich.table import Table

from lab import base_images, stack
from lab.pull_back import pull_and_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.oci.platforms import Platform

    from lab.pull_back import Pulled

NAME: Final = "demo"
APPLICATION: Final = "examples/web"
TAGS: Final = ("1.0.0", "latest")
LAYOUT: Final = "oci:dist"
ROOT: Final = Path(__file__).parent.parent
_RUN_SECONDS: Final = 1800.0
_CHILD_END_SECONDS: Final = 20.0
_MEBIBYTE: Final = 1024 * 1024


class Demo:
    """One run of the demo. What it prints is its interface."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()
        self._console = Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        self._console.print(f"[{time.monotonic() - self._began:6.1f} s] {text}", markup=False)

    def title(self, text: str) -> None:
        """Print what comes now."""
        self._console.print(f"\n── {text}", style="bold", markup=False)

    async def up(self) -> None:
        """Start everything, release to the registry, pull back, release to a layout."""
        platforms = base_images.PLATFORMS
        self.title("Three engines and a registry, as processes on this machine")
        mirror = not await base_images.hub_answers()
        self.say("Docker Hub cannot be reached: the registry mirrors it" if mirror else "Docker Hub answers")
        cache = cache_folder()
        running = await stack.up(
            self._name,
            platforms,
            cache=cache,
            storage=cache / "registry" / self._name,
            mirror=mirror,
            say=self.say,
        )

        repository = f"{running.registry}/{self._name}/{Path(APPLICATION).name}"
        self.title(f"{APPLICATION} for {', '.join(map(str, platforms))}: build, merge, verify, tag")
        await self.release(running, repository)
        records = self.records(platforms)

        self.title("Pulled back out of the tag with skopeo, and run")
        pulled = await self.pull_all(f"docker://{repository}:{TAGS[-1]}", platforms)

        self.title("The same with no registry: a multi-platform OCI layout")
        await self.release(running, LAYOUT)
        await self.pull_all(f"{LAYOUT}:{TAGS[-1]}", platforms)

        self._console.print()
        self._console.print(self.table(running, records, pulled))
        await self.conclude(repository, running)

    async def release(self, running: stack.Stack, destination: str) -> None:
        """Run the installed ``anyarch`` as a user would; its display is ours."""
        words = [APPLICATION, "--to", destination]
        words += [f"--platform={platform}" for platform in running.engines]
        words += [f"--tag={tag}" for tag in TAGS]
        program = Path(sys.executable).with_name("anyarch")
        command = [str(program), "run", *words, *running.engine_flags]
        self.say(f"$ {shlex.join(['anyarch', 'run', *words, *running.engine_flags])}")
        environment = os.environ | {"ANYARCH_INSECURE_REGISTRIES": running.registry}
        status = await _foreground(command, environment)
        if status != 0:
            raise AnyarchError(
                f"anyarch run ended with {status}", hint="the engines still run: make demo-down"
            )

    def records(self, platforms: Sequence[Platform]) -> Mapping[Platform, Record]:
        """What the builds left behind."""
        folder = ROOT / APPLICATION / ".anyarch" / "records"
        found = {}
        for platform in platforms:
            path = folder / f"{platform.slug}.json"
            found[platform] = Record.from_json(path.read_bytes(), subject=str(path))
        return found

    async def pull_all(self, source: str, platforms: Sequence[Platform]) -> Mapping[Platform, Pulled]:
        """Pull and run every platform, one after the other."""
        pulled = {}
        for platform in platforms:
            pulled[platform] = await pull_and_run(source, platform)
            said = pulled[platform].said.replace("\n", "\n             ")
            self.say(f"{platform!s:<12} {said}")
        return pulled

    def table(
        self, running: stack.Stack, records: Mapping[Platform, Record], pulled: Mapping[Platform, Pulled]
    ) -> Table:
        """One line for each platform; what is not known is shown as a question mark."""
        table = Table("platform", "ran", "engine", "seconds", "MiB", "digest")
        for column in (3, 4):
            table.columns[column].justify = "right"
        for platform, record in records.items():
            seconds = sum(record.seconds.values())
            table.add_row(
                str(platform),
                record.execution or "?",
                running.engines[platform].name,
                f"{seconds:.1f}" if record.seconds else "?",
                f"{pulled[platform].size / _MEBIBYTE:.1f}",
                str(pulled[platform].digest),
            )
        return table

    async def conclude(self, repository: str, running: stack.Stack) -> None:
        """Print what exists now and how to undo it."""
        async with open_store(repository, insecure=[running.registry]) as store:
            index = await store.get(Tag(TAGS[0]))
        lines = [
            f"index   {index.digest}",
            f"tags    {', '.join(f'{repository}:{tag}' for tag in TAGS)}",
            f"layout  {LAYOUT.removeprefix('oci:')}/",
            f"took    {time.monotonic() - self._began:.1f} s; the next `make demo` starts in seconds",
            "undo    make demo-down",
        ]
        self._console.print("\n".join(lines), markup=False)

    async def down(self) -> None:
        """Stop all of it; the cache stays."""
        await stack.down(self._name, base_images.PLATFORMS, say=self.say)
        self.say(f"nothing of the demo runs; what it compiled and downloaded is in {cache_folder()}")


async def _foreground(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program on our terminal, where a Ctrl-C reaches it as it reaches us: wait for it to clean up."""
    process = await anyio.open_process(
        command, stdin=None, stdout=None, stderr=None, env=environment, cwd=ROOT
    )
    try:
        with anyio.fail_after(_RUN_SECONDS):
            return await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            for number in (None, signal.SIGTERM, signal.SIGKILL):
                if process.returncode is None:
                    if number is not None:
                        process.send_signal(number)
                    with anyio.move_on_after(_CHILD_END_SECONDS):
                        await process.wait()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> int:
    """``up`` or ``down``, and the name of the engines if not ``demo``; returns the exit status."""
    demo = Demo(sys.argv[2] if len(sys.argv) > 2 else NAME)
    try:
        anyio.run(demo.down if sys.argv[1:2] == ["down"] else demo.up)
    except KeyboardInterrupt:
        demo.say("interrupted; what was started still runs: make demo-down")
        return INTERRUPTED_EXIT_CODE
    except (AnyarchError, TimeoutError, BaseExceptionGroup) as group:
        error = _first(group)
        if not isinstance(error, AnyarchError | TimeoutError):
            raise
        print(f"demo: {str(error) or 'a step did not end in time'}", file=sys.stderr)
        print("demo: what was started still runs; stop it with: make demo-down", file=sys.stderr)
        return error.exit_code if isinstance(error, AnyarchError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
