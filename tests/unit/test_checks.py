"""The frame of every doctor: what depends on what, deadlines, and how failures are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.checks import Check, Line, examine, failed
from anyarch.errors import DeniedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio


def found(name: str, verdict: str = "ok") -> Callable[[], Awaitable[Line]]:
    async def look() -> Line:
        return Line(name=name, verdict=verdict, found="looked")  # type: ignore[arg-type]

    return look


async def refused() -> Line:
    raise DeniedError("may not push", hint="ask the owner")


async def forever() -> Line:
    await anyio.sleep_forever()
    raise AssertionError


async def test_a_failure_stops_only_what_needs_it() -> None:
    lines = await examine(
        [
            Check(name="push", look=refused),
            Check(name="pull", look=found("pull")),
            Check(name="mount", look=found("mount"), after=("pull", "push")),
            Check(name="cleanup", look=found("cleanup"), after=("mount",)),
        ]
    )
    assert [(each.name, each.verdict) for each in lines] == [
        ("push", "fail"),
        ("pull", "ok"),
        ("mount", "skipped"),
        ("cleanup", "skipped"),
    ]
    assert (lines[0].found, lines[0].advice) == ("may not push", "ask the owner")
    assert failed(lines) == ["push"]


@pytest.mark.parametrize("verdict", ["warn", "unknown"])
async def test_a_warning_stops_nothing(verdict: str) -> None:
    lines = await examine(
        [Check(name="a", look=found("a", verdict)), Check(name="b", look=found("b"), after=("a",))]
    )
    assert [each.verdict for each in lines] == [verdict, "ok"]
    assert failed(lines) == []


async def test_what_publishing_can_do_without_is_a_warning() -> None:
    [line] = await examine([Check(name="referrers", look=refused, needed=False)])
    assert line.verdict == "warn"


async def test_a_check_has_a_deadline_and_the_others_go_on() -> None:
    lines = await examine([Check(name="slow", look=forever, seconds=0.01), Check(name="b", look=found("b"))])
    assert [(each.verdict, each.found) for each in lines] == [
        ("fail", "no answer within 0 s"),
        ("ok", "looked"),
    ]


async def test_what_does_not_need_each_other_is_looked_at_at_the_same_time() -> None:
    meeting = [anyio.Event(), anyio.Event()]

    def meets(here: int) -> Callable[[], Awaitable[Line]]:
        async def look() -> Line:
            meeting[here].set()
            await meeting[1 - here].wait()
            return Line(name=str(here), verdict="ok", found="met")

        return look

    lines = await examine([Check(name=str(each), look=meets(each), seconds=5.0) for each in (0, 1)])
    assert [each.verdict for each in lines] == ["ok", "ok"]
