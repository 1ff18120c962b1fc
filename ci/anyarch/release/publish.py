"""Publishing a release: read the children, write the index by digest, move the tags last, read back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import anyio

from anyarch.errors import MergeRefusedError, NotFoundError, PlanMismatchError, RegistryProtocolError
from anyarch.release import marks
from anyarch.release.expectation import Expectation
from anyarch.release.gather import gather, missing_parts, read_children, with_missing
from anyarch.release.history import Run
from anyarch.release.ledger import Ledger, Mover, prepare, read_again, read_ledger, with_history, write_down
from anyarch.release.merge import Decision, decide, newest_attempts
from anyarch.release.parallel import both
from anyarch.release.tagging import READ_BACK_DELAYS_SECONDS, move_tags, read_back, tag_states

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Index
    from anyarch.oci.platforms import Platform
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.release.child import Child
    from anyarch.release.found import FoundImage
    from anyarch.release.plan import Plan, PlannedPlatform
    from anyarch.release.record import Record

__all__ = ["Action", "Event", "Release", "ReleasedChild", "TagResult", "gather", "merge"]

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


async def merge(
    store: Store,
    records: Sequence[Record],
    *,
    plan: Plan | None = None,
    expected: Sequence[PlannedPlatform] | Expectation | None = None,
    tags: Sequence[Tag] = (),
    dry_run: bool = False,
    on_event: Callable[[Event], None] | None = None,
    mover: Mover | None = None,
) -> Release:
    """Join the records' images into one index and point the tags at it.

    Args:
        store: The repository that holds the images and gets the index.
        records: One for each platform.
        plan: What was planned: the records must be its own.
        expected: The platforms, where there is no plan; without both, the records' own. Or all of it.
        tags: The tags; none: the index is only reachable by its digest.
        dry_run: Check everything, write nothing.
        on_event: Told about every step as it happens.
        mover: By which rules tags move; a run and a revision that it does not name are the records'.

    Raises:
        OlderRunError: a tag points at the release of a newer run.
        MergeRefusedError: the images do not make up the expected index; every offender is listed.
        PlanMismatchError: the records belong to another plan, revision or repository.
        LostRaceError: a tag was moved by somebody else meanwhile.
        RegistryError: the store refused or failed; tags not named in the message are as they were.
    """
    tell = on_event or _ignore
    expectation = _expectation(store, plan, expected)
    chosen, replaced = newest_attempts(records)
    for record in replaced:
        tell(Event(action="replaced", subject=record.name, detail="a newer attempt of the same run"))
    children, before = await both(partial(read_children, store, chosen), partial(tag_states, store, tags))
    draft = _draft(children, expectation)
    # The layers are asked for at the same time as the index that there will be if all of them are there.
    missing, (is_there, ledger) = await both(
        partial(missing_parts, store, children),
        partial(both, partial(_is_there, store, draft), partial(_ledger, store, draft, before)),
    )
    decision = decide(with_missing(children, missing), expectation)
    for child in decision.children:
        tell(Event(action="read", subject=child.record.name, detail=str(child.record.image.digest)))
    to_move = {tag: digest for tag, digest in before.items() if digest != decision.index.digest}
    mover = _completed(mover or Mover(), [child.record for child in decision.children])
    ledger.refuse_older(store.name, to_move, mover)
    release = _release(
        store.name, decision, before=before, to_move=to_move, is_there=is_there, dry_run=dry_run
    )
    if dry_run:
        return release
    moves = to_move | ledger.unrecorded(before, release.digest)

    async def point() -> None:
        await _write_index(store, decision.index, is_there=is_there, tell=tell)
        await _move(store, decision.index, before, to_move, tell)

    # What histories need is three requests one after another: as many as index and tags take.
    await both(point, partial(prepare, store, ledger, moves, mover))
    _, now = await both(
        partial(read_back, store, release.digest, to_move), partial(read_again, store, ledger, to_move, mover)
    )
    warnings = await write_down(store, now, moves, release.digest, mover)
    for warning in warnings:
        tell(Event(action="warning", subject=store.name, detail=warning))
    return replace(release, warnings=tuple(warnings))


def _expectation(
    store: Store, plan: Plan | None, expected: Sequence[PlannedPlatform] | Expectation | None
) -> Expectation:
    if isinstance(expected, Expectation):
        return expected
    return Expectation.of(store.name, plan=plan, platforms=expected)


async def _ledger(store: Store, draft: Index | None, before: Mapping[Tag, Digest | None]) -> Ledger:
    """The histories of the tags, also of those that stand already; without a draft none will be needed."""
    return await read_ledger(store, with_history(before) if draft else [])


def _completed(mover: Mover, records: Sequence[Record]) -> Mover:
    """The mover, with the records' own run and revision where it names none."""
    revisions = {record.revision for record in records}
    revision = revisions.pop() if len(revisions) == 1 else None
    return replace(
        mover, run=mover.run or Run.newest(records), revision=mover.revision or revision, by="merge"
    )


def _draft(children: Sequence[Child], expectation: Expectation) -> Index | None:
    try:
        return decide(children, expectation).index
    except (MergeRefusedError, PlanMismatchError):
        return None  # the real decision, after the layers, lists every offender


async def _is_there(store: Store, index: Index | None) -> bool:
    """Whether exactly these bytes are there already."""
    if index is None:
        return False
    try:
        return (await store.get(index.digest)).raw == index.raw
    except NotFoundError:
        return False


async def _write_index(store: Store, index: Index, *, is_there: bool, tell: Callable[[Event], None]) -> None:
    """Write the index by digest and read it back; a registry may need a moment to show it."""
    subject = f"{store.name}@{index.digest}"
    if is_there:
        tell(Event(action="unchanged", subject=subject))
        return
    with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
        await store.put(index.digest, index)
    for delay_seconds in READ_BACK_DELAYS_SECONDS:
        await anyio.sleep(delay_seconds)
        if await _is_there(store, index):
            tell(Event(action="written", subject=subject))
            return
    raise RegistryProtocolError(
        f"{subject}: the registry accepted the index, but does not give it back; no tag was touched",
        hint="merge again; if it stays so, ask the registry's operator",
    )


async def _move(
    store: Store,
    index: Index,
    before: Mapping[Tag, Digest | None],
    to_move: Mapping[Tag, Digest | None],
    tell: Callable[[Event], None],
) -> None:
    def tell_moved(tag: Tag) -> None:
        previous = before[tag]
        tell(
            Event(
                action="written",
                subject=f"{store.name}:{tag}",
                detail=f"was {previous}" if previous else "new",
            )
        )

    for tag in before:
        if tag not in to_move:
            tell(Event(action="unchanged", subject=f"{store.name}:{tag}"))
    await move_tags(store, index, to_move, on_moved=tell_moved)


def _release(
    repository: str,
    decision: Decision,
    *,
    before: Mapping[Tag, Digest | None],
    to_move: Mapping[Tag, Digest | None],
    is_there: bool,
    dry_run: bool,
) -> Release:
    def action(*, changes: bool) -> Action:
        return "unchanged" if not changes else "planned" if dry_run else "written"

    return Release(
        repository=repository,
        index=decision.index,
        index_action=action(changes=not is_there),
        children=tuple(_released(child.record, child.found) for child in decision.children if child.found),
        missing=decision.missing,
        tags=tuple(
            TagResult(tag=tag, action=action(changes=tag in to_move), previous=digest)
            for tag, digest in before.items()
        ),
        writes=0 if dry_run else len(to_move) + (not is_there),
        dry_run=dry_run,
    )


def _released(record: Record, found: FoundImage) -> ReleasedChild:
    return ReleasedChild(
        platform=found.platform,
        execution=found.manifest.annotations.get(marks.EXECUTION),
        digest=found.descriptor.digest,
        total_bytes=found.total_bytes,
        attestations=len(found.attestations),
        record=record,
    )


def _ignore(_: Event) -> None:
    """What happens to events that nobody asked for."""
