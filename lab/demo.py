"""``make demo``: one application, three platforms, three engines, one verified tag; then ``make demo-down``.

Everything is real and on this machine. The steps are those of a team's release: an engine per platform
builds and pushes by digest, the records are merged, the tag is written last, and somebody else pulls it.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyarch.cli.output import UNKNOWN, seconds, size, table
from anyarch.engine.native.places import Places, cache_folder
from anyarch.errors import INTERRUPTED_EXIT_CODE, AnyarchError
from rich.console import Console

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
        facts = json.loads(await self.release(running, repository))
        self.say(f"{', '.join(TAGS)} → {facts['digest']}")

        self.title("Pulled back out of the tag with skopeo, and run")
        await self.pull_all(f"docker://{repository}:{TAGS[-1]}", platforms)

        self.title(f"The same with no registry: the multi-platform OCI layout {LAYOUT}")
        layout = json.loads(await self.release(running, LAYOUT))
        self.say(f"{', '.join(TAGS)} → {layout['digest']}")
        await self.pull_all(f"{LAYOUT}:{TAGS[-1]}", platforms)

        self.conclude(running, facts)

    async def release(self, running: stack.Stack, destination: str) -> str:
        """Run the installed ``anyarch`` as a user would, with its progress on our terminal."""
        words = [os.path.relpath(ROOT / APPLICATION), "--to", destination, *(f"--tag={tag}" for tag in TAGS)]
        words += [*running.engine_flags, "--format=json"]
        if not destination.startswith("oci:"):
            words.append(f"--insecure-registry={running.registry}")
        self._console.print(f"$ anyarch run {shlex.join(words)}", markup=False)
        status, said = await _foreground([str(Path(sys.executable).with_name("anyarch")), "run", *words])
        if status != 0:
            raise AnyarchError(f"anyarch run ended with {status}")
        return said

    async def pull_all(self, source: str, platforms: Sequence[Platform]) -> None:
        """Pull and run every platform; say what each said."""
        pulled: dict[Platform, Pulled] = {}

        async def one(platform: Platform) -> None:
            pulled[platform] = await pull_and_run(source, platform)

        async with anyio.create_task_group() as tasks:
            for platform in platforms:
                tasks.start_soon(one, platform)
        for platform in platforms:
            each = pulled[platform]
            self.say(f"{platform!s:<12} {each.digest.short}  “{each.said}”")

    def conclude(self, running: stack.Stack, facts: Mapping[str, Any]) -> None:
        """Print what exists now, from what ``anyarch run`` reported, and how to undo it."""
        names = {info.url: info.name for info in running.engines.values()}
        rows = [
            [
                str(each["platform"]),
                str(each["execution"] or UNKNOWN),
                names.get(each["engine"], UNKNOWN),
                seconds(each["seconds"]),
                size(each["size"]),
                str(each["digest"]),
            ]
            for each in facts["platforms"]
        ]
        head = ["PLATFORM", "BUILT", "ENGINE", "SECONDS", "SIZE", "DIGEST"]
        lines = [
            "",
            *table(head, rows, right=("SECONDS", "SIZE")),
            "",
            f"index   {facts['digest']}",
            *(f"tag     {facts['repository']}:{tag}" for tag in TAGS),
            f"layout  {LAYOUT}",
            f"took    {time.monotonic() - self._began:.0f} s; engines and registry still run",
            "undo    make demo-down, which says what stays on the disk",
        ]
        self._console.print("\n".join(lines), markup=False)

    async def down(self) -> None:
        """Stop all of it, and say what stays on the disk and how to remove that."""
        await stack.down(self._name, base_images.PLATFORMS, say=self.say)
        cache = cache_folder()
        states = [Places.of(stack.engine_name(self._name, each)).state for each in base_images.PLATFORMS]
        journal = os.path.relpath(ROOT / APPLICATION / ".anyarch")
        own = [*map(str, states), str(cache / "registry" / self._name), journal, LAYOUT.removeprefix("oci:")]
        self.say("nothing of the demo runs; its engines' caches, its images and its records stay until")
        self._console.print(f"  $ rm -rf {shlex.join(own)}", markup=False)
        self.say("and what it compiled and downloaded, which other engines and `make test` use too, until")
        self._console.print(
            f"  $ rm -rf {shlex.join([str(cache), os.path.relpath(ROOT / '.venv')])}", markup=False
        )


async def _foreground(command: Sequence[str]) -> tuple[int, str]:
    """Run a program with its progress on our terminal; return its status and what it reports.

    A Ctrl-C on the terminal reaches it as it reaches us: it gets time to clean up.
    """
    process = await anyio.open_process(command, stdin=None, stderr=None)
    assert process.stdout is not None  # noqa: S101  it is a pipe by default
    said = b""
    try:
        with anyio.fail_after(_RUN_SECONDS):
            async for chunk in process.stdout:
                said += chunk
            return await process.wait(), said.decode()
    finally:
        with anyio.CancelScope(shield=True):
            for number in (None, signal.SIGTERM, signal.SIGKILL):
                if process.returncode is None:
                    if number is not None:
                        process.send_signal(number)
                    with anyio.move_on_after(_CHILD_END_SECONDS):
                        await process.wait()
            await process.aclose()


def main() -> int:
    """``up`` or ``down``, and the name of the engines if not ``demo``; returns the exit status."""
    demo = Demo(sys.argv[2] if len(sys.argv) > 2 else NAME)
    try:
        anyio.run(demo.down if sys.argv[1:2] == ["down"] else demo.up)
    except KeyboardInterrupt:
        demo.say("interrupted; what was started still runs: make demo-down")
        return INTERRUPTED_EXIT_CODE
    except (AnyarchError, TimeoutError, BaseExceptionGroup) as group:
        error = stack.first_of(group)
        if not isinstance(error, AnyarchError | TimeoutError):
            raise
        print(f"demo: {str(error) or 'a step did not end in time'}", file=sys.stderr)
        print("demo: what was started still runs; stop it with: make demo-down", file=sys.stderr)
        return error.exit_code if isinstance(error, AnyarchError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
