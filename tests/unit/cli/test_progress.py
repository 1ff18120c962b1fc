from __future__ import annotations

import io
import sys
from pathlib import Path

import anyio
import pytest
from anyarch.cli import progress
from anyarch.cli.legs import Leg, State
from anyarch.cli.progress import display
from anyarch.engine.output import parse_line
from anyarch.errors import BuildFailedError
from anyarch.oci.platforms import Platform
from anyarch.release.plan import PlannedPlatform
from anyarch.shown import in_lines

pytestmark = pytest.mark.anyio


def a_leg(platform: str) -> Leg:
    planned = PlannedPlatform(platform=Platform.parse(platform))
    return Leg(planned, "tcp://arm:1", None, Path("record.json"), Path("scratch"))


@pytest.fixture(autouse=True)
def _drawn_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.02)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def play(*legs: Leg) -> None:
    """The first leg runs a step and fails, the others are done."""
    async with display(legs) as shown:
        for leg in legs:
            leg.began, leg.state = 0.0, State.BUILDING
            shown.on_state(leg)
        shown.on_line(legs[0], parse_line("5   : withExec /bin/sh -c 'make'"))
        shown.on_line(legs[0], parse_line("5   : Container.withExec ERROR [2.0s]"))
        await anyio.sleep(0.1)
        legs[0].error, legs[0].state = (
            BuildFailedError(in_lines("linux/arm64: RUN make failed\n    no rule")),
            State.FAILED,
        )
        for leg in legs[1:]:
            leg.state = State.DONE
        for leg in legs:
            leg.ended = 10.0
            shown.on_state(leg)


async def test_away_from_a_terminal_each_line_names_its_platform_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await play(a_leg("linux/arm64"), a_leg("linux/386"))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "linux/arm64  │ on tcp://arm:1",
        "linux/386    │ on tcp://arm:1",
        "linux/arm64  │ RUN make  FAILED after 2.0s",
        "linux/arm64  │ FAILED: RUN make failed",
        "linux/386    │ done in 10.0 s",
    ]


async def test_a_silent_leg_gives_a_sign_of_life(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_LISTEN_SECONDS", 0.01)
    leg = a_leg("linux/arm64")
    async with display([leg]) as shown:
        leg.began, leg.state = 0.0, State.BUILDING
        shown.on_line(leg, parse_line("5   : withExec /bin/sh -c 'make'"))
        await anyio.sleep(0.1)
    assert "linux/arm64  │ … RUN make (" in capsys.readouterr().err


async def test_a_terminal_gets_one_table_of_all_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    await play(a_leg("linux/arm64"), a_leg("linux/386"))
    drawn = terminal.getvalue()
    assert "RUN make" in drawn
    assert "\x1b[" in drawn
    last = drawn[drawn.rindex("platform") :]
    assert "RUN make failed" in last
    assert "done" in last
    assert "│" not in drawn


async def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    await play(a_leg("linux/arm64"))
    assert "\x1b" not in terminal.getvalue()


async def test_the_display_ends_with_the_work_even_if_that_fails() -> None:
    with anyio.fail_after(5), pytest.raises(BaseExceptionGroup):
        async with display([a_leg("linux/arm64")]):
            raise BuildFailedError("x")
