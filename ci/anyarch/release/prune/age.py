"""How old a digest is, told by whoever saw it last; unknown is not old."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

CREATED: Final = "org.opencontainers.image.created"
_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_AGE: Final = re.compile(r"(?P<count>[0-9]{1,5})(?P<unit>[hdw])", re.ASCII)
_LEAST: Final = timedelta(hours=1)  # a platform that was built just now waits for its merge
# Docker is not older; reproducible builds write 1970, 1980 or the year 1, which say nothing about age.
_EARLIEST: Final = datetime(2013, 1, 1, tzinfo=UTC)


def parse_age(text: str) -> timedelta:
    """Read ``12h``, ``7d`` or ``2w``.

    Raises:
        UsageError: something else, or less than an hour.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text[:80]!r} is not an age", hint="write hours, days or weeks: 12h, 7d, 2w")
    age = int(match["count"]) * _UNITS[match["unit"]]
    if age < _LEAST:
        raise UsageError(
            f"an age of {text.strip()} is too short: what was built just now may still wait for its merge",
            hint="at least 1h; 7d is a good start",
        )
    return age


def parse_time(text: object, *, now: datetime) -> datetime | None:
    """Read an RFC 3339 time that can be believed; None for anything else.

    The future and the years before containers are what clocks and reproducible builds make up.
    """
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    if found.tzinfo is None:
        return None
    return found if _EARLIEST <= found <= now else None


def latest(times: Iterable[datetime | None]) -> datetime | None:
    """The newest of the known times."""
    return max((time for time in times if time is not None), default=None)


def exactly(age: timedelta) -> str:
    """An age that somebody gave: ``36 h`` or ``30 d``."""
    hours = int(age.total_seconds() // 3600)
    return f"{hours} h" if hours % 24 else f"{hours // 24} d"


def words(age: timedelta) -> str:
    """An age for people: ``5 h`` or ``12 d``."""
    hours = int(age.total_seconds() // 3600)
    return f"{hours} h" if hours < 48 else f"{hours // 24} d"
