"""A write to a repository, as a dry run announces it and a report tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from anyarch.oci.digest import Digest

Action = Literal["mount", "copy", "put"]


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write.

    Args:
        action: ``mount``: the registry takes a blob over from another of its repositories (if it does not,
            the bytes travel); ``copy``: a blob's bytes travel; ``put``: a manifest is written.
        what: The digest of what is written; None where its bytes are made only then.
        where: The repository with digest or tag, as a user writes it.
        size: In bytes.
        source: The repository it comes from; empty where it is made here.
    """

    action: Action
    what: Digest | None
    where: str
    size: int | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What a copy wrote, or would write, in order; and what could not come along."""

    writes: tuple[Write, ...] = ()
    warnings: tuple[str, ...] = ()
