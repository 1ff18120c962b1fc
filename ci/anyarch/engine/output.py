"""What ``dagger --progress=plain`` prints, one line at a time, as facts.

A line is ``NUMBER : ┆ ┆ TEXT``, where TEXT is a step's name (it starts), its name and ``DONE [1.2s]``,
``CACHED``, ``ERROR`` (it ended), ``[1.2s] | text`` (it printed something) or ``! text`` (why it failed).
https://github.com/dagger/dagger/blob/v0.21.8/dagql/idtui/frontend_plain.go
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_LINE: Final = re.compile(r"(?P<step>[0-9]+)\s*: (?:┆ )*(?P<text>.*)")
_LOG: Final = re.compile(r"\[(?P<after>[0-9hms.]+)\] \|(?: (?P<text>.*))?")
_END: Final = re.compile(r"(?P<name>.*?) (?P<how>DONE|CACHED|ERROR) \[(?P<seconds>[0-9hms.]+)\].*")
_FAILURE: Final = re.compile(r"! (?P<text>.*)")


class Kind(StrEnum):
    """What a line says about its step."""

    STARTED = "started"
    PRINTED = "printed"
    DONE = "done"
    CACHED = "cached"
    ERROR = "error"
    FAILURE = "failure"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the step's number (0 where there is none), what happened, and the text.

    ``took`` is the time as the client writes it (``2.1s``, ``1m4s``) where a step ended, else empty.
    """

    step: int
    kind: Kind
    text: str
    took: str = ""


def parse_line(raw: str) -> Line:
    """Read one line; what is no step's line comes back as ``OTHER``."""
    line = plain(raw)
    found = _LINE.fullmatch(line)
    if found is None:
        return Line(0, Kind.OTHER, line)
    step, text = int(found["step"]), found["text"]
    if match := _LOG.fullmatch(text):
        return Line(step, Kind.PRINTED, match["text"] or "")
    if match := _END.fullmatch(text):
        return Line(step, Kind(match["how"].lower()), match["name"], match["seconds"])
    if match := _FAILURE.fullmatch(text):
        return Line(step, Kind.FAILURE, match["text"])
    return Line(step, Kind.STARTED, text)


def plain(text: str) -> str:
    """The text without colours and without control characters."""
    return "".join(c for c in _ANSI.sub("", text) if c.isprintable() or c == "\t")
