"""The decision: do these images make up the planned index, and what are its bytes? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyarch.release.found import FoundImage
    from anyarch.release.record import Record


@dataclass(frozen=True, kw_only=True)
class Child:
    """A record, and what the store holds for it; ``problem`` says why there is nothing."""

    record: Record
    found: FoundImage | None = None
    problem: str = ""
