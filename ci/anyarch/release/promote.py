"""Pointing tags at a release that is already there: promotion to a wider circle, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from anyarch.errors import NotFoundError, VerifyFailedError
from anyarch.oci.reference import Tag
from anyarch.release import marks
from anyarch.release.holdings import Holdings
from anyarch.release.ledger import (
    Ledger,
    Mover,
    keeps_history,
    prepare,
    read_again,
    read_history,
    read_ledger,
    write_down,
)
from anyarch.release.moving import TagMoves, move_tags
from anyarch.release.overtaken import give_back, overtaken
from anyarch.release.parallel import both
from anyarch.release.released import TagResult
from anyarch.release.tag_order import in_order
from anyarch.release.tagging import read_back, tag_states
from anyarch.release.verify import verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.platforms import Platform
    from anyarch.oci.store import Store
    from anyarch.release.released import Action
    from anyarch.release.verify import Verification


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Tags that were moved to a release, in the order in which they moved.

    ``warnings`` is what could not be written into their histories.
    """

    repository: str
    verification: Verification
    tags: tuple[TagResult, ...]
    dry_run: bool
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> Digest:
        """What the tags point at."""
        return self.verification.digest


async def promote(
    store: Store,
    source: Digest | Tag,
    tags: Sequence[Tag],
    *,
    platforms: Sequence[Platform] = (),
    dry_run: bool = False,
    mover: Mover | None = None,
) -> Promotion:
    """Verify a release in full, then point tags at it: fixed ones first, floating ones last, all read back.

    Args:
        store: The repository that holds it.
        source: The release; a tag is resolved once.
        tags: What is to point at it.
        platforms: The exact set that it must hold; none: any set.
        dry_run: Check everything, write nothing.
        mover: By which rules tags move. What run the release is of is looked up in the histories.

    Raises:
        VerifyFailedError: the release is not what it should be, or no set was named and it lacks platforms
            that a tag holds; no tag was moved.
        OlderRunError: a tag points at the release of a newer run.
        LostRaceError: a tag was moved by somebody else meanwhile.
        RegistryError: the store refused or failed; tags not named in the message are as they were.
    """
    mover = mover or Mover(by="promote")
    ordered = [tag for group in in_order(tags) for tag in group]
    asked = [*ordered, source] if isinstance(source, Tag) else ordered
    verification, (states, ledger) = await both(
        partial(verify, store, source, platforms=platforms),
        partial(both, partial(tag_states, store, ordered), partial(read_ledger, store, asked)),
    )
    before = {tag: states[tag] for tag in ordered}
    to_move = {tag: digest for tag, digest in before.items() if digest != verification.digest}
    holdings = Holdings(store, guarded=not (platforms or mover.force))
    manifest, _ = await both(
        partial(store.get, verification.digest), partial(holdings.read, to_move.values())
    )
    mover = _completed(mover, ledger, manifest)
    ledger.refuse_older(store.name, to_move, mover)
    _refuse_losses(verification, holdings, to_move)
    moves = to_move | ledger.unrecorded(before, manifest.digest)
    place = TagMoves(store=store, manifest=manifest, before=to_move, movable=ledger.movable)
    warnings = await _carry_out(place, moves, ledger, mover) if moves and not dry_run else []
    return Promotion(
        repository=store.name,
        verification=verification,
        tags=_results(before, to_move, dry_run=dry_run),
        dry_run=dry_run,
        warnings=tuple(warnings),
    )


async def rollback(
    store: Store,
    tag: Tag,
    to: Digest | None = None,
    *,
    dry_run: bool = False,
    mover: Mover | None = None,
) -> Promotion:
    """Point a tag at what it pointed at before; going back is meant, so that no run is too old for it.

    Args:
        store: Where the tag is.
        tag: Which.
        to: Where to; None: one step back in the tag's history.
        dry_run: Check everything, write nothing.
        mover: By which rules.

    Raises:
        NotFoundError: the history knows nothing earlier, or its target is gone.
        VerifyFailedError: the target is not what it should be; the tag was not moved.
        LostRaceError: somebody else moved the tag meanwhile.
        RegistryError: the store refused or failed.
    """
    target = to or await _earlier(store, tag)
    rules = replace(mover or Mover(), by="rollback", force=True)
    try:
        return await promote(store, target, [tag], dry_run=dry_run, mover=rules)
    except NotFoundError as error:
        raise NotFoundError(
            f"{store.name}:{tag} cannot go back to {target}: {error.what}",
            hint=f"{store.name} no longer has it; anyarch history names earlier ones for --to",
            **error.facts,
        ) from error


async def _carry_out(
    place: TagMoves, moves: Mapping[Tag, Digest | None], ledger: Ledger, mover: Mover
) -> list[str]:
    """Move the tags and write all ``moves`` down; what could not be written down is returned."""
    store, digest, to_move = place.store, place.manifest.digest, place.before
    await both(
        partial(move_tags, [place], on_moved=lambda *_: None), partial(prepare, store, ledger, moves, mover)
    )
    _, now = await both(
        partial(read_back, store, digest, to_move), partial(read_again, store, ledger, to_move, mover)
    )
    given = await give_back(store, to_move, digest, mover, first=ledger, now=now)
    ours = {tag: previous for tag, previous in moves.items() if tag not in given}
    warnings = await write_down(store, now, ours, digest, mover)
    if given:
        raise overtaken(store.name, given, mover)
    return warnings


def _refuse_losses(release: Verification, holdings: Holdings, to_move: Mapping[Tag, Digest | None]) -> None:
    offenders = holdings.losses(to_move, [child.platform for child in release.children])
    if offenders:
        raise VerifyFailedError(
            f"{release.repository}@{release.digest} lacks platforms that its tags hold; no tag was moved",
            offenders=offenders,
            hint="promote a release that has them; if they are to go, --platform names the set, or --force",
        )


async def _earlier(store: Store, tag: Tag) -> Digest:
    history, states = await both(partial(read_history, store, tag), partial(tag_states, store, [tag]))
    found = history.step_back(states[tag])
    if found is None:
        kept = "its history knows nothing earlier" if keeps_history(store) else "a layout keeps no history"
        raise NotFoundError(
            f"{store.name}:{tag}: no release to go back to: {kept}",
            hint="name it: --to sha256:…; each run and merge prints what its tags pointed at before",
            tag=str(tag),
        )
    return found


def _completed(mover: Mover, ledger: Ledger, manifest: Manifest) -> Mover:
    """The mover, with run and revision of the release as the histories, or the release itself, tell them."""
    moves = [history.release_of(manifest.digest) for history in ledger.histories.values()]
    known = [move for move in moves if move is not None]
    runs = [move.run for move in known if move.run is not None]
    revisions = [move.revision for move in known if move.revision is not None]
    own = manifest.annotations.get(marks.REVISION, "")[:128]
    return replace(
        mover,
        run=mover.run or max(runs, default=None),
        revision=mover.revision or next(iter(revisions), None) or (own if own.isprintable() else "") or None,
    )


def _results(
    before: Mapping[Tag, Digest | None], to_move: Mapping[Tag, Digest | None], *, dry_run: bool
) -> tuple[TagResult, ...]:
    moved: Action = "planned" if dry_run else "written"
    return tuple(
        TagResult(tag=tag, action=moved if tag in to_move else "unchanged", previous=digest)
        for tag, digest in before.items()
    )
