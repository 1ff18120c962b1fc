"""Publishing a release: read the children, write the index by digest, move the tags last, read back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Index
    from anyarch.oci.platforms import Platform
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.release.merge import Child
    from anyarch.release.plan import Plan, PlannedPlatform
    from anyarch.release.record import Execution, Record

Action = Literal["written", "unchanged", "planned"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that merge did, for a progress display: ``action`` to ``subject`` (an index, a tag)."""

    action: Literal["read", "written", "unchanged", "replaced"]
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
    """One platform of a release. ``total_bytes`` is what a machine downloads, compressed."""

    platform: Platform
    execution: Execution | None
    digest: Digest
    total_bytes: int
    attestations: int
    record: Record | None


@dataclass(frozen=True, kw_only=True)
class Release:
    """An index and the tags that point at it. ``missing`` are optional platforms that were not built.

    ``writes`` counts the requests that changed something: none for a second identical run.
    """

    repository: str
    index: Index
    index_action: Action
    children: tuple[ReleasedChild, ...]
    missing: tuple[Platform, ...]
    tags: tuple[TagResult, ...]
    writes: int
    dry_run: bool

    @property
    def digest(self) -> Digest:
        """The index's digest."""
        return self.index.digest


async def gather(store: Store, records: Sequence[Record]) -> tuple[Child, ...]:
    """Read back what the records point at."""
    raise NotImplementedError


async def merge(
    store: Store,
    records: Sequence[Record],
    *,
    plan: Plan | None = None,
    expected: Sequence[PlannedPlatform] | None = None,
    tags: Sequence[Tag] = (),
    dry_run: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> Release:
    """Join the records' images into one index and point the tags at it.

    Args:
        store: The repository that holds the images and gets the index.
        records: One for each platform.
        plan: What was planned: the records must be its own.
        expected: The platforms, where there is no plan; without both, the records' own.
        tags: The tags; none: the index is only reachable by its digest.
        dry_run: Check everything, write nothing.
        on_event: Told about every step as it happens.

    Raises:
        MergeRefusedError: the images do not make up the expected index; every offender is listed.
        PlanMismatchError: the records belong to another plan, revision or repository.
        LostRaceError: a tag was moved by somebody else meanwhile.
        RegistryError: the store refused or failed; tags not named in the message are as they were.
    """
    raise NotImplementedError
