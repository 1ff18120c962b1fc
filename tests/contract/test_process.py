from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.engine import process as processes
from anyarch.engine.process import child, kill_all, lines, run_quiet
from anyarch.errors import MissingToolError

if TYPE_CHECKING:
    from anyio.abc import Process

pytestmark = pytest.mark.anyio

PYTHON = (sys.executable, "-ISuc")
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that ended, but whose parent has not looked yet, is in the table still.
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] != "Z"


async def gone(pid: int) -> None:
    """Wait until a process that was killed has gone; nobody here is its parent."""
    with anyio.fail_after(5):
        while runs(pid):  # noqa: ASYNC110  the kernel sets no event of ours
            await anyio.sleep(0.01)


async def first_line(process: Process) -> str:
    assert process.stdout is not None
    async for line in lines(process.stdout):
        return line
    pytest.fail("the child said nothing")


async def test_both_outputs_arrive_as_lines() -> None:
    program = (
        "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.stdout.write('no end')"
    )
    async with child([*PYTHON, program]) as process:
        assert process.stdout is not None
        assert sorted([line async for line in lines(process.stdout)]) == ["err", "no end", "out"]
        assert await process.wait() == 0


async def test_a_line_without_end_is_cut_and_bytes_that_are_no_text_are_shown() -> None:
    program = "import sys; sys.stdout.buffer.write(b'x' * 200_000 + b'\\xff\\r\\n')"
    async with child([*PYTHON, program]) as process:
        assert process.stdout is not None
        found = [line async for line in lines(process.stdout)]
    assert "".join(found) == "x" * 200_000 + "�"
    assert all(len(line) <= 65_536 * 2 for line in found)


async def test_a_child_has_nothing_to_read_and_a_group_of_its_own() -> None:
    async with child([*PYTHON, "import os, sys; print(os.getpgid(0), len(sys.stdin.read()))"]) as process:
        assert await first_line(process) == f"{process.pid} 0"


async def test_cancelling_ends_the_child_and_what_it_started() -> None:
    program = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)"
    with anyio.fail_after(10), anyio.CancelScope() as scope:
        async with child([*PYTHON, program]) as process:
            grandchild = int(await first_line(process))
            scope.cancel()
            await anyio.sleep(60)
    assert not runs(process.pid)
    await gone(grandchild)


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace_time() -> None:
    with anyio.fail_after(10), anyio.CancelScope() as scope:
        async with child([*PYTHON, STUBBORN], grace_seconds=0.3) as process:
            await first_line(process)
            scope.cancel()
            started = time.monotonic()
            await anyio.sleep(60)
    assert not runs(process.pid)
    assert time.monotonic() - started >= 0.3


async def test_a_second_ctrl_c_waits_for_nobody() -> None:
    async def impatient() -> None:
        await anyio.sleep(0.2)
        kill_all()

    with anyio.fail_after(5):
        async with (
            anyio.create_task_group() as group,
            child([*PYTHON, STUBBORN], grace_seconds=60) as process,
        ):
            await first_line(process)
            group.start_soon(impatient)
    assert not runs(process.pid)


async def test_no_group_is_remembered_once_its_child_has_gone() -> None:
    async with child(["true"]) as process:
        assert process.pid in processes._groups  # noqa: SLF001  a number may be given to another process
    assert process.pid not in processes._groups  # noqa: SLF001


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingToolError, match="/nowhere/dagger"):
        async with child(["/nowhere/dagger"]):
            pass


async def test_run_quiet_gives_status_and_output() -> None:
    program = "import os, sys; print(os.environ['WORD']); sys.exit(3)"
    assert await run_quiet([*PYTHON, program], environ={}, extra={"WORD": "heard"}) == (3, "heard\n")
