"""Where a release goes: ``--to``, once or several times, else what the plan or anyarch.toml says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from anyarch.errors import UsageError
from anyarch.oci.reference import Tag
from anyarch.release.config import LAYOUT_PREFIX, parse_destination

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def destinations(flags: Iterable[str], otherwise: Sequence[str] = ()) -> tuple[str, ...]:
    """The destinations, the first one first: the engines push there, the others get it from there.

    Args:
        flags: ``--to``; one value may have several lines, as a workflow's input has.
        otherwise: What counts without any flag.

    Raises:
        UsageError: a word that is no destination, or one that is there twice.
    """
    lines = [line.strip() for value in flags for line in value.splitlines()]
    found = tuple(parse_destination(line) for line in lines if line) or tuple(otherwise)
    names: dict[str, str] = {}
    for name in found:
        identity = identity_of(name)
        if identity in names:
            also = "" if names[identity] == name else f": {names[identity]} is the same directory"
            raise UsageError(
                f"{name} is among the destinations twice{also}",
                hint="each repository and each directory gets the release once: name it once",
                destination=name,
            )
        names[identity] = name
    return found


def default_tags(destination: str) -> tuple[Tag, ...]:
    """The tags where none is asked for: a layout gets one, few tools find an image without."""
    return (Tag("latest"),) if destination.startswith(LAYOUT_PREFIX) else ()


def goals(names: Sequence[str], tags: Sequence[Tag]) -> dict[str, tuple[Tag, ...]]:
    """The destinations, and the tags of each."""
    return {name: tuple(tags) or default_tags(name) for name in names}


def identity_of(name: str) -> str:
    """What two names of one place have in common."""
    if name.startswith(LAYOUT_PREFIX):
        return f"{LAYOUT_PREFIX}{os.path.realpath(name.removeprefix(LAYOUT_PREFIX))}"
    return name
