"""A newer run's release that came while an older run moved the same tag: it gets its tag back.

Registries have no compare-and-swap. Whoever looked, found nothing newer and moved a tag may have moved it
away from a release that came in between; the history, read once more afterwards, tells.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio

from anyarch.errors import NotFoundError, OlderRunError
from anyarch.release.history import History
from anyarch.release.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anyarch.oci.digest import Digest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.release.history import Move
    from anyarch.release.ledger import Ledger, Mover


async def give_back(
    store: Store, moved: Iterable[Tag], ours: Digest, mover: Mover, *, first: Ledger, now: Ledger
) -> dict[Tag, Move]:
    """Point tags back at what a newer run had moved them to between two looks of ours.

    Args:
        store: Where.
        moved: The tags that we moved.
        ours: What to.
        mover: By which rules: neither by force nor without a run is anything compared.
        first: The histories before we moved them.
        now: The same afterwards.

    Returns:
        The tags that were given back, each with the newer run's move.

    Raises:
        RegistryError: the store refused or failed.
    """
    newer = {tag: move for tag in moved if (move := _newer(tag, ours, mover, first, now)) is not None}
    given: dict[Tag, Move] = {}

    async def put_back(tag: Tag, move: Move) -> None:
        try:
            manifest = await store.get(move.digest)
        except NotFoundError:
            return  # deleted since: ours is complete, and stays
        with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
            await store.put(tag, manifest)
        given[tag] = move

    await in_parallel([partial(put_back, tag, move) for tag, move in newer.items()])
    return given


def overtaken(name: str, given: Mapping[Tag, Move], mover: Mover) -> OlderRunError:
    """The error that says which tags were given back, and to whom."""
    return OlderRunError(
        f"{name}: {mover.run} is older than what came while it was publishing; its tags were given back",
        offenders=[f"{tag}: points at {move.digest} of {move.run} again" for tag, move in given.items()],
        hint="leave it, the newer release stays; to go back, use anyarch rollback, or --force",
        run=mover.run.id if mover.run else None,
    )


def _newer(tag: Tag, ours: Digest, mover: Mover, first: Ledger, now: Ledger) -> Move | None:
    """The last move by a newer run that we had not seen when we moved the tag."""
    if mover.force or mover.run is None or tag not in now.contended:
        return None
    known = first.histories.get(tag, History(tag)).moves
    for move in reversed(now.histories[tag].moves):
        if move in known:
            return None
        if move.run is not None and move.run > mover.run and move.digest != ours:
            return move
    return None
