"""Text that strangers may have written into, as it is shown."""

from __future__ import annotations

import re
from typing import Final

# What the runner of GitHub Actions takes for a command: "##[" anywhere, "::" where a line begins.
# https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
_COMMAND: Final = re.compile(r"(?<=##)\[|^ *::")


class Lines(str):
    """A text of our own making that has several lines; made by ``in_lines``."""

    __slots__ = ()


def in_lines(text: str) -> Lines:
    """Let a text of ours have several lines. What strangers wrote into it must have been cut into lines."""
    return Lines("\n".join(map(one_line, text.split("\n"))))


def one_line(text: str) -> str:
    """What strangers may have written into a line of ours, so that it stays one and steers nothing.

    A line break would let them write lines of ours, control characters steer a terminal, and a line of a
    certain form the CI service.
    """
    plain = text if text.isprintable() else "".join(map(_shown, text))
    return _COMMAND.sub(lambda match: f"{match[0][:-1]}{_escaped(match[0][-1])}", plain)


def shown(text: str) -> str:
    """A text as it may be shown: in one line, but for ``in_lines``."""
    return text if isinstance(text, Lines) else one_line(text)


def printable(text: str) -> str:
    """A whole document, its line breaks and tabs kept: control characters must not reach a terminal."""
    return "".join(c if c in "\n\t" else _shown(c) for c in text)


def _shown(c: str) -> str:
    return c if c.isprintable() else _escaped(c)


def _escaped(c: str) -> str:
    return f"\\x{ord(c):02x}"
