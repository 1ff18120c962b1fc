"""What ``anyarch doctor`` looks at: lines with a verdict, and the order in which they are found. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import anyio

from anyarch.errors import AnyarchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Verdict = Literal["ok", "warn", "fail", "unknown", "skipped"]

CHECK_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one check found.

    Args:
        name: What was looked at.
        verdict: ``fail`` is what publishing cannot do without, ``warn`` what will hurt some day.
        found: In words.
        advice: What to do about it; empty where there is nothing to do.
        shown: The same in several lines, for people; empty where one is enough.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    shown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to look at.

    Args:
        name: As in its line.
        look: Gives verdict, words and advice. Whatever of ``AnyarchError`` it raises is a ``fail``.
        after: Checks that must not have failed; what they found may be relied on.
        needed: Whether a failure stops publishing; else it is a warning.
        seconds: Its deadline.
    """

    name: str
    look: Callable[[], Awaitable[Line]]
    after: tuple[str, ...] = ()
    needed: bool = True
    seconds: float = CHECK_SECONDS


async def examine(checks: Sequence[Check]) -> list[Line]:
    """Look at everything, at the same time as far as one does not need the other.

    A check that fails stops only those after it.
    """
    done = {check.name: anyio.Event() for check in checks}
    lines: dict[str, Line] = {}

    async def look(check: Check) -> None:
        for name in check.after:
            await done[name].wait()
        stopped = [name for name in check.after if lines[name].verdict in {"fail", "skipped"}]
        if stopped:
            lines[check.name] = Line(name=check.name, verdict="skipped", found=f"needs {stopped[0]}")
        else:
            lines[check.name] = await _line(check)
        done[check.name].set()

    async with anyio.create_task_group() as group:
        for check in checks:
            group.start_soon(look, check)
    return [lines[check.name] for check in checks]


def failed(lines: Sequence[Line]) -> list[str]:
    """The names of what stops publishing."""
    return [line.name for line in lines if line.verdict == "fail"]


async def _line(check: Check) -> Line:
    verdict: Verdict = "fail" if check.needed else "warn"
    try:
        with anyio.fail_after(check.seconds):
            return await check.look()
    except TimeoutError:
        found = f"no answer within {check.seconds:.0f} s"
        return Line(
            name=check.name, verdict=verdict, found=found, advice="try again; is a firewall dropping it?"
        )
    except AnyarchError as error:
        return Line(name=check.name, verdict=verdict, found=error.what, advice=error.hint)
