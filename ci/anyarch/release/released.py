"""What a merge makes: a release, its platforms, its tags; and what it tells while it does so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Index
    from anyarch.oci.platforms import Platform
    from anyarch.oci.reference import Tag
    from anyarch.release.record import Record

Action = Literal["written", "unchanged", "planned"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that merge did, for a progress display: ``action`` to ``subject`` (an index, a tag)."""

    action: Literal["read", "written", "unchanged", "replaced", "warning"]
    subject: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class TagResult:
    """One tag after a merge. ``previous`` is what it pointed at before, None if it did not exist.

    ``action`` is ``planned`` on a dry run.
    """

    tag: Tag
    action: Action
    previous: Digest | None


@dataclass(frozen=True, kw_only=True)
class ReleasedChild:
    """One platform of a release.

    ``execution`` (native or emulated) is what the image says, ``total_bytes`` what a machine downloads.
    """

    platform: Platform
    execution: str | None
    digest: Digest
    total_bytes: int
    attestations: int
    record: Record


@dataclass(frozen=True, kw_only=True)
class Release:
    """An index and the tags that point at it. ``missing`` are optional platforms that were not built.

    ``writes`` counts index and tags that were written: none for a second identical run. ``warnings`` is
    what could not be written into the tags' histories, which are kept beside them and not counted.
    """

    repository: str
    index: Index
    index_action: Action
    children: tuple[ReleasedChild, ...]
    missing: tuple[Platform, ...]
    tags: tuple[TagResult, ...]
    writes: int
    dry_run: bool
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> Digest:
        """The index's digest."""
        return self.index.digest
