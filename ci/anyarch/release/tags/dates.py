"""Dates in the format of Moment.js: what ``{{date 'YYYYMMDD'}}`` writes.

https://momentjs.com/docs/#/displaying/format/, English, the locale of GitHub's runners.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_TIME: Final = "h:mm A"
_LONG: Final = {
    "LT": _TIME,
    "LTS": "h:mm:ss A",
    "L": "MM/DD/YYYY",
    "LL": "MMMM D, YYYY",
    "LLL": f"MMMM D, YYYY {_TIME}",
    "LLLL": f"dddd, MMMM D, YYYY {_TIME}",
    "l": "M/D/YYYY",
    "ll": "MMM D, YYYY",
    "lll": f"MMM D, YYYY {_TIME}",
    "llll": f"ddd, MMM D, YYYY {_TIME}",
}


def _quarter(at: datetime) -> int:
    return (at.month + 2) // 3


def _day_of_year(at: datetime) -> int:
    return at.timetuple().tm_yday


def _weekday(at: datetime) -> int:
    return at.isoweekday() % 7


def _week(at: datetime) -> tuple[int, int]:
    """Year and week as America counts: from Sunday, and the week with 1 January is the first."""
    first = at.replace(month=1, day=1)
    week = (_day_of_year(at) - 1 + _weekday(first)) // 7 + 1
    saturday = at.day + 6 - _weekday(at)
    if at.month == 12 and saturday > 31:  # the week reaches into January
        return at.year + 1, 1
    return at.year, week


def _offset(at: datetime, between: str) -> str:
    offset = at.utcoffset()
    minutes = 0 if offset is None else int(offset.total_seconds()) // 60
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02}{between}{abs(minutes) % 60:02}"


_PLAIN: Final[Mapping[str, Callable[[datetime], str]]] = {
    "M": lambda at: str(at.month),
    "MM": lambda at: f"{at.month:02}",
    "MMM": lambda at: _MONTHS[at.month - 1][:3],
    "MMMM": lambda at: _MONTHS[at.month - 1],
    "Q": lambda at: str(_quarter(at)),
    "D": lambda at: str(at.day),
    "DD": lambda at: f"{at.day:02}",
    "DDD": lambda at: str(_day_of_year(at)),
    "DDDD": lambda at: f"{_day_of_year(at):03}",
    "d": lambda at: str(_weekday(at)),
    "dd": lambda at: _DAYS[_weekday(at)][:2],
    "ddd": lambda at: _DAYS[_weekday(at)][:3],
    "dddd": lambda at: _DAYS[_weekday(at)],
    "e": lambda at: str(_weekday(at)),
    "E": lambda at: str(at.isoweekday()),
    "w": lambda at: str(_week(at)[1]),
    "ww": lambda at: f"{_week(at)[1]:02}",
    "gg": lambda at: f"{_week(at)[0] % 100:02}",
    "gggg": lambda at: f"{_week(at)[0]:04}",
    "ggggg": lambda at: f"{_week(at)[0]:05}",
    "W": lambda at: str(at.isocalendar().week),
    "WW": lambda at: f"{at.isocalendar().week:02}",
    "GG": lambda at: f"{at.isocalendar().year % 100:02}",
    "GGGG": lambda at: f"{at.isocalendar().year:04}",
    "GGGGG": lambda at: f"{at.isocalendar().year:05}",
    "Y": lambda at: str(at.year),
    "YY": lambda at: f"{at.year % 100:02}",
    "YYYY": lambda at: f"{at.year:04}",
    "YYYYY": lambda at: f"{at.year:05}",
    "YYYYYY": lambda at: f"+{at.year:06}",
    **dict.fromkeys(("y", "yy", "yyy", "yyyy"), lambda at: str(at.year)),
    **dict.fromkeys(("N", "NN", "NNN", "NNNNN"), lambda _: "AD"),
    "NNNN": lambda _: "Anno Domini",
    "A": lambda at: "AM" if at.hour < 12 else "PM",
    "a": lambda at: "am" if at.hour < 12 else "pm",
    "H": lambda at: str(at.hour),
    "HH": lambda at: f"{at.hour:02}",
    "h": lambda at: str(at.hour % 12 or 12),
    "hh": lambda at: f"{at.hour % 12 or 12:02}",
    "k": lambda at: str(at.hour or 24),
    "kk": lambda at: f"{at.hour or 24:02}",
    "hmm": lambda at: f"{at.hour % 12 or 12}{at.minute:02}",
    "hmmss": lambda at: f"{at.hour % 12 or 12}{at.minute:02}{at.second:02}",
    "Hmm": lambda at: f"{at.hour}{at.minute:02}",
    "Hmmss": lambda at: f"{at.hour}{at.minute:02}{at.second:02}",
    "m": lambda at: str(at.minute),
    "mm": lambda at: f"{at.minute:02}",
    "s": lambda at: str(at.second),
    "ss": lambda at: f"{at.second:02}",
    "X": lambda at: str(int(at.timestamp())),
    "x": lambda at: str(int(at.timestamp()) * 1000 + at.microsecond // 1000),
    "Z": lambda at: _offset(at, ":"),
    "ZZ": lambda at: _offset(at, ""),
    **dict.fromkeys(("z", "zz"), lambda at: at.tzname() or ""),
}
_ORDINAL: Final[Mapping[str, Callable[[datetime], int]]] = {
    "Mo": lambda at: at.month,
    "Qo": _quarter,
    "Do": lambda at: at.day,
    "DDDo": _day_of_year,
    "do": _weekday,
    "wo": lambda at: _week(at)[1],
    "Wo": lambda at: at.isocalendar().week,
    "yo": lambda at: at.year,
}
# A text in brackets, a word behind a backslash, which is itself, or the longest word there is.
_WORDS: Final = sorted((*_PLAIN, *_ORDINAL), key=len, reverse=True)
_WORD: Final = re.compile(rf"\[([^\[\]]*)\]|(\\?)({'|'.join(_WORDS)}|S{{1,9}}|.)", re.DOTALL)
_LONG_WORD: Final = re.compile(r"(\[[^\[\]]*\])|(\\?)(LTS|LT|L{1,4}|l{1,4})", re.DOTALL)


def format_date(moment: datetime, pattern: str, *, zone: str) -> str:
    """Write a date.

    Args:
        moment: When, with a time zone.
        pattern: Such as ``YYYYMMDD-HHmmss``; text in brackets stays as it is.
        zone: The time zone to write it in, such as ``Asia/Tokyo``.

    Raises:
        UsageError: there is no such time zone.
    """
    at = moment.astimezone(time_zone(zone))
    long = _LONG_WORD.sub(lambda found: found[0] if found[1] or found[2] else _LONG[found[3]], pattern)
    return _WORD.sub(lambda found: _write(found, at), long).replace("\\", "")


def time_zone(name: str) -> ZoneInfo:
    """Read a time zone's name.

    Raises:
        UsageError: not one of the IANA's, or this machine has no time zones.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise UsageError(
            f"{name[:80]!r} is not a time zone",
            hint="expected a name such as UTC, Europe/Paris or Asia/Tokyo",
        ) from error


def _write(found: re.Match[str], at: datetime) -> str:
    bracketed, escaped, word = found.groups()
    if bracketed is not None:
        return bracketed
    if escaped:
        return word
    if word in _ORDINAL:
        return _ordinal(_ORDINAL[word](at))
    if word.startswith("S"):
        return f"{at.microsecond // 1000:03}{'0' * 6}"[: len(word)]
    return _PLAIN[word](at) if word in _PLAIN else word


def _ordinal(number: int) -> str:
    teens = number % 100 // 10 == 1
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
