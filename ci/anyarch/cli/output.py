"""What commands print: tables and facts on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from anyarch.shown import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_KILO: Final = 1000
UNKNOWN: Final = "unknown"


def say(text: str) -> None:
    """A line of the result. What strangers wrote steers no terminal and looks like no line of ours."""
    sys.stdout.write(f"{one_line(text)}\n")


def say_exactly(raw: bytes) -> None:
    """A document, byte for byte; on a terminal what cannot be printed is escaped."""
    text = raw.decode()
    sys.stdout.write(f"{printable(text) if sys.stdout.isatty() else text}\n")


def note(text: str) -> None:
    """A line of progress, beside the result that programs read."""
    sys.stderr.write(f"{one_line(text)}\n")
    sys.stderr.flush()


def say_json(document: object) -> None:
    """The result for programs."""
    sys.stdout.write(f"{as_json(document)}\n")


def as_json(document: object) -> str:
    """JSON for people and programs: letters of all scripts as they are, everything unprintable escaped.

    So is the middle of "##[", by which GitHub Actions knows a command wherever it stands in a line.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, default=str).replace("##[", r"#\u0023[")
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> list[str]:
    """Lines of a table with aligned columns; the columns named in ``right`` are aligned on the right."""
    lines = [list(head), *([*row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def cell(text: str, column: int) -> str:
        width = widths[column]
        return text.rjust(width) if head[column] in right else text.ljust(width)

    return ["  ".join(cell(text, column) for column, text in enumerate(line)).rstrip() for line in lines]


def size(count: int) -> str:
    """Bytes as people read them."""
    amount, power = float(count), 0
    while amount >= _KILO and power < len(_UNITS) - 1:
        amount, power = amount / _KILO, power + 1
    return f"{amount:.{min(power, 1)}f} {_UNITS[power]}"


def seconds(amount: float | None) -> str:
    """A duration with one decimal, or that it is not known."""
    return UNKNOWN if amount is None else f"{amount:.1f}"
