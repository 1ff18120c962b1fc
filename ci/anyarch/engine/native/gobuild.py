"""Compiling programs from Go modules: the compiler followed to its end, with a word now and then."""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.text import TextReceiveStream

from anyarch.errors import EngineStartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anyio.abc import Process

_REPORT_SECONDS: Final = 15.0


async def build(
    go: str,
    arguments: Sequence[str],
    folder: Path,
    *,
    what: str,
    on_event: Callable[[str], None],
    deadline_seconds: float,
) -> None:
    """Run ``go build`` in a module's folder, saying now and then that it is still at work.

    Args:
        go: The compiler, from ``find_go``.
        arguments: Flags and packages; ``tool`` is all that go.mod lists as tools.
        folder: Where go.mod is.
        what: What is compiled, for people.
        on_event: Called with a line for people.
        deadline_seconds: For all of it.

    Raises:
        EngineStartError: the compiler failed, with its last lines, or took too long.
    """
    last: deque[str] = deque(maxlen=12)
    began = time.monotonic()
    environ = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
    command = [go, "build", "-v", *arguments]  # -v: each package as it is compiled, a sign of life
    try:
        with anyio.fail_after(deadline_seconds):
            async with (
                await anyio.open_process(
                    command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd=folder, env=environ
                ) as process,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(_say_still, on_event, began, last)
                await _collect(process, last)
                tasks.cancel_scope.cancel()
    except TimeoutError as error:
        raise EngineStartError(
            f"compiling {what} did not end within {deadline_seconds:g} s",
            hint="start it again: what is compiled is kept by Go's own cache",
        ) from error
    if process.returncode != 0:
        raise EngineStartError(
            f"compiling {what} failed: {' / '.join(last) or f'exit status {process.returncode}'}",
            hint="it needs the Go module proxy ($GOPROXY) and about 5 GB of room",
        )


async def _collect(process: Process, last: deque[str]) -> None:
    assert process.stdout is not None  # noqa: S101  it is a pipe by default
    rest = ""
    async for text in TextReceiveStream(process.stdout, errors="replace"):
        *lines, rest = (rest + text).split("\n")
        last.extend(line for line in lines if line.strip())
    await process.wait()


async def _say_still(on_event: Callable[[str], None], began: float, last: deque[str]) -> None:
    while True:
        await anyio.sleep(_REPORT_SECONDS)
        doing = f" ({last[-1][:80]})" if last else ""
        on_event(f"still compiling after {time.monotonic() - began:.0f} s{doing}")
