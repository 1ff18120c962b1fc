"""Regular expressions of JavaScript, which the ``match`` rules are written in."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Final

from anyarch.errors import UsageError
from anyarch.release.fields import quoted

_WITH_FLAGS: Final = re.compile(r"/(.+)/(.*)", re.DOTALL)
_FLAGS: Final = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "g": 0, "u": 0}
_NAMED_GROUP: Final = re.compile(r"(?<!\\)\(\?<(?![=!])")
_NAMED_REFERENCE: Final = re.compile(r"\\k<(\w+)>")


@dataclass(frozen=True, slots=True)
class Matcher:
    """A regular expression. ``all_matches``: the groups are the whole matches, one after the other."""

    pattern: re.Pattern[str]
    all_matches: bool = False

    @classmethod
    def parse(cls, text: str, *, flags: bool) -> Matcher:
        """Read an expression; with ``flags``, ``/…/gi`` is one with flags.

        Raises:
            UsageError: neither JavaScript's nor ours.
        """
        found = _WITH_FLAGS.fullmatch(text) if flags else None
        body, letters = found.groups() if found else (text, "")
        if unknown := set(letters) - set(_FLAGS):
            raise UsageError(
                f"{quoted(text)}: unknown flag {min(unknown)!r}; expected some of {', '.join(_FLAGS)}"
            )
        written = _NAMED_REFERENCE.sub(r"(?P=\1)", _NAMED_GROUP.sub("(?P<", body))
        # \d, \w and \b are ASCII's in JavaScript.
        kind = re.ASCII
        for letter in letters:
            kind |= _FLAGS[letter]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return cls(re.compile(written, kind), all_matches="g" in letters)
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(f"{quoted(text)} is not a regular expression: {error}") from error

    @property
    def groups(self) -> int:
        """How many groups the expression has."""
        return self.pattern.groups

    def match(self, text: str) -> tuple[str | None, ...]:
        """The first match and its groups, 0 the whole; empty if there is none."""
        if self.all_matches:
            return tuple(found[0] for found in self.pattern.finditer(text))
        found = self.pattern.search(text)
        return (found[0], *found.groups()) if found else ()
