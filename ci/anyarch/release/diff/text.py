"""A comparison as lines for people: each names the platform, the area, the thing and both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anyarch.release.diff.model import Change, Difference, ImagesDiff, PlatformDiff

LINES_PER_PLATFORM: Final = 40
_VALUE_CHARACTERS: Final = 160
_SHORT_DIGEST: Final = len("sha256:") + 12
_ARROW: Final = " → "


def lines(diff: ImagesDiff, *, everything: bool = False) -> Iterator[str]:
    """The report, line by line.

    Args:
        diff: What was found.
        everything: Every path on a line of its own and values in full. Otherwise a directory that only
            one side has is one line, and a platform has at most 40.
    """
    yield f"A  {diff.a}"
    yield f"B  {diff.b}"
    for platform in diff.platforms:
        yield from _platform_lines(platform, everything=everything)
    yield summary(diff)


def summary(diff: ImagesDiff) -> str:
    """One sentence: same or not, and for how many platforms."""
    count = len(diff.platforms)
    if diff.same:
        return f"the same for {_plural(count, 'platform')}"
    differences = sum(len(each.differences) or 1 for each in diff.differing)
    return f"{_plural(differences, 'difference')} on {len(diff.differing)} of {_plural(count, 'platform')}"


def _platform_lines(platform: PlatformDiff, *, everything: bool) -> Iterator[str]:
    label = str(platform.platform)
    if platform.platform.os_version:
        label += f" ({platform.platform.os_version})"
    if platform.only_in is not None:
        yield f"{label}  only in {platform.only_in.value}"
    elif platform.same:
        yield f"{label}  same" + ("" if not platform.same_digest else "  (the same digest)")
    shown = [(each, 0) for each in platform.differences] if everything else _tops(platform.differences)
    limit = len(shown) if everything else LINES_PER_PLATFORM
    for difference, below in shown[:limit]:
        yield f"{label}  {_difference_text(difference, below, everything=everything)}"
    if len(shown) > limit:
        yield f"{label}  … and {len(shown) - limit} more (--all shows them)"


def _tops(differences: Sequence[Difference]) -> list[tuple[Difference, int]]:
    """A directory that only one side has, with how many paths are below it, instead of all of them."""
    tops: list[tuple[Difference, int]] = []
    for each in differences:
        if tops and each.only_in is not None:
            top, below = tops[-1]
            if top.only_in is each.only_in and each.name.startswith(f"{top.name}/"):
                tops[-1] = (top, below + 1)
                continue
        tops.append((each, 0))
    return tops


def _difference_text(difference: Difference, below: int, *, everything: bool) -> str:
    name = f"  {difference.name}" if difference.name else ""
    if difference.only_in is not None:
        contents = f" with {_plural(below, 'path')}" if below else ""
        return f"{difference.area}{name}  only in {difference.only_in.value}: {difference.kind}{contents}"
    changes = ", ".join(_change_text(each, everything=everything) for each in difference.changes)
    # A setting reads as KEY: old → new, a path as PATH  what old → new.
    return f"{difference.area}{name}{':' if not difference.changes[0].what else ' '} {changes}"


def _change_text(change: Change, *, everything: bool) -> str:
    a, b = (_value(each, everything=everything) for each in (change.a, change.b))
    return f"{change.what}{' ' if change.what else ''}{a}{_ARROW}{b}"


def _value(value: str | None, *, everything: bool) -> str:
    if value is None:
        return "(none)"
    if everything:
        return value
    if value.startswith("sha256:"):
        return value[:_SHORT_DIGEST]
    return value if len(value) <= _VALUE_CHARACTERS else f"{value[:_VALUE_CHARACTERS]}…"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
