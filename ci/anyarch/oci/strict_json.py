"""JSON from strangers: no duplicate keys, no NaN, bounded size and depth.

Two readers that resolve a duplicate key differently see two different images
(GHSA-mc8v-mgrf-8f4m is a cousin), so a document that has one is refused.
"""

from __future__ import annotations

import json
from collections import Counter

from anyarch.errors import ContentError


def loads_object(raw: bytes, *, subject: str, max_bytes: int) -> dict[str, object]:
    """Read one JSON object.

    Args:
        raw: The document, UTF-8.
        subject: Whose document it is, for the message.
        max_bytes: Refuse anything longer.

    Raises:
        ContentError: too long, too deep, not UTF-8, not JSON, a duplicate key, or not an object.
    """
    if len(raw) > max_bytes:
        raise ContentError(f"{subject}: {len(raw)} bytes are more than the {max_bytes} allowed")
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise ContentError(f"{subject}: JSON nested too deep") from error
    except ValueError as error:
        raise ContentError(f"{subject}: not valid JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise ContentError(f"{subject}: expected a JSON object")
    return document


def dumps(document: object) -> bytes:
    """Write a document as anyarch does: key order as given, two spaces, UTF-8, no final newline."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode()


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
