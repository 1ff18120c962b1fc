"""A merge of images that may be anywhere: decide on them where they are, bring them, then publish.

Where images may come from is never a record's to say, it is trusted for nothing: the user names
references, and the repositories whose records are welcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from anyarch.errors import MergeRefusedError, OffendersError
from anyarch.oci.write import Write
from anyarch.release import publish
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.expectation import Expectation
from anyarch.release.history import history_tag
from anyarch.release.ledger import with_history
from anyarch.release.offenders import same_place
from anyarch.release.references import read_references
from anyarch.release.tag_order import in_order
from anyarch.release.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.oci.write import Brought
    from anyarch.release.ledger import Mover
    from anyarch.release.plan import Plan, PlannedPlatform
    from anyarch.release.publish import Event, Release
    from anyarch.release.record import Record
    from anyarch.release.references import Reference


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
class Order:
    """What is to be merged, and by which rules.

    Args:
        records: Of builds; one about another repository than those of ``sources`` is an offender.
        references: Images that no record tells of.
        sources: Where, besides the destination, the records' images may be.
        plan: What was planned: the images must be its own.
        expected: The platforms, where there is no plan; without both, whatever there is.
        mixed: Without a plan, images of different plans and commits may be joined.
        tags: The tags; none: the index is only reachable by its digest.
        dry_run: Check everything, write nothing.
        mover: By which rules tags move.
    """

    records: Sequence[Record] = ()
    references: Sequence[Reference] = ()
    sources: Sequence[Store] = ()
    plan: Plan | None = None
    expected: Sequence[PlannedPlatform] | None = None
    mixed: bool = False
    tags: Sequence[Tag] = ()
    dry_run: bool = False
    mover: Mover | None = None


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """A release and every write that made it, or will make it, in order."""

    release: Release
    writes: tuple[Write, ...]


async def assemble(
    store: Store,
    order: Order,
    *,
    bring: Bring,
    on_event: Callable[[Event], None] | None = None,
    on_write: Callable[[Write], None] = lambda _: None,
) -> Assembly:
    """Join images into one index in ``store`` and point the tags at it.

    Nothing is copied before the decision holds for the images where they are, and no index is written
    before all of them are here. Interrupted anywhere, the same again brings only what is missing.

    Args:
        store: The repository that gets images, index and tags.
        order: What to merge.
        bring: How images get from one store to another.
        on_event: Told about every step of the merge as it happens.
        on_write: Told of every blob and manifest that was brought.

    Raises:
        MergeRefusedError: the images do not make up the expected index; every offender is listed.
        PlanMismatchError: they belong to another plan, revision or repository.
        OlderRunError: a tag points at the release of a newer run.
        LostRaceError: a tag was moved by somebody else meanwhile.
        RegistryError: a store refused or failed.
    """
    referenced, unreadable = await read_references(order.references)
    origins = _Origins(store, [*order.sources, *(each.store for each in order.references)])
    records = [origins.relocated(each) for each in (*order.records, *referenced)]
    expectation = _expectation(store, order)
    if not origins.elsewhere and not unreadable:
        release = await _publish(store, records, order, expectation, on_event=on_event)
        return Assembly(release=release, writes=tuple(own_writes(release)))
    preview = await _preview(View(store, origins.sources), records, order, expectation, unreadable)
    brought = [
        await bring(source, store, digests, dry_run=order.dry_run, on_write=on_write)
        for source, digests in origins.loads(preview)
    ]
    release = preview
    if not order.dry_run:
        release = await _publish(store, records, order, expectation, on_event=on_event)
    elif preview.index_action == "unchanged" and await store.head(preview.digest) is None:
        release = replace(preview, index_action="planned")  # only a source has it
    return _joined(release, brought)


def own_writes(release: Release) -> list[Write]:
    """What a release writes itself: the index, the tags in their order, the histories of those."""
    name, digest, size = release.repository, release.digest, release.index.size
    moved = {each.tag: each.previous for each in release.tags if each.action != "unchanged"}
    targets = [f"{name}@{digest}"] if release.index_action != "unchanged" else []
    targets += [f"{name}:{tag}" for group in in_order(list(moved)) for tag in group]
    writes = [Write(action="put", what=digest, where=target, size=size) for target in targets]
    if name.startswith(LAYOUT_PREFIX):  # a layout keeps no histories
        return writes
    histories = [f"{name}:{history_tag(tag)}" for tag in with_history(moved)]
    return [*writes, *(Write(action="put", what=None, where=target) for target in histories)]


class _Origins:
    """Which of several places each record's image is in.

    Args:
        destination: Where all of them are to go.
        sources: Where they may be besides.
    """

    def __init__(self, destination: Store, sources: Iterable[Store]) -> None:
        self._destination = destination
        named = {each.name: each for each in sources}
        named.pop(destination.name, None)
        self._by_name = named
        self._of: dict[Record, Store] = {}

    @property
    def sources(self) -> tuple[Store, ...]:
        """All places but the destination."""
        return tuple(self._by_name.values())

    @property
    def elsewhere(self) -> bool:
        """Whether any of the records is about one of them."""
        return bool(self._of)

    def relocated(self, record: Record) -> Record:
        """The record as if its image had been brought; as it is where it may not come from."""
        source = self._source(record.repository)
        if source is None:
            return record
        relocated = replace(record, repository=self._destination.name)
        self._of[relocated] = source
        return relocated

    def loads(self, release: Release) -> list[tuple[Store, list[Digest]]]:
        """What to bring from each place for a release: its images, with what came around them."""
        wanted: dict[str, list[Digest]] = {}
        for child in release.children:
            source = self._of.get(child.record)
            if source is None:
                continue
            referenced = child.record.referenced
            digests = wanted.setdefault(source.name, [])
            digests.append(child.record.image.digest)
            digests += [each.digest for each in referenced.attestations] if referenced else []
            index = referenced.index if referenced else None
            if index is not None and index.digest == release.digest:
                digests.append(index.digest)  # for its own signatures
        return [(self._by_name[name], digests) for name, digests in wanted.items()]

    def _source(self, repository: str) -> Store | None:
        """The place that a record means; None: the destination, or one that nobody named."""
        if repository == self._destination.name or repository in self._by_name:
            return self._by_name.get(repository)
        # Where a layout's directory lies is no identity: a layout that was named is the one.
        return next((each for name, each in self._by_name.items() if same_place(name, repository)), None)


def _expectation(store: Store, order: Order) -> Expectation:
    """What is expected; a plan's destination may be one of the places that the user named."""
    found = Expectation.of(store.name, plan=order.plan, platforms=order.expected, mixed=order.mixed)
    planned = found.destination
    if planned is not None and any(same_place(planned, each.name) for each in order.sources):
        return replace(found, destination=store.name)
    return found


async def _publish(
    store: Store,
    records: Sequence[Record],
    order: Order,
    expectation: Expectation,
    *,
    dry_run: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> Release:
    return await publish.merge(
        store,
        records,
        expected=expectation,
        tags=order.tags,
        dry_run=dry_run or order.dry_run,
        on_event=on_event,
        mover=order.mover,
    )


async def _preview(
    view: View,
    records: Sequence[Record],
    order: Order,
    expectation: Expectation,
    unreadable: Sequence[str],
) -> Release:
    """The whole decision, on the images where they are.

    Raises:
        OffendersError: as ``assemble``; references that could not be read are among the offenders.
    """
    offenders, hint = list(unreadable), "name images that are there, and indexes of nothing but images"
    if records or not unreadable:
        try:
            preview = await _publish(view, records, order, expectation, dry_run=True)
        except OffendersError as error:
            if not unreadable:
                raise
            offenders, hint = [*unreadable, *error.offenders], error.hint
        else:
            if not unreadable:
                return preview
    raise MergeRefusedError(
        "refused to merge: not all that was named are images; no tag was touched",
        offenders=offenders,
        hint=hint,
    )


def _joined(release: Release, brought: Sequence[Brought]) -> Assembly:
    """Release and what was brought before it as one."""
    writes = {(write.what, write.where): write for each in brought for write in each.writes}
    warnings = (*(word for each in brought for word in each.warnings), *release.warnings)
    release = replace(release, warnings=warnings)
    if (
        release.digest,
        f"{release.repository}@{release.digest}",
    ) in writes and release.index_action == "unchanged":
        action: publish.Action = "planned" if release.dry_run else "written"
        release = replace(release, index_action=action, writes=release.writes + (not release.dry_run))
    for write in own_writes(release):
        writes.setdefault((write.what, write.where), write)
    return Assembly(release=release, writes=tuple(writes.values()))
