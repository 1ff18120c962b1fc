"""Ctrl-C and SIGTERM, told to the work as a cancellation that it can clean up in."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from anyarch.cli.output import note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(Exception):
    """Something was about to begin after an interruption, and was not; ends in ``interruptible``."""


def carry_out(
    work: Callable[[], Awaitable[T]],
    *,
    on_interrupt: Callable[[], None] = lambda: None,
    kept: Callable[[], str] = lambda: "interrupted: nothing was written",
) -> T:
    """Run what reads or writes a store: the first signal lets it finish the write under way and no more.

    The second one ends the program on the spot, as if it had never been caught.

    Args:
        work: What to do.
        on_interrupt: Called before the work is cancelled.
        kept: Asked, when the work has ended early, what is left of it.

    Raises:
        KeyboardInterrupt: a signal came.
    """

    def stop() -> None:
        note("stopping: what is being written is finished, nothing else is begun (once more ends at once)")
        on_interrupt()

    return anyio.run(lambda: interruptible(work, on_interrupt=stop, on_second=_end_at_once, kept=kept))


async def interruptible(
    work: Callable[[], Awaitable[T]],
    *,
    on_interrupt: Callable[[], None],
    on_second: Callable[[signal.Signals], None],
    kept: Callable[[], str],
) -> T:
    """Run ``work``; the first signal cancels it.

    Args:
        work: What to do. Its children are ended by ``engine.process``, within its grace time.
        on_interrupt: Called before the work is cancelled.
        on_second: Called with each further signal.
        kept: Asked, when the work has ended early, what is left of it.

    Raises:
        KeyboardInterrupt: a signal came; ``work`` has cleaned up by then.
    """
    results: list[T] = []
    heard: list[signal.Signals] = []

    async def watch(scope: anyio.CancelScope, ready: anyio.Event) -> None:
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            ready.set()
            async for number in signals:
                if heard:
                    on_second(number)
                    continue
                heard.append(number)
                on_interrupt()
                scope.cancel()

    async with anyio.create_task_group() as watchers:
        ready = anyio.Event()
        with anyio.CancelScope() as scope:
            watchers.start_soon(watch, scope, ready)
            await ready.wait()
            try:
                results.append(await work())
            except StoppedError:
                scope.cancel()
        watchers.cancel_scope.cancel()
    if not results:
        raise KeyboardInterrupt(kept())
    return results[0]


def _end_at_once(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
