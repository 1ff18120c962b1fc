"""All that a place holds, where it can tell: an OCI layout can, and services with an API of their own.

A registry of the distribution protocol cannot: it lists tags, and nothing that has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from anyarch.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One thing that is there. ``written`` is when it was put there, in UTC; None if that is not known.

    ``size`` is in bytes and None if not known. ``subject`` is what it is about, if it is a referrer, and
    ``kind`` its media type, for people; the place may know neither.
    """

    digest: Digest
    written: datetime | None = None
    size: int | None = None
    subject: Digest | None = None
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Everything that a place holds.

    Args:
        held: Each thing once.
        roots: What must stay though no tag points at it, and why, in words.
        blobs: Whether configs and layers are among it, deleted one by one as manifests are.
    """

    held: tuple[Held, ...]
    roots: Mapping[Digest, str]
    blobs: bool


class Inventoried(Protocol):
    """A place that can tell what it holds."""

    async def inventory(self) -> Inventory:
        """Everything that is there now."""
        ...
