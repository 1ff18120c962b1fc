"""In which order tags are moved: what stays fixed first, what floats last."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.reference import Tag

# 1.2.3, v1.2.3-rc.1, 1.2.3_4; a commit id, alone or behind "sha-"; a date 20260131 or 2026-01-31
_FIXED: Final = re.compile(
    r"v?\d+\.\d+\.\d+(?:[-+._][A-Za-z0-9._-]+)?"
    r"|(?:sha-|git-)?(?=[0-9a-f]*\d)[0-9a-f]{7,64}"
    r"|\d{4}-?\d{2}-?\d{2}(?:[-.T]?\d+)?",
    re.ASCII,
)
_VERSION: Final = re.compile(r"v?\d+(?:\.\d+)*", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9]+", re.ASCII)


class Kind(IntEnum):
    """Tags from those that an immutable repository is likely to hold on to, to the one that it lets go."""

    NUMBERED = 0
    WORD = 1
    LATEST = 2


def is_floating(tag: Tag) -> bool:
    """Whether a tag looks like one that moves with every release: ``latest``, ``1``, ``1.2``, a branch."""
    return _FIXED.fullmatch(tag.name) is None


def in_order(tags: Sequence[Tag]) -> tuple[tuple[Tag, ...], tuple[Tag, ...]]:
    """Split tags into fixed and floating ones; the floating ones from the narrowest to ``latest``."""
    distinct = list(dict.fromkeys(tags))
    fixed = tuple(tag for tag in distinct if not is_floating(tag))
    floating = sorted((tag for tag in distinct if is_floating(tag)), key=_breadth)
    return fixed, tuple(floating)


def kind(tag: Tag) -> Kind:
    """What a name suggests: ``1.0``, ``2026-11`` and ``v1-alpine`` count something."""
    if "latest" in _WORD.findall(tag.name):
        return Kind.LATEST
    return Kind.NUMBERED if any(letter.isdecimal() for letter in tag.name) else Kind.WORD


def _breadth(tag: Tag) -> tuple[bool, int]:
    parts = tag.name.count(".") + 1 if _VERSION.fullmatch(tag.name) else 0
    return tag.name == "latest", -parts
