"""A release before it is one: decided and checked against its place, with nothing written yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from anyarch.errors import MergeRefusedError, NotFoundError, PlanMismatchError
from anyarch.release import marks
from anyarch.release.gather import missing_parts, read_children, with_missing
from anyarch.release.history import Run
from anyarch.release.holdings import Holdings
from anyarch.release.ledger import Ledger, Mover, read_ledger
from anyarch.release.merge import Decision, decide, newest_attempts
from anyarch.release.moving import TagMoves
from anyarch.release.parallel import both
from anyarch.release.released import Event, Release, ReleasedChild, TagResult
from anyarch.release.tagging import tag_states

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Index
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.release.child import Child
    from anyarch.release.expectation import Expectation
    from anyarch.release.found import FoundImage
    from anyarch.release.record import Record


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A release as it is going to be in one place.

    Args:
        store: The place.
        release: What will be there; ``planned`` is what has to be written for it.
        ledger: The histories of its tags.
        mover: Who moves them.
    """

    store: Store
    release: Release
    ledger: Ledger
    mover: Mover

    @property
    def has_index(self) -> bool:
        """Whether exactly this index is there already."""
        return self.release.index_action == "unchanged"

    @property
    def before(self) -> dict[Tag, Digest | None]:
        """The tags, and what each points at."""
        return {each.tag: each.previous for each in self.release.tags}

    @property
    def to_move(self) -> dict[Tag, Digest | None]:
        """Those that do not point at the release."""
        return {each.tag: each.previous for each in self.release.tags if each.action != "unchanged"}

    @property
    def moves(self) -> TagMoves:
        """How they come to point at it."""
        return TagMoves(
            store=self.store,
            manifest=self.release.index,
            before=self.to_move,
            movable=self.ledger.movable,
        )

    @property
    def to_record(self) -> dict[Tag, Digest | None]:
        """The moves that the histories will have to know, those of an interrupted run included."""
        return self.to_move | self.ledger.unrecorded(self.before, self.release.digest)


async def make_draft(
    store: Store,
    records: Sequence[Record],
    expectation: Expectation,
    *,
    tags: Sequence[Tag],
    mover: Mover,
    tell: Callable[[Event], None],
) -> Draft:
    """Read all that the records point at, decide, and hold the tags to be moved against their histories.

    Args:
        store: The repository that holds the images and gets the index.
        records: One for each platform.
        expectation: What the images must make up.
        tags: The tags to move.
        mover: By which rules; a run and a revision that it does not name are the records'.
        tell: Told what was read.

    Raises:
        OlderRunError: a tag points at the release of a newer run.
        MergeRefusedError: the images do not make up the expected index, or nobody said what is expected
            and a tag would lose platforms; every offender is listed.
        PlanMismatchError: the records belong to another plan, revision or repository.
        RegistryError: the store refused or failed.
    """
    chosen, replaced = newest_attempts(records)
    for record in replaced:
        tell(Event(action="replaced", subject=record.name, detail="a newer attempt of the same run"))
    children, before = await both(partial(read_children, store, chosen), partial(tag_states, store, tags))
    index = _likely(children, expectation)
    holdings = Holdings(store, guarded=expectation.platforms is None and not mover.force)
    # The layers are asked for at the same time as the index that there will be if all of them are there.
    missing, (has_index, ledger) = await both(
        partial(missing_parts, store, children),
        partial(both, partial(is_there, store, index), partial(_told, store, index, before, holdings)),
    )
    if elsewhere := ledger.elsewhere(before):
        before |= await tag_states(store, elsewhere)
        await holdings.read(before.values())
    decision = decide(with_missing(children, missing), expectation)
    for child in decision.children:
        tell(Event(action="read", subject=child.record.name, detail=str(child.record.image.digest)))
    mover = _completed(mover, [child.record for child in decision.children])
    draft = Draft(
        store=store,
        release=_release(store.name, decision, before, has_index=has_index),
        ledger=ledger,
        mover=mover,
    )
    ledger.refuse_older(store.name, draft.to_move, mover)
    _refuse_losses(draft, holdings)
    return draft


async def is_there(store: Store, index: Index | None) -> bool:
    """Whether exactly these bytes are there already.

    Raises:
        RegistryError: the store does not answer.
    """
    if index is None:
        return False
    try:
        return (await store.get(index.digest)).raw == index.raw
    except NotFoundError:
        return False


def _likely(children: Sequence[Child], expectation: Expectation) -> Index | None:
    try:
        return decide(children, expectation).index
    except (MergeRefusedError, PlanMismatchError):
        return None  # the real decision, after the layers, lists every offender


async def _told(
    store: Store, index: Index | None, before: Mapping[Tag, Digest | None], holdings: Holdings
) -> Ledger:
    """The histories of the tags, also of those that stand already, and what other ones hold.

    Without an index neither will be needed.
    """
    if index is None:
        return await read_ledger(store, [])
    other = {digest for digest in before.values() if digest != index.digest}
    ledger, _ = await both(partial(read_ledger, store, before), partial(holdings.read, other))
    return ledger


def _refuse_losses(draft: Draft, holdings: Holdings) -> None:
    offenders = holdings.losses(draft.to_move, [child.platform for child in draft.release.children])
    if offenders:
        raise MergeRefusedError(
            f"refused to merge: {draft.store.name}: tags would lose platforms; no tag was touched",
            offenders=offenders,
            hint="merge those as well; if they are to go, --platform or --plan names the set, or --force",
        )


def _completed(mover: Mover, records: Sequence[Record]) -> Mover:
    """The mover, with the records' own run and revision where it names none."""
    revisions = {record.revision for record in records}
    revision = revisions.pop() if len(revisions) == 1 else None
    return replace(
        mover, run=mover.run or Run.newest(records), revision=mover.revision or revision, by="merge"
    )


def _release(
    repository: str, decision: Decision, before: Mapping[Tag, Digest | None], *, has_index: bool
) -> Release:
    digest = decision.index.digest
    return Release(
        repository=repository,
        index=decision.index,
        index_action="unchanged" if has_index else "planned",
        children=tuple(_released(child.record, child.found) for child in decision.children if child.found),
        missing=decision.missing,
        tags=tuple(
            TagResult(tag=tag, action="unchanged" if previous == digest else "planned", previous=previous)
            for tag, previous in before.items()
        ),
        writes=0,
        dry_run=True,
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
