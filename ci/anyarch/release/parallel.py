"""Several requests at once, a bounded number in flight, the first failure as itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, cast

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

IN_FLIGHT_MAX: Final = 32


async def in_parallel(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run all calls and return their results in the order given.

    The first failure cancels the others and is raised as it is, not wrapped into a group: a caller
    handles a ``RegistryError`` here as everywhere.
    """
    if len(calls) == 1:
        await anyio.lowlevel.checkpoint_if_cancelled()  # as a group of tasks would: nothing begins then
        return [await calls[0]()]
    results: list[T | None] = [None] * len(calls)
    failures: list[Exception] = []
    limiter = anyio.Semaphore(IN_FLIGHT_MAX)

    async def run(number: int, group_scope: anyio.CancelScope) -> None:
        async with limiter:
            try:
                results[number] = await calls[number]()
            except Exception as error:  # noqa: BLE001  raised below, outside of the group
                failures.append(error)
                group_scope.cancel()

    async with anyio.create_task_group() as group:
        for number in range(len(calls)):
            group.start_soon(run, number, group.cancel_scope)
    if failures:
        raise failures[0]
    return cast("list[T]", results)


async def all_of(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """The same, but a failure stops no other call: the first one is raised when all have ended."""
    failures: list[Exception] = []

    async def kept(call: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await call()
        except Exception as error:  # noqa: BLE001  raised below
            failures.append(error)
            return None

    results = await in_parallel([partial(kept, call) for call in calls])
    if failures:
        raise failures[0]
    return cast("list[T]", results)


async def both(first: Callable[[], Awaitable[A]], second: Callable[[], Awaitable[B]]) -> tuple[A, B]:
    """Two different calls at once; a failure as in ``in_parallel``."""
    calls: list[Callable[[], Awaitable[A | B]]] = [first, second]
    results = await in_parallel(calls)
    return cast("tuple[A, B]", tuple(results))
