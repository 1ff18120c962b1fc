"""Reading tables and objects from strangers: every problem is collected, each says where it is.

``anyarch.toml``, plan and record are read through this. msgspec would decode them too, but stops at the
first problem and proposes no nearest key.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar, cast

from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

T = TypeVar("T")

TEXT_MAX_CHARACTERS: Final = 4096
BLOCK_MAX_CHARACTERS: Final = 64 * 1024
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_WORDS: Final = {
    bool: "true or false",
    dict: "a table",
    float: "a number",
    int: "a whole number",
    list: "a list",
    str: "a string",
    type(None): "nothing",
}


class Fields:
    """One table of a document. A faulty field is noted in ``problems`` and gives a stand-in of no meaning.

    Whoever reads a document must raise if there are problems once everything was read: until then the
    values are not to be used.

    Args:
        found: The table.
        where: Its place in the document, such as ``build.args``; empty for the top.
        problems: Where to note problems; shared by all tables of a document.
    """

    def __init__(self, found: Mapping[str, object], *, where: str = "", problems: list[str]) -> None:
        self._found = found
        self._where = where
        self.problems = problems
        self._known: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        self._known.add(key)
        return self._found.get(key) is not None

    def keys(self) -> list[str]:
        """Every key of a table whose keys the author chooses."""
        self._known |= self._found.keys()
        return list(self._found)

    def text(self, key: str, *, default: str | None = None, most: int = TEXT_MAX_CHARACTERS) -> str:
        """A string on one line, not empty; ``default`` makes it optional."""
        if default is not None and not self.has(key):
            return default
        return self._text(self._take(key, str), self.place(key), most)

    def text_or_empty(self, key: str) -> str:
        """A string on one line, for which empty is a value too."""
        return "" if self._found.get(key) == "" else self.text(key)

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        """A string that ``parse`` understands; its ``UsageError`` becomes a problem."""
        before = len(self.problems)
        text = self.text(key)
        if len(self.problems) == before:
            try:
                return parse(text)
            except UsageError as error:
                self.problem(key, f"{error.what}{f' ({error.hint})' if error.hint else ''}")
        return cast("T", None)  # a stand-in: there is a problem

    def parsed_or_none(self, key: str, parse: Callable[[str], T]) -> T | None:
        """As ``parsed``; absent or null is None."""
        return self.parsed(key, parse) if self.has(key) else None

    def choice(self, key: str, choices: Collection[str], *, default: str | None = None) -> str:
        """One of a few words."""
        before = len(self.problems)
        word = self.text(key, default=default)
        if len(self.problems) == before and word not in choices:
            self.problem(key, f"expected {' or '.join(choices)}, got {_shown(word)}")
        return word

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """True or false."""
        if default is not None and not self.has(key):
            return default
        return self._take(key, bool) or False

    def schema(self, known: int) -> bool:
        """Whether the document is of the version that is read here, or may be: not of a newer one."""
        number = self._take("schema", int)
        if number is None or number == known:
            return True
        newer = ": a newer anyarch made this, and is needed to read it" if number > known else ""
        self.problem("schema", f"expected {known}, got {_shown(number)}{newer}")
        return not newer

    def integer(self, key: str, *, least: int = 0, most: int = 2**63 - 1) -> int:
        """A whole number within limits, both included."""
        number = self._take(key, int)
        if number is not None and not least <= number <= most:
            self.problem(key, f"expected {least} to {most}, got {_shown(number)}")
        return number or 0

    def integer_or_none(self, key: str, *, least: int = 0, most: int = 2**63 - 1) -> int | None:
        """As ``integer``; absent or null is None."""
        return self.integer(key, least=least, most=most) if self.has(key) else None

    def number(self, key: str, *, most: float) -> float:
        """A number from 0 to ``most``."""
        kind: type[int | float] = int if type(self._found.get(key)) is int else float
        number = self._take(key, kind)
        if number is not None and not 0 <= number <= most:
            self.problem(key, f"expected 0 to {most:g}, got {_shown(number)}")
        return 0.0 if number is None else number

    def texts(self, key: str, *, most: int = 1000) -> tuple[str, ...]:
        """A list of strings; absent is empty."""
        entries = self._take(key, list) if self.has(key) else None
        if entries is not None and len(entries) > most:
            self.problem(key, f"{len(entries)} entries are more than the {most} allowed")
            return ()
        place = self.place(key)
        return tuple(
            self._text(entry, f"{place}[{number}]", TEXT_MAX_CHARACTERS)
            for number, entry in enumerate(entries or ())
        )

    def lines(self, key: str) -> str | tuple[str, ...]:
        """A string of several lines, or a list of strings; absent is an empty list."""
        found = self._found.get(key)
        if not isinstance(found, str):
            return self.texts(key)
        self._known.add(key)
        if len(found) > BLOCK_MAX_CHARACTERS:
            self.problem(key, f"{len(found)} characters are more than the {BLOCK_MAX_CHARACTERS} allowed")
            return ()
        if not all(line.replace("\t", " ").isprintable() for line in found.splitlines()):
            self.problem(key, "control characters are not allowed")
            return ()
        return found

    def table(self, key: str) -> Fields:
        """A table inside; absent is empty."""
        found = self._take(key, dict) if self.has(key) else None
        return Fields(found or {}, where=self.place(key), problems=self.problems)

    def tables(self, key: str, *, most: int = 1000) -> list[Fields]:
        """A list of tables."""
        entries = self._take(key, list) or []
        if len(entries) > most:
            self.problem(key, f"{len(entries)} entries are more than the {most} allowed")
            return []
        tables = []
        for number, entry in enumerate(entries):
            where = f"{self.place(key)}[{number}]"
            if not isinstance(entry, dict):
                self.problems.append(f"{where}: expected a table, got {_shown(entry)}")
                continue
            tables.append(Fields(entry, where=where, problems=self.problems))
        return tables

    def end(self) -> None:
        """Note every key that nobody asked for, with the nearest one that exists."""
        for key in self._found:
            if key not in self._known:
                near = nearest(key, self._known)
                known = f"did you mean {near}?" if near else f"known here: {', '.join(sorted(self._known))}"
                self.problem(key, f"unknown key; {known}")

    def problem(self, key: str, what: str) -> None:
        """Note a problem with one key."""
        self.problems.append(f"{self.place(key)}: {what}")

    def place(self, key: str) -> str:
        """Where a key is in the document, written as in TOML."""
        shown = key if _BARE_KEY.fullmatch(key) else f'"{key[:80]}"'
        return f"{self._where}.{shown}" if self._where else shown

    def _take(self, key: str, kind: type[T]) -> T | None:
        self._known.add(key)
        if key not in self._found:
            self.problem(key, f"missing; expected {_WORDS[kind]}")
            return None
        value = self._found[key]
        if type(value) is not kind:
            self.problem(key, f"expected {_WORDS[kind]}, got {_shown(value)}")
            return None
        return value

    def _text(self, value: object, place: str, most: int) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            self.problems.append(f"{place}: expected a string, got {_shown(value)}")
            return ""
        if not value:
            self.problems.append(f"{place}: empty; leave the key out or give it a value")
        elif len(value) > most:
            self.problems.append(f"{place}: {len(value)} characters are more than the {most} allowed")
        elif not value.isprintable():
            self.problems.append(f"{place}: control characters and line breaks are not allowed")
        return value


def _shown(value: object) -> str:
    """A value in a message, with its kind. Long or nested ones only by kind."""
    if isinstance(value, str | bool | float):
        return repr(value)[:80]
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a very large number"
    return _WORDS.get(type(value), "something else")


def quoted(text: str) -> str:
    """The user's words in quotes, as they were written: a backslash is one."""
    return "'" + "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[:160]) + "'"


def nearest(key: str, known: Collection[str]) -> str | None:
    """The known word that comes closest to one that is not."""
    import difflib  # noqa: PLC0415  only a mistake needs it

    return next(iter(difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)), None)
