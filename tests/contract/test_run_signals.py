"""``anyarch run`` and the signals that end it: a process of its own, with children of its own."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.run_bench import AMD, ARM, Bench, a_bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with a_bench(tmp_path, monkeypatch) as bench:
        yield bench


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_child_and_no_tag(bench: Bench, number: signal.Signals) -> None:
    bench.dagger.plays({ARM: {"sleeps": 60, "child": True}})
    process = bench.start("--tag", "1.0")
    notes = bench.dagger.wait_for(AMD, ARM)
    wait_until(lambda: bench.record(AMD) is not None)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "nothing was tagged; kept: linux/amd64" in err
    assert "Traceback" not in err
    pids = [note[key] for note in notes for key in ("pid", "child") if key in note]
    wait_until(lambda: not any(runs(pid) for pid in pids))
    assert bench.tagged("1.0") is None
    bench.dagger.plays({})
    assert bench.run("--tag", "1.0") == 0  # and the next run finds nothing in its way


def test_a_second_ctrl_c_kills_a_client_that_does_not_listen(bench: Bench) -> None:
    bench.dagger.plays({AMD: {"sleeps": 60, "stubborn": True}, ARM: {"sleeps": 60, "stubborn": True}})
    process = bench.start()
    notes = bench.dagger.wait_for(AMD, ARM)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None  # it waits for its children
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert "no platform was finished" in err
    wait_until(lambda: not any(runs(note["pid"]) for note in notes))


def wait_until(holds: Callable[[], bool], deadline_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + deadline_seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    return False
