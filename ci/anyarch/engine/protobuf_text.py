"""Changing texts within protobuf messages without knowing what the messages are.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Part = tuple[bytes, bytes | None]  # a field's head, and what is in it if that has a length of its own

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_VARINT_MAX_BYTES: Final = 10
_DEPTH_MAX: Final = 64


def with_texts(message: bytes, change: Callable[[str], str], *, depth: int = _DEPTH_MAX) -> bytes | None:
    """The message with every text replaced by what ``change`` makes of it; None if it is no message.

    What can be printed is a text, what else can be read as a message is one: it begins with the number of a
    field, and those are control characters.

    Args:
        message: Encoded.
        change: Called with each text, also with such as are numbers or digests.
        depth: How many messages may be in each other.
    """
    try:
        parts = list(_parts(message))
    except ValueError:
        return None
    changed = [head if content is None else head + _field(content, change, depth) for head, content in parts]
    return b"".join(changed)


def _field(content: bytes, change: Callable[[str], str], depth: int) -> bytes:
    text = _text(content)
    if text is not None and text.isprintable():
        inner = change(text).encode()
    elif (message := with_texts(content, change, depth=depth - 1) if depth else None) is not None:
        inner = message
    else:
        inner = content if text is None else change(text).encode()
    return _encoded(len(inner)) + inner


def _text(content: bytes) -> str | None:
    """None for bytes: identities of spans and the like."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _parts(message: bytes) -> Iterator[Part]:
    """Each field.

    Raises:
        ValueError: it is no message.
    """
    place = 0
    while place < len(message):
        number, after = _decoded(message, place)
        if not number >> 3:
            raise ValueError
        head, content, end = _content(message, after, number & 7)
        if end > len(message):
            raise ValueError
        yield message[place:head], content
        place = end


def _content(message: bytes, place: int, kind: int) -> tuple[int, bytes | None, int]:
    """Where a field's head ends, what is in it, and where it ends itself.

    Raises:
        ValueError: there is no such kind of field.
    """
    if kind == _LENGTH:
        size, begin = _decoded(message, place)
        return place, message[begin : begin + size], begin + size
    if kind == _VARINT:
        end = _decoded(message, place)[1]
    elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
        end = place + (8 if kind == _EIGHT_BYTES else 4)
    else:
        raise ValueError
    return end, None, end


def _decoded(message: bytes, place: int) -> tuple[int, int]:
    """A number, and where it ends.

    Raises:
        ValueError: it does not end.
    """
    value = 0
    for count, byte in enumerate(message[place : place + _VARINT_MAX_BYTES]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    raise ValueError


def _encoded(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
