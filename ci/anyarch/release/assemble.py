"""A merge of images that may be anywhere: decide on them where they are, bring them, then publish.

Where images may come from is never a record's to say, it is trusted for nothing: the user names
references, and the repositories whose records are welcome. Each destination is one of those to the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from anyarch.errors import MergeRefusedError, OffendersError, RecordError, RegistryError
from anyarch.oci.write import Brought
from anyarch.release.draft import Draft, make_draft
from anyarch.release.expectation import Expectation
from anyarch.release.ledger import Mover
from anyarch.release.moving import before_tags
from anyarch.release.offenders import same_place
from anyarch.release.origins import Origins
from anyarch.release.parallel import in_parallel
from anyarch.release.publish import ignore, publish
from anyarch.release.references import read_references
from anyarch.release.view import View
from anyarch.release.writes import own_writes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.oci.write import Write
    from anyarch.release.plan import Plan, PlannedPlatform
    from anyarch.release.record import Record
    from anyarch.release.references import Reference
    from anyarch.release.released import Action, Event, Release


class Bring(Protocol):
    """Brings manifests, what they name and what refers to them from one store to another."""

    async def __call__(
        self,
        source: Store,
        target: Store,
        digests: Sequence[Digest],
        *,
        dry_run: bool = False,
        on_write: Callable[[Write], None] = ...,
    ) -> Brought:
        """Write what the target lacks; on a dry run, find out what that is."""
        ...


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A place that a release goes to, and its tags there; none: it is only reachable by its digest."""

    store: Store
    tags: Sequence[Tag] = ()


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be merged, and by which rules.

    Args:
        records: Of builds; one about another repository than those of ``sources`` is an offender.
        unreadable: What is wrong with files that should be records, which refuses the merge.
        references: Images that no record tells of.
        sources: Where, besides the destination, the records' images may be.
        plan: What was planned: the images must be its own.
        expected: The platforms, where there is no plan; without both, whatever there is.
        mixed: Without a plan, images of different plans and commits may be joined.
        tags: The tags; none: the index is only reachable by its digest.
        dry_run: Check everything, write nothing.
        mover: By which rules tags move.
        also: Further destinations, for the same release.
    """

    records: Sequence[Record] = ()
    unreadable: Sequence[str] = ()
    references: Sequence[Reference] = ()
    sources: Sequence[Store] = ()
    plan: Plan | None = None
    expected: Sequence[PlannedPlatform] | None = None
    mixed: bool = False
    tags: Sequence[Tag] = ()
    dry_run: bool = False
    mover: Mover | None = None
    also: Sequence[Destination] = ()


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """A release and every write that made it, or will make it, in order.

    ``also`` is the same release at the further destinations.
    """

    release: Release
    writes: tuple[Write, ...]
    also: tuple[Release, ...] = ()

    @property
    def releases(self) -> tuple[Release, ...]:
        """It at every destination, the first one first."""
        return (self.release, *self.also)


async def assemble(
    store: Store,
    order: Order,
    *,
    bring: Bring,
    on_event: Callable[[Event], None] | None = None,
    on_write: Callable[[Write], None] = lambda _: None,
) -> Assembly:
    """Join images into one index in ``store``, and wherever else it is to be, and point the tags at it.

    Nothing is copied before the decision holds for the images where they are, for every destination; no
    index is written before all of them are there; no tag moves anywhere before the index is everywhere.
    Interrupted anywhere, the same again brings only what is missing.

    Args:
        store: The repository that gets images, index and tags.
        order: What to merge.
        bring: How images get from one store to another.
        on_event: Told about every step of the merge as it happens.
        on_write: Told of every blob and manifest that was brought.

    Raises:
        MergeRefusedError: the images do not make up the expected index; every offender is listed.
        RecordError: some records were unreadable; what is wrong with the others is listed as well.
        PlanMismatchError: they belong to another plan, revision or repository.
        OlderRunError: a tag points at the release of a newer run.
        LostRaceError: a tag was moved by somebody else meanwhile.
        RegistryError: a store refused or failed.
    """
    tell = on_event or ignore
    referenced, unread = await read_references(order.references)
    unreadable = [*order.unreadable, *unread]
    places = [Destination(store=store, tags=order.tags), *order.also]
    sites = [_Site(place, places, order, referenced) for place in places]
    with before_tags(len(sites)):
        # The first one alone: what is wrong with the images is told about one destination, not any.
        first = await sites[0].look(unreadable, tell=tell if len(sites) == 1 else ignore)
        others = await in_parallel([partial(site.look, unreadable) for site in sites[1:]])
        drafts = [first, *others]
        _check_same(drafts)
        brought = await in_parallel(
            [
                partial(site.fetch, draft.release, bring=bring, on_write=on_write)
                for site, draft in zip(sites, drafts, strict=True)
            ]
        )
        releases = [draft.release for draft in drafts]
        if order.dry_run:
            return _joined(releases, brought)
        came = any(each.writes for each in brought)
        drafts = await in_parallel(
            [
                partial(site.final, draft, came=came, tell=tell)
                for site, draft in zip(sites, drafts, strict=True)
            ]
        )
        _check_same(drafts)
    return _joined(await publish(drafts, tell=tell), brought)


class _Site:
    """What a merge does at one of its destinations.

    Args:
        place: The destination.
        places: All of them.
        order: What to merge.
        referenced: What is known of the order's references.
    """

    def __init__(
        self, place: Destination, places: Sequence[Destination], order: Order, referenced: Sequence[Record]
    ) -> None:
        self.store = place.store
        self._tags = place.tags
        self._order = order
        self._welcome = [*(each.store for each in places if each is not place), *order.sources]
        self._origins = Origins(self.store, [*self._welcome, *(each.store for each in order.references)])
        self._records = [self._origins.relocated(each) for each in (*order.records, *referenced)]
        self._expectation = self._expected()

    async def look(
        self, unreadable: Sequence[str], *, tell: Callable[[Event], None] = lambda _: None
    ) -> Draft:
        """The whole decision, on the images where they are.

        Raises:
            OffendersError: as ``assemble``; references that could not be read are among the offenders.
        """
        if not self._origins.elsewhere and not unreadable:
            return await self._draft(self.store, tell)
        draft = await self._preview(unreadable)
        if self._order.dry_run and draft.has_index and await self.store.head(draft.release.digest) is None:
            # Only a source has it.
            return replace(draft, release=replace(draft.release, index_action="planned"))
        return draft

    async def fetch(self, release: Release, *, bring: Bring, on_write: Callable[[Write], None]) -> Brought:
        """Bring what a release needs and the destination lacks; on a dry run, find out what that is."""
        found = [
            await bring(source, self.store, digests, dry_run=self._order.dry_run, on_write=on_write)
            for source, digests in self._origins.loads(release)
        ]
        return Brought(
            writes=tuple(write for each in found for write in each.writes),
            warnings=tuple(word for each in found for word in each.warnings),
        )

    async def final(self, draft: Draft, *, came: bool, tell: Callable[[Event], None]) -> Draft:
        """The draft of what is at the destination now; while things ``came``, tags may have moved."""
        return await self._draft(self.store, tell) if came or self._origins.elsewhere else draft

    async def _draft(self, store: Store, tell: Callable[[Event], None]) -> Draft:
        return await make_draft(
            store,
            self._records,
            self._expectation,
            tags=self._tags,
            mover=self._order.mover or Mover(),
            tell=tell,
        )

    async def _preview(self, unreadable: Sequence[str]) -> Draft:
        view, damaged = View(self.store, self._origins.sources), self._order.unreadable
        if not unreadable:
            return await self._draft(view, ignore)
        offenders, hint = list(unreadable), "name images that are there, and indexes of nothing but images"
        if self._records:
            try:
                await self._draft(view, ignore)
            except OffendersError as error:
                offenders, hint = [*unreadable, *error.offenders], error.hint
            except RegistryError as error:
                if not damaged:
                    raise
                offenders.append(f"the other images could not be checked: {error.what}")
        if damaged:
            raise RecordError(
                "refused to merge: not all files are records; no tag was touched",
                offenders=offenders,
                hint="build again what is named here; a platform that is missing may be in such a file",
            )
        raise MergeRefusedError(
            "refused to merge: not all that was named are images; no tag was touched",
            offenders=offenders,
            hint=hint,
        )

    def _expected(self) -> Expectation:
        """What is expected; a plan's destination may be one of the places that the user named."""
        order, name = self._order, self.store.name
        found = Expectation.of(name, plan=order.plan, platforms=order.expected, mixed=order.mixed)
        planned = found.destination
        if planned is not None and any(same_place(planned, each.name) for each in self._welcome):
            return replace(found, destination=name)
        return found


def _check_same(drafts: Sequence[Draft]) -> None:
    """A release is one thing: its index has one digest, wherever it is.

    Raises:
        MergeRefusedError: some destination describes the same images otherwise.
    """
    if len({draft.release.digest for draft in drafts}) > 1:
        raise MergeRefusedError(
            "the same images make up different indexes at different destinations; no tag was touched",
            offenders=[f"{draft.release.repository}: {draft.release.digest}" for draft in drafts],
            hint="one of the registries gives back what it was not given: publish there alone, and compare",
        )


def _joined(releases: Sequence[Release], brought: Sequence[Brought]) -> Assembly:
    """The release at every destination and what was brought there before it as one."""
    writes = {(write.what, write.where): write for each in brought for write in each.writes}
    whole = []
    for release, came in zip(releases, brought, strict=True):
        found = replace(release, warnings=(*came.warnings, *release.warnings))
        has_come = (release.digest, f"{release.repository}@{release.digest}") in writes
        if has_come and release.index_action == "unchanged":
            action: Action = "planned" if release.dry_run else "written"
            found = replace(found, index_action=action, writes=release.writes + (not release.dry_run))
        whole.append(found)
    for write in own_writes(whole):
        writes.setdefault((write.what, write.where), write)
    return Assembly(release=whole[0], writes=tuple(writes.values()), also=tuple(whole[1:]))
