"""Deleting what nothing needs: looked up, weighed, looked up once more, and deleted top down."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import (
    AuthenticationError,
    DeletionUnsupportedError,
    DeniedError,
    PruneError,
    RegistryError,
    RegistryUnavailableError,
)
from anyarch.release.parallel import in_parallel
from anyarch.release.prune.graph import Candidate, by_referrer, decide
from anyarch.release.prune.note import NOTE_TAG, WHY, a_note, leave
from anyarch.release.prune.survey import (
    add_referrers,
    read_tags,
    refuse_unreadable,
    survey,
    tags_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyarch.oci.digest import Digest
    from anyarch.release.prune.graph import Node, Verdict
    from anyarch.release.prune.survey import Places, Survey, Wishes

# How long a look at the tags is good for; a tag that is set within this time is not seen.
LOOK_MAX: Final = timedelta(seconds=5)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """One thing that goes or went. ``since`` is when somebody last needed it, ``why`` is for people."""

    node: Node
    since: datetime | None
    why: str


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What a prune did, or would do.

    Args:
        repository: Where.
        dry_run: Whether nothing was deleted.
        removed: What goes, in this order.
        kept: Candidates that somebody knows and that stay, with the reason; and what a referrer keeps though
            its index goes: nothing names it any more.
        gone: What the user named and is not there any more.
        freed_bytes: What deleting frees; on a registry at most, as layers may be shared.
        exact: Whether that is exactly so.
        tags: How many tags were looked at.
        young: How many stay for their age alone, of those that nobody named.
    """

    repository: str
    dry_run: bool
    removed: tuple[Pruned, ...]
    kept: tuple[tuple[Candidate, str], ...]
    gone: tuple[Candidate, ...]
    freed_bytes: int
    exact: bool
    tags: int
    young: int


@dataclass
class _Deletion:
    """A prune on its way."""

    places: Places
    wishes: Wishes
    found: Survey
    verdict: Verdict
    now: Callable[[], datetime]
    looked: datetime
    removed: list[Digest] = field(default_factory=list)
    failed: dict[Digest, str] = field(default_factory=dict)
    spared: dict[Digest, str] = field(default_factory=dict)


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


async def prune(
    places: Places,
    wishes: Wishes,
    *,
    dry_run: bool = False,
    now: Callable[[], datetime] = utc_now,
    on_removed: Callable[[Pruned], None] = lambda _: None,
) -> Pruning:
    """Delete candidates that are old and that nothing needs; what they alone needed goes with them.

    Args:
        places: Whom to ask, and where to delete.
        wishes: What may go.
        dry_run: Find out all, delete nothing.
        now: The time, in UTC.
        on_removed: Told of each deletion.

    Raises:
        PruneError: what is needed cannot be told and nothing was deleted, or some could not be deleted.
        DeletionUnsupportedError: the registry deletes nothing.
        RegistryError: the store refused or failed; what was deleted until then is gone, nothing is broken.
    """
    looked = now()
    found = await survey(places, wishes)
    verdict = _decide(found, wishes)
    work = _Deletion(places, wishes, found, verdict, now, looked)
    if not dry_run:
        await _delete_all(work, on_removed)
    removed = verdict.remove if dry_run else work.removed
    kept = {**verdict.kept, **work.spared, **found.reader.faults}
    named = {each.digest for each in wishes.candidates}
    return Pruning(
        repository=places.store.name,
        dry_run=dry_run,
        removed=tuple(_pruned(found, verdict, digest) for digest in removed),
        kept=tuple(
            (each, kept[each.digest])
            for each in found.candidates.values()
            if each.digest in kept and (each.why or by_referrer(kept[each.digest]))
        ),
        gone=tuple(found.candidates[digest] for digest in sorted(named & found.reader.absent)),
        freed_bytes=_freed(found, removed),
        exact=found.reader.blobs,
        tags=len(found.tagged),
        young=sum(not found.candidates[digest].why for digest in verdict.young),
    )


def _decide(found: Survey, wishes: Wishes) -> Verdict:
    graph = found.reader.graph
    return decide(graph, found.candidates, found.roots, now=wishes.now, older_than=wishes.older_than)


async def _delete_all(work: _Deletion, on_removed: Callable[[Pruned], None]) -> None:
    store, graph = work.places.store, work.found.reader.graph
    notes = await _leave_note(work)
    for digest in work.verdict.remove:
        await _look_again(work, digest)
        if digest in work.spared:
            continue
        try:
            with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
                there = await store.delete(digest)
        except (RegistryUnavailableError, AuthenticationError, DeniedError, DeletionUnsupportedError):
            raise  # the next one would fare no better
        except RegistryError as error:
            # Refused for this one, as ECR does for what an index that we do not know names.
            work.failed[digest] = error.what
            work.spared.update(graph.needed_by({digest: "it could not be deleted"}))
            continue
        if there:
            work.removed.append(digest)
            on_removed(_pruned(work.found, work.verdict, digest))
    if work.failed:
        raise PruneError(
            f"{store.name}: {len(work.removed)} deleted, {len(work.failed)} could not be",
            offenders=[f"{digest}: {why}" for digest, why in work.failed.items()],
            removed=[str(digest) for digest in work.removed],
        )
    for note in notes:
        with anyio.CancelScope(shield=True):
            await store.delete(note)


async def _leave_note(work: _Deletion) -> list[Digest]:
    """Write down what nobody could find again if this run ended early.

    Returns:
        The notes to delete at the end, this one and that of an earlier run.
    """
    found = work.found
    nameless = [each for each in work.verdict.remove if found.candidates[each].why in {"", WHY}]
    present = found.tagged.get(NOTE_TAG)
    notes = [] if present is None else [present]
    if work.places.inventory is None and nameless:
        note = a_note(nameless, work.verdict.since)
        if note.digest != present:
            await leave(work.places.store, note)
            found.tagged[NOTE_TAG] = note.digest
            notes.append(note.digest)
    return notes


async def _look_again(work: _Deletion, digest: Digest) -> None:
    """Just before something is deleted: has anything begun to need it?"""
    found, places = work.found, work.places
    roots: dict[Digest, str] = {}
    if work.now() - work.looked > LOOK_MAX:
        work.looked = work.now()
        roots |= await _new_roots(work)
    if places.referrers is not None and not work.wishes.with_referrers:
        known = set(found.roots)
        add_referrers(found, digest, await places.referrers(digest) or (), keep=True)
        roots |= {each: why for each, why in found.roots.items() if each not in known}
    if roots:
        found.roots.update(roots)
        refuse_unreadable(places.store, found)
        work.spared.update(found.reader.graph.needed_by(roots))


async def _new_roots(work: _Deletion) -> dict[Digest, str]:
    """What tags point at now, and did not when they were read."""
    store, found = work.places.store, work.found
    tags = await tags_of(store)
    heads = await in_parallel([partial(store.head, tag) for tag in tags])
    moved = [
        tag
        for tag, head in zip(tags, heads, strict=True)
        if head is not None and found.tagged.get(tag) != head.digest
    ]
    manifests = await read_tags(store, found.reader, moved)
    found.tagged.update({tag: manifest.digest for tag, manifest in manifests.items()})
    roots = {manifest.digest: f"tag {tag}, set meanwhile" for tag, manifest in manifests.items()}
    if work.places.inventory is not None and found.reader.blobs:
        listed = (await work.places.inventory.inventory()).roots
        fresh = {digest: why for digest, why in listed.items() if digest not in found.roots}
        await found.reader.read(fresh, images=True)
        roots |= fresh
    return roots


def _pruned(found: Survey, verdict: Verdict, digest: Digest) -> Pruned:
    node = found.reader.graph.nodes[digest]
    return Pruned(node=node, since=verdict.since.get(digest), why=found.candidates[digest].why)


def _freed(found: Survey, removed: Iterable[Digest]) -> int:
    """Bytes of what goes; what known manifests that stay bring along is not counted."""
    nodes = found.reader.graph.nodes
    going = set(removed)
    own = sum(nodes[digest].size or 0 for digest in going)
    if found.reader.blobs:
        return own
    content: dict[Digest, int] = {}
    for digest in going:
        content |= nodes[digest].content
    stays = {blob for digest, node in nodes.items() if digest not in going for blob in node.content}
    return own + sum(size for blob, size in content.items() if blob not in stays)
