"""Build secrets handed over together: a line ``ID=value`` for each, as one secret of a CI service.

A value of several lines stands between ``ID<<WORD`` and ``WORD``, as in the files that GitHub's runner reads:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_LINE: Final = re.compile(r"(?P<id>[A-Za-z0-9_.-]+)(?:=(?P<value>.*)|<<(?P<word>\S+))", re.ASCII | re.DOTALL)


def parse_secret_lines(text: str, *, known: Collection[str]) -> dict[str, str]:
    """Read values by id. No message holds any part of a value.

    Args:
        text: The lines; empty ones do not count.
        known: The ids that the build asks for.

    Raises:
        UsageError: a line that is none, an id that is not asked for, or one that is there twice.
    """
    lines = ((number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), 1))
    read: dict[str, str] = {}
    for number, line in lines:
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise UsageError(f"build secrets: line {number} is not ID=value", hint=_hint(known))
        if match["id"] not in known:
            raise UsageError(
                f"build secrets: line {number} is for no secret of this build", hint=_hint(known)
            )
        if match["id"] in read:
            raise UsageError(f"build secrets: line {number} gives {match['id']} again")
        read[match["id"]] = match["value"] if match["word"] is None else _block(lines, match["word"], number)
    return read


def _block(lines: Iterator[tuple[int, str]], word: str, begin: int) -> str:
    """The lines up to ``word``."""
    value: list[str] = []
    for _, line in lines:
        if line == word:
            return "\n".join(value)
        value.append(line)
    raise UsageError(f"build secrets: what begins in line {begin} does not end")


def _hint(known: Collection[str]) -> str:
    if not known:
        return "anyarch.toml names none: [build.secrets]"
    return (
        f"a line ID=value, or ID<<EOF, lines, EOF; the ids are those of [build.secrets]: {', '.join(known)}"
    )
