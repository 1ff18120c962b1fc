"""Ctrl-C and SIGTERM, told to the work as a cancellation that it can clean up in."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from anyarch.engine.process import GRACE_SECONDS, kill_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def interruptible(
    work: Callable[[], Awaitable[T]], *, on_interrupt: Callable[[str], None], kept: Callable[[], str]
) -> T:
    """Run ``work``; the first signal cancels it, the second one kills its children at once.

    Args:
        work: What to do. Its children are ended by ``engine.process``, within its grace time.
        on_interrupt: Told, when a signal came, what happens now.
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
                    kill_all()
                    continue
                heard.append(number)
                on_interrupt(f"stopping (up to {GRACE_SECONDS:g} s; once more kills at once)")
                scope.cancel()

    async with anyio.create_task_group() as watchers:
        ready = anyio.Event()
        with anyio.CancelScope() as scope:
            watchers.start_soon(watch, scope, ready)
            await ready.wait()
            results.append(await work())
        watchers.cancel_scope.cancel()
    if not results:
        raise KeyboardInterrupt(kept())
    return results[0]
