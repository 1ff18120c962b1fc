"""What a run shows while it works: a live table on a terminal, plain lines everywhere else."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from anyarch.cli.legs import State
from anyarch.cli.output import note
from anyarch.engine.narration import Narration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rich.table import Table

    from anyarch.cli.legs import Stage
    from anyarch.engine.output import Line

HEARTBEAT_SECONDS: Final = 30.0
_REFRESH_SECONDS: Final = 0.25
_LISTEN_SECONDS: Final = 1.0
_STYLES: Final = {State.DONE: "green", State.FAILED: "bold red", State.WAITING: "dim"}


class Display(Protocol):
    """Told what happens to the legs."""

    def on_line(self, leg: Stage, line: Line) -> None:
        """A leg's client printed a line."""

    def on_state(self, leg: Stage) -> None:
        """A leg's state has changed."""


@asynccontextmanager
async def display(legs: Sequence[Stage]) -> AsyncIterator[Display]:
    """The display that suits where stderr goes."""
    shown = LiveDisplay(legs) if _is_terminal() else PlainDisplay(legs)
    async with anyio.create_task_group() as group:
        group.start_soon(shown.keep)
        try:
            yield shown
        finally:
            group.cancel_scope.cancel()


class PlainDisplay:
    """``linux/arm64  │ RUN make  12.3s``: a line for each step that ended, and a sign of life."""

    def __init__(self, legs: Sequence[Stage]) -> None:
        self._legs = legs
        self._width = max((len(str(leg.planned.platform)) for leg in legs), default=0)
        self._narrations = {id(leg): Narration() for leg in legs}
        self._spoke = {id(leg): monotonic() for leg in legs}

    def on_line(self, leg: Stage, line: Line) -> None:
        """Print what is worth telling."""
        words = self._narrations[id(leg)].hear(line)
        leg.step = self._narrations[id(leg)].current
        if words:
            self._say(leg, words)

    def on_state(self, leg: Stage) -> None:
        """Print how a leg ended, or that it begins."""
        if leg.state in {State.BUILDING, State.RUNNING}:
            self._say(leg, f"on {leg.engine}")
        elif leg.state is State.DONE:
            self._say(leg, f"done in {leg.seconds:.1f} s")
        elif leg.state is State.FAILED:
            self._say(leg, f"FAILED: {_reason(leg)}")

    async def keep(self) -> None:
        """Say every 30 s what a silent leg is doing."""
        while True:
            await anyio.sleep(_LISTEN_SECONDS)
            for leg in self._legs:
                silent = monotonic() - self._spoke[id(leg)]
                if leg.state.busy and silent >= HEARTBEAT_SECONDS:
                    self._say(leg, f"… {leg.step} ({leg.seconds:.0f} s so far)")

    def _say(self, leg: Stage, words: str) -> None:
        self._spoke[id(leg)] = monotonic()
        note(f"{leg.planned.platform!s:{self._width}}  │ {words}")


class LiveDisplay:
    """A table that is drawn again four times a second."""

    def __init__(self, legs: Sequence[Stage]) -> None:
        self._legs = legs
        self._narrations = {id(leg): Narration() for leg in legs}

    def on_line(self, leg: Stage, line: Line) -> None:
        """Take note of the step; the next drawing shows it."""
        self._narrations[id(leg)].hear(line)
        leg.step = self._narrations[id(leg)].current

    def on_state(self, leg: Stage) -> None:
        """The next drawing shows it."""
        if leg.state is State.FAILED:
            leg.step = _reason(leg)
        elif leg.state is State.DONE:
            leg.step = ""

    async def keep(self) -> None:
        """Draw until cancelled, and once more then."""
        from rich.console import Console  # noqa: PLC0415  only terminals need it
        from rich.live import Live  # noqa: PLC0415

        with Live(self._table(), console=Console(stderr=True), auto_refresh=False) as live:
            try:
                while True:
                    await anyio.sleep(_REFRESH_SECONDS)
                    live.update(self._table(), refresh=True)
            finally:
                live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        from rich.table import Table  # noqa: PLC0415  as above
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, expand=True)
        for head, ratio in (("platform", None), ("state", None), ("seconds", None), ("step", 1)):
            table.add_column(head, no_wrap=True, ratio=ratio, overflow="ellipsis")
        for leg in self._legs:
            state = Text(str(leg.state), style=_STYLES.get(leg.state, "cyan"))
            table.add_row(str(leg.planned.platform), state, f"{leg.seconds:6.1f}", Text(leg.step))
        return table


def _reason(leg: Stage) -> str:
    """Why a leg failed, in one line beside its platform."""
    what = leg.error.what if leg.error else ""
    return what.partition("\n")[0].removeprefix(f"{leg.planned.platform}: ")


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
