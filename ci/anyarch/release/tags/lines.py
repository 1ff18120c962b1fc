"""The lines of a pasted block, and the attributes of a line."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyarch.release.fields import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyarch.errors import UsageError


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and where it is, such as ``tags.rules line 2``."""

    text: str
    where: str

    def problem(self, error: UsageError) -> str:
        """What is wrong with this line."""
        hint = f" ({error.hint})" if error.hint else ""
        return f"{self.where} {quoted(self.text)}: {error.what}{hint}"


def block(text: str, *, where: str) -> list[Line]:
    """The lines of a pasted block, without empty ones and comments.

    Docker's toolkit reads a block as CSV once, before each line is read as CSV on its own: a whole line in
    quotes is one field, and so is an attribute. Quotes around a comma, which the toolkit forgets after the
    first time, stay.
    """
    stripped = [line.strip() for line in text.splitlines()]
    return [
        Line(_unquoted(line), f"{where} line {number}")
        for number, line in enumerate(stripped, 1)
        if line and not line.startswith("#")
    ]


def entries(texts: Iterable[str], *, where: str) -> list[Line]:
    """The entries of a list: each a line."""
    return [Line(text.strip(), f"{where}[{number}]") for number, text in enumerate(texts) if text.strip()]


def attributes(text: str) -> list[tuple[str, str]]:
    """The attributes of a line in order, names in lower case; a word without ``=`` has an empty name."""
    read = []
    for field in _fields(text):
        key, equals, value = field.partition("=")
        if key and equals and "{{" not in key:
            read.append((key.strip().lower(), value.strip()))
        else:
            read.append(("", field.strip()))
    return read


def _unquoted(line: str) -> str:
    """What reading a line as CSV once leaves of it."""
    fields = _fields(line)
    if len(fields) < 2:
        return "".join(fields)
    return ",".join(f'"{each}"' if "," in each and '"' not in each else each for each in fields)


def _fields(line: str) -> list[str]:
    return next(csv.reader([line]), [])
