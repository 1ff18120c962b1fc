"""One platform's part of a release: what is said about it, and what a store holds for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyarch.release.found import FoundImage
    from anyarch.release.record import Record


@dataclass(frozen=True, kw_only=True)
class Child:
    """A record and what the store holds for it; ``problems`` say what it could not give."""

    record: Record
    found: FoundImage | None = None
    problems: tuple[str, ...] = ()
