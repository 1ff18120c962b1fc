"""JSON from strangers: no duplicate keys, no NaN, bounded size, depth and number of values.

Two readers that resolve a duplicate key differently see two different images
(GHSA-mc8v-mgrf-8f4m is a cousin), so a document that has one is refused; the same goes for half a
surrogate pair and for numbers that overflow, which every reader replaces by something else.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Final

from anyarch.errors import ContentError

DEPTH_MAX: Final = 100  # an index nests 4 deep; what can be read can then also be written again
VALUES_MAX: Final = 250_000  # far above any manifest; keeps 4 MiB of text from becoming 90 MB of objects
_DIGITS_MAX: Final = 100
_BYTE_ORDER_MARK: Final = "\ufeff"


def loads_object(raw: bytes, *, subject: str, max_bytes: int) -> dict[str, object]:
    """Read one JSON object.

    Args:
        raw: The document, UTF-8.
        subject: Whose document it is, for the message.
        max_bytes: Refuse anything longer.

    Raises:
        ContentError: too long, too deep, too many values, not UTF-8, not JSON, ambiguous, or not an object.
    """
    if len(raw) > max_bytes:
        raise ContentError(f"{subject}: more than the {max_bytes} bytes allowed")
    if raw.count(b",") > VALUES_MAX:
        raise ContentError(f"{subject}: more than the {VALUES_MAX} JSON values allowed")
    try:
        document = _parse(raw)
    except RecursionError as error:
        raise ContentError(f"{subject}: JSON nested too deep") from error
    except ValueError as error:
        raise ContentError(f"{subject}: not valid JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise ContentError(f"{subject}: expected a JSON object")
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and _is_deep(document):
        raise ContentError(f"{subject}: JSON nested too deep")
    return document


def dumps(document: object) -> bytes:
    """Write a document as anyarch does: key order as given, two spaces, UTF-8, no final newline."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode()


def _parse(raw: bytes) -> object:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"not UTF-8 at byte {error.start}"
        raise ValueError(msg) from error
    if text.startswith(_BYTE_ORDER_MARK):
        msg = "it starts with a byte order mark"
        raise ValueError(msg)
    document: object = json.loads(
        text,
        object_pairs_hook=_unique,
        parse_constant=_no_constant,
        parse_float=_finite,
        parse_int=_short,
    )
    if b"\\u" in raw:
        _refuse_half_characters(document)
    return document


def _refuse_half_characters(document: object) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        msg = "half of a surrogate pair"
        raise ValueError(msg) from error


def _is_deep(document: object) -> bool:
    """Whether it nests deeper than allowed; level by level, so that depth costs no stack."""
    level = [document]
    for _ in range(DEPTH_MAX):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)  # type: ignore[attr-defined]
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        msg = f"duplicate keys {twice[:5]}"
        raise ValueError(msg)
    return fields


def _no_constant(name: str) -> object:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        msg = f"{text[:40]} is too large a number"
        raise ValueError(msg)
    return number


def _short(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        msg = f"a number of {len(text)} digits"
        raise ValueError(msg)
    return int(text)
