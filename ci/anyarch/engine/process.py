"""Child processes that never outlive the work they were started for.

Each child leads a process group of its own, so that a Ctrl-C on the terminal does not reach it behind
our back and that its own children end with it. Leaving the context, for whatever reason, ends the group.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import MissingToolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from anyio.abc import ByteReceiveStream, Process

GRACE_SECONDS: Final = 10.0
_OUTPUT_MAX_BYTES: Final = 1024 * 1024
# A program may write any amount without a line end; what is longer is cut into several lines.
_LINE_MAX_BYTES: Final = 64 * 1024

_groups: set[int] = set()


@asynccontextmanager
async def child(
    argv: Sequence[str], *, environ: Mapping[str, str] | None = None, grace_seconds: float = GRACE_SECONDS
) -> AsyncIterator[Process]:
    """Start a program with both outputs in one pipe and nothing to read; end its group on the way out.

    Args:
        argv: The program and its arguments; never a secret, other users can read them.
        environ: Its environment; None is this process's own.
        grace_seconds: Between SIGTERM and SIGKILL.

    Raises:
        MissingToolError: there is no such program, or it cannot be executed.
    """
    try:
        process = await anyio.open_process(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )
    except OSError as error:
        raise MissingToolError(f"cannot run {argv[0]}: {error.strerror}", program=argv[0]) from error
    _groups.add(process.pid)
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process, grace_seconds)
        _groups.discard(process.pid)


async def lines(stream: ByteReceiveStream) -> AsyncIterator[str]:
    """The stream's lines without their ends; bytes that are no UTF-8 are replaced."""
    pending = b""
    async for chunk in stream:
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
        while len(pending) > _LINE_MAX_BYTES:
            yield pending[:_LINE_MAX_BYTES].decode(errors="replace")
            pending = pending[_LINE_MAX_BYTES:]
    if pending:
        yield pending.decode(errors="replace").rstrip("\r")


async def run_quiet(
    argv: Sequence[str], *, environ: Mapping[str, str] | None = None, extra: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a small program to its end and return its exit status and (the last MiB of) what it said.

    Raises:
        MissingToolError: there is no such program.
    """
    env = {**(os.environ if environ is None else environ), **(extra or {})}
    said = b""
    async with child(argv, environ=env, grace_seconds=1.0) as process:
        assert process.stdout is not None  # noqa: S101  child() asked for a pipe
        async for chunk in process.stdout:
            said = (said + chunk)[-_OUTPUT_MAX_BYTES:]
        status = await process.wait()
    return status, said.decode(errors="replace")


def kill_all() -> None:
    """End every child's group at once; for a user who pressed Ctrl-C a second time."""
    for group in tuple(_groups):
        _signal(group, signal.SIGKILL)


async def _end(process: Process, grace_seconds: float) -> None:
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        with anyio.move_on_after(grace_seconds):
            await process.wait()
        _signal(process.pid, signal.SIGKILL)
        await process.wait()
    await process.aclose()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
