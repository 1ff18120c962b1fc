"""Publishing a release: read the children, write the index by digest, move the tags last, read back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio

from anyarch.errors import RegistryProtocolError
from anyarch.release.draft import Draft, is_there, make_draft
from anyarch.release.expectation import Expectation
from anyarch.release.gather import gather
from anyarch.release.ledger import Mover, prepare, read_again, write_down
from anyarch.release.moving import after_tags, before_tags, move_tags
from anyarch.release.overtaken import give_back, overtaken
from anyarch.release.parallel import all_of, both, in_parallel
from anyarch.release.released import Action, Event, Release, ReleasedChild, TagResult
from anyarch.release.tagging import READ_BACK_DELAYS_SECONDS, read_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.release.plan import Plan, PlannedPlatform
    from anyarch.release.record import Record

__all__ = ["Action", "Event", "Release", "ReleasedChild", "TagResult", "gather", "merge", "publish"]


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
    tell = on_event or ignore
    if not isinstance(expected, Expectation):
        expected = Expectation.of(store.name, plan=plan, platforms=expected)
    draft = await make_draft(store, records, expected, tags=tags, mover=mover or Mover(), tell=tell)
    return draft.release if dry_run else (await publish([draft], tell=tell))[0]


async def publish(drafts: Sequence[Draft], *, tell: Callable[[Event], None]) -> list[Release]:
    """Make drafts of one release true in all their places: every index first, then the tags.

    No tag moves anywhere before the index is in every place and was read back there.

    Args:
        drafts: The release in each place.
        tell: Told about every step as it happens.

    Raises:
        LostRaceError: a tag was moved by somebody else meanwhile.
        RegistryError: a store refused or failed; tags not named in the message are as they were.
    """

    async def point() -> None:
        with before_tags(len(drafts)):
            await in_parallel([partial(_write_index, draft, tell) for draft in drafts])
        await _move(drafts, tell)

    async def prepare_histories() -> None:
        await in_parallel([partial(_prepare, draft) for draft in drafts])

    # What histories need is three requests one after another: as many as index and tags take.
    await both(point, prepare_histories)
    with after_tags([draft.moves for draft in drafts]):
        return await all_of([partial(_finish, draft, tell) for draft in drafts])


async def _prepare(draft: Draft) -> None:
    await prepare(draft.store, draft.ledger, draft.to_record, draft.mover)


async def _write_index(draft: Draft, tell: Callable[[Event], None]) -> None:
    """Write the index by digest and read it back; a registry may need a moment to show it."""
    store, index = draft.store, draft.release.index
    subject = f"{store.name}@{index.digest}"
    if draft.has_index:
        tell(Event(action="unchanged", subject=subject))
        return
    with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
        await store.put(index.digest, index)
    for delay_seconds in READ_BACK_DELAYS_SECONDS:
        await anyio.sleep(delay_seconds)
        if await is_there(store, index):
            tell(Event(action="written", subject=subject))
            return
    raise RegistryProtocolError(
        f"{subject}: the registry accepted the index, but does not give it back; no tag was touched",
        hint="merge again; if it stays so, ask the registry's operator",
    )


async def _move(drafts: Sequence[Draft], tell: Callable[[Event], None]) -> None:
    def tell_moved(store: Store, tag: Tag, previous: object) -> None:
        detail = f"was {previous}" if previous else "new"
        tell(Event(action="written", subject=f"{store.name}:{tag}", detail=detail))

    for draft in drafts:
        for tag in draft.before:
            if tag not in draft.to_move:
                tell(Event(action="unchanged", subject=f"{draft.store.name}:{tag}"))
    await move_tags([draft.moves for draft in drafts], on_moved=tell_moved)


async def _finish(draft: Draft, tell: Callable[[Event], None]) -> Release:
    """Read the tags back, and write down in their histories that they moved."""
    store, digest, mover = draft.store, draft.release.digest, draft.mover
    _, ledger = await both(
        partial(read_back, store, digest, draft.to_move),
        partial(read_again, store, draft.ledger, draft.to_move, mover),
    )
    given = await give_back(store, draft.to_move, digest, mover, first=draft.ledger, now=ledger)
    ours = {tag: previous for tag, previous in draft.to_record.items() if tag not in given}
    warnings = await write_down(store, ledger, ours, digest, mover)
    for warning in warnings:
        tell(Event(action="warning", subject=store.name, detail=warning))
    if given:
        raise overtaken(store.name, given, mover)
    return _written(draft, warnings)


def _written(draft: Draft, warnings: Sequence[str]) -> Release:
    """The release, now that it is there."""

    def done(action: Action) -> Action:
        return "written" if action == "planned" else action

    release = draft.release
    return replace(
        release,
        index_action=done(release.index_action),
        tags=tuple(replace(each, action=done(each.action)) for each in release.tags),
        writes=len(draft.to_move) + (not draft.has_index),
        dry_run=False,
        warnings=tuple(warnings),
    )


def ignore(_: Event) -> None:
    """What happens to events that nobody asked for."""
