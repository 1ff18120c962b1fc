"""``Link`` headers: where a list goes on, read by the grammar of RFC 8288 §3.

A next page that is overlooked makes a list look complete, and what is not in a list of tags may be
deleted. So what cannot be read is an error, never the end of the list.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from anyarch.errors import RegistryProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEADER_MAX_CHARACTERS: Final = 16 * 1024
_SPACE: Final = r"[ \t]*"
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~\x80-\xff])*)"'
_TARGET: Final = re.compile(rf"{_SPACE}<([^<>]*)>{_SPACE}")
_PARAMETER: Final = re.compile(rf";{_SPACE}({_WORD}){_SPACE}(?:={_SPACE}(?:({_WORD})|{_QUOTED}){_SPACE})?")
_SEPARATORS: Final = re.compile(rf"(?:{_SPACE},)+|{_SPACE}\Z")


def next_link(headers: Sequence[str]) -> str | None:
    """The target of ``rel="next"`` in an answer's ``Link`` headers, as written; None if there is none.

    Raises:
        RegistryProtocolError: a header is malformed or too long, or names two next pages.
    """
    found = {target for header in headers for target, relations in _links(header) if "next" in relations}
    if len(found) > 1:
        raise RegistryProtocolError("the registry's Link header names two next pages")
    return found.pop() if found else None


def _links(header: str) -> Iterator[tuple[str, list[str]]]:
    """Every link of one header: its target, and the relations of its first ``rel``, in lower case."""
    if len(header) > _HEADER_MAX_CHARACTERS:
        raise RegistryProtocolError("the registry's Link header is too long")
    position = 0
    while position < len(header):
        target = _TARGET.match(header, position)
        if target is None:
            raise _malformed(position)
        position, relations = target.end(), None
        while (parameter := _PARAMETER.match(header, position)) is not None:
            position = parameter.end()
            if parameter[1].lower() == "rel" and relations is None:
                relations = (parameter[2] or parameter[3] or "").lower().split()
        end = _SEPARATORS.match(header, position)
        if end is None:
            raise _malformed(position)
        yield target[1], relations or []
        position = end.end()


def _malformed(position: int) -> RegistryProtocolError:
    # Not quoted: the address of a next page may be signed.
    return RegistryProtocolError(f"the registry's Link header is malformed at character {position + 1}")
