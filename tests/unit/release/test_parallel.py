"""Several requests at once: results in order, the first failure as itself, the rest not started."""

from __future__ import annotations

from functools import partial

import anyio
import pytest
from anyarch.release.parallel import IN_FLIGHT_MAX, both, in_parallel

pytestmark = pytest.mark.anyio


async def test_results_come_in_the_order_of_the_calls() -> None:
    async def late(number: int) -> int:
        for _ in range(3 - number):
            await anyio.lowlevel.checkpoint()
        return number

    assert await in_parallel([partial(late, number) for number in range(3)]) == [0, 1, 2]
    assert await in_parallel([]) == []


async def test_two_kinds_of_result_keep_their_kinds() -> None:
    async def word() -> str:
        return "a"

    async def number() -> int:
        return 1

    assert await both(word, number) == ("a", 1)


async def test_only_so_many_are_in_flight() -> None:
    flying = most = 0

    async def fly() -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await anyio.lowlevel.checkpoint()
        flying -= 1

    await in_parallel([fly] * (3 * IN_FLIGHT_MAX))
    assert most == IN_FLIGHT_MAX


async def test_a_failure_is_raised_as_it_is_and_stops_the_others() -> None:
    finished = []

    async def call(number: int) -> None:
        if number == 1:
            raise LookupError(number)
        await anyio.sleep(30)
        finished.append(number)

    with anyio.fail_after(5), pytest.raises(LookupError, match="1"):
        await in_parallel([partial(call, number) for number in range(100)])
    assert finished == []
