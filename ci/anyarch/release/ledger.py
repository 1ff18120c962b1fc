"""Reading and writing the histories of tags, and holding a move against them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import anyio

from anyarch.errors import ContentError, LostRaceError, NotFoundError, OlderRunError, RegistryError
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.history import EMPTY, EMPTY_CONTENT, History, Move, history_tag, rfc3339_now
from anyarch.release.parallel import in_parallel
from anyarch.release.tag_order import is_floating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.release.history import By, Run


_TRIES_MAX: Final = 3


@dataclass(frozen=True, kw_only=True)
class Mover:
    """Who moves tags, and by which rules.

    Args:
        by: The command.
        run: The CI run whose release the tags are to point at; None where that is not known.
        revision: The commit of that release.
        force: Move a tag even if a newer run's release is there.
        history: Write down what was moved.
        now: The time, RFC 3339 in UTC.
    """

    by: By = "merge"
    run: Run | None = None
    revision: str | None = None
    force: bool = False
    history: bool = True
    now: Callable[[], str] = rfc3339_now


@dataclass(frozen=True)
class Ledger:
    """The histories of some tags as they were read, and what was wrong with those that are damaged.

    ``contended`` are those into which somebody else wrote between two looks of ours.
    """

    histories: Mapping[Tag, History]
    damaged: Mapping[Tag, str]
    contended: frozenset[Tag] = frozenset()

    def unrecorded(self, tags: Mapping[Tag, Digest | None], digest: Digest) -> dict[Tag, Digest | None]:
        """The tags that point at ``digest`` without their history knowing: who moved them was interrupted.

        As moves from what the history knows last.
        """
        found: dict[Tag, Digest | None] = {}
        for tag in (tag for tag, now in tags.items() if now == digest and tag in self.histories):
            moves = self.histories[tag].moves
            if moves and moves[-1].digest != digest:
                found[tag] = moves[-1].digest
            elif not moves and is_floating(tag):
                found[tag] = None
        return found

    def worth(self, before: Mapping[Tag, Digest | None]) -> list[Tag]:
        """The tags whose move is to be written down: those of ``with_history``, and who has one already.

        A fixed tag that was deleted and comes back is new, and its history is not.
        """
        worth = {*with_history(before), *(tag for tag, history in self.histories.items() if history.moves)}
        return [tag for tag in before if tag in worth]

    @property
    def movable(self) -> frozenset[Tag]:
        """The tags that took the place of something before: their registry lets them."""
        return frozenset(
            tag for tag, history in self.histories.items() if any(move.previous for move in history.moves)
        )

    def elsewhere(self, tags: Mapping[Tag, Digest | None]) -> list[Tag]:
        """The tags that are not where their history knows them last: they may have moved just now."""
        moves = {tag: self.histories[tag].moves for tag in tags if tag in self.histories}
        return [tag for tag, known in moves.items() if known and known[-1].digest != tags[tag]]

    def refuse_older(self, name: str, before: Mapping[Tag, Digest | None], mover: Mover) -> None:
        """Let no older run move a tag away from a newer run's release.

        Only what both sides know is compared: run id, then attempt. Unknown is not newer.

        Raises:
            OlderRunError: with every such tag; nothing was written.
        """
        if mover.force or mover.run is None:
            return
        offenders = []
        for tag, digest in before.items():
            found = self.histories[tag].release_of(digest) if digest and tag in self.histories else None
            if found is not None and found.run is not None and found.run > mover.run:
                offenders.append(f"{tag}: expected {mover.run} or older, found {found.run} at {digest}")
        if offenders:
            raise OlderRunError(
                f"{name}: {mover.run} is older than what its tags hold; no tag was moved",
                offenders=offenders,
                hint="leave it, the newer release stays; to go back, use anyarch rollback, or --force",
                run=mover.run.id,
            )


def keeps_history(store: Store) -> bool:
    """Whether a place can keep histories.

    A layout directory does not: it is handed to tools that take every entry of its index for an image.
    """
    return not store.name.startswith(LAYOUT_PREFIX)


def with_history(before: Mapping[Tag, Digest | None]) -> list[Tag]:
    """The tags whose move is worth a history: a fixed tag that is new has nothing to go back to."""
    return [tag for tag in before if is_floating(tag) or before[tag] is not None]


async def read_history(store: Store, tag: Tag) -> History:
    """The history of a tag; without moves if there is none.

    Raises:
        ContentError: what is there is no history of this tag.
        RegistryError: the store does not answer.
    """
    if not keeps_history(store):
        return History(tag)
    place = history_tag(tag)
    try:
        return History.from_manifest(await store.get(place), tag, subject=f"{store.name}:{place}")
    except NotFoundError:
        return History(tag)
    except ContentError as error:
        if error.hint != ContentError.usual_hint:
            raise
        hint = (
            f"delete the tag {place} to begin its history anew; {tag} itself is not touched by that, and "
            "anyarch rollback --to=sha256:… works without a history"
        )
        raise ContentError(error.what, hint=hint, **error.facts) from error


async def read_ledger(store: Store, tags: Iterable[Tag]) -> Ledger:
    """The histories of several tags at once; a damaged one is noted and stops no release.

    Raises:
        RegistryError: the store does not answer.
    """
    wanted = list(dict.fromkeys(tags))
    damaged: dict[Tag, str] = {}

    async def read(tag: Tag) -> History | None:
        try:
            return await read_history(store, tag)
        except ContentError as error:
            damaged[tag] = f"{error.what}: {error.hint}"
            return None

    found = await in_parallel([partial(read, tag) for tag in wanted])
    return Ledger({history.tag: history for history in found if history is not None}, damaged)


async def read_again(
    store: Store, ledger: Ledger, before: Mapping[Tag, Digest | None], mover: Mover
) -> Ledger:
    """The histories of the tags that moved as they are now, just before they are written.

    Registries have no compare-and-swap: what another run wrote since the first look would be lost.
    A store that fails here fails no release: the write to come will tell.
    """
    wanted = [tag for tag in ledger.worth(before) if tag not in ledger.damaged]
    if not wanted or not (mover.history and keeps_history(store)):
        return ledger
    try:
        found = await read_ledger(store, wanted)
    except RegistryError:
        return ledger
    contended = {tag for tag, history in found.histories.items() if history != ledger.histories.get(tag)}
    return Ledger(
        {**ledger.histories, **found.histories},
        {**ledger.damaged, **found.damaged},
        ledger.contended | contended,
    )


async def prepare(store: Store, ledger: Ledger, before: Mapping[Tag, Digest | None], mover: Mover) -> None:
    """Bring the empty blob that histories name, while something else is on its way too.

    Where a history is there, the blob is. A failure is told later, by the write that needs the blob.
    """
    has_history = any(history.moves for history in ledger.histories.values())
    if has_history or not (ledger.worth(before) and mover.history and keeps_history(store)):
        return
    with suppress(RegistryError), anyio.CancelScope(shield=True):
        await bring_empty(store)


async def write_down(
    store: Store, ledger: Ledger, before: Mapping[Tag, Digest | None], digest: Digest, mover: Mover
) -> list[str]:
    """Add a move to the history of every tag that was moved; nothing that fails here fails a release.

    A damaged history is left as it is. ``prepare`` comes first.

    Args:
        store: Where the tags are.
        ledger: Their histories.
        before: The tags that moved, and what each pointed at.
        digest: What all of them point at now.
        mover: Who moved them.

    Returns:
        What could not be written down, for people.
    """
    if not (mover.history and keeps_history(store)):
        return []
    move = Move(
        digest=digest, previous=None, when=mover.now(), by=mover.by, run=mover.run, revision=mover.revision
    )
    wanted = ledger.worth(before)
    failed: dict[Tag, str] = {}
    histories = {tag: ledger.histories[tag] for tag in wanted if tag not in ledger.damaged}

    async def write(tag: Tag) -> None:
        ours = replace(move, previous=before[tag])
        try:
            await _add(store, histories[tag], ours, contended=tag in ledger.contended)
        except (RegistryError, LostRaceError) as error:
            failed[tag] = error.what

    await in_parallel([partial(write, tag) for tag in histories])
    warnings = [ledger.damaged[tag] for tag in wanted if tag in ledger.damaged]
    if failed:
        first, *_ = failed.values()
        missing = "; each build brings that, or whoever may upload" if str(EMPTY.digest) in first else ""
        warnings.append(f"the move is not in the history of {', '.join(map(str, failed))}: {first}{missing}")
    return warnings


async def _add(store: Store, history: History, move: Move, *, contended: bool) -> None:
    """Write a history with one more move; where others write it too, until ours is seen to be in it."""
    for _ in range(_TRIES_MAX):
        with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
            await store.put(history_tag(history.tag), history.after(move).manifest())
        if not contended:
            return
        history = await read_history(store, history.tag)
        if move in history.moves:
            return
    raise LostRaceError(f"others write {store.name}:{history_tag(history.tag)} at the same time")


async def bring_empty(store: Store) -> None:
    """Bring the blob that histories name. A build does: whoever merges may not be allowed to upload.

    Raises:
        RegistryError: the store refuses.
    """
    await store.copy_blob(EMPTY, cast("Store", _EmptyContent()))


class _EmptyContent:
    """As much of a ``Store`` as ``copy_blob`` needs of its source: the empty blob."""

    name = "empty"

    async def stream_blob(self, _: Descriptor) -> AsyncIterator[bytes]:
        yield EMPTY_CONTENT
