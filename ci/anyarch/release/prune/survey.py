"""What a repository holds as far as anybody can tell: tags, what they need, histories, candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from anyarch.errors import ContentError, NotFoundError, PruneError, UsageError
from anyarch.oci.manifest import MANIFEST_MAX_BYTES
from anyarch.oci.reference import Tag
from anyarch.release.history import is_history_tag, read_any_history
from anyarch.release.parallel import in_parallel
from anyarch.release.prune.candidates import merged, of_inventory, releases_of
from anyarch.release.prune.graph import REFERRER, Candidate, ages
from anyarch.release.prune.note import NOTE_TAG, read_note
from anyarch.release.prune.reader import Reader, attached_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.inventory import Inventoried, Inventory
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.store import Store
    from anyarch.release.history import History

    Referrers = Callable[[Digest], Awaitable[Sequence[Descriptor] | None]]

KEPT_RELEASES: Final = 10


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a user wants pruned.

    Args:
        older_than: Nothing younger goes.
        kept_releases: How many earlier releases of each tag stay for a rollback, however old.
        keep: What is in use where no registry can see it.
        candidates: What records and the user name.
        with_referrers: Signatures and attestations go with what they are about; otherwise they keep it.
    """

    older_than: timedelta
    now: datetime
    kept_releases: int = KEPT_RELEASES
    keep: frozenset[Digest] = frozenset()
    candidates: tuple[Candidate, ...] = ()
    with_referrers: bool = False


@dataclass(frozen=True, kw_only=True)
class Places:
    """Whom to ask.

    Args:
        store: The repository.
        inventory: The same place, if it can tell all that it holds.
        referrers: Who is about a digest; gives None where the registry does not know such questions.
    """

    store: Store
    inventory: Inventoried | None = None
    referrers: Referrers | None = None


@dataclass(kw_only=True)
class Survey:
    """What was found. ``roots`` maps what must stay to the reason."""

    reader: Reader
    tagged: dict[Tag, Digest] = field(default_factory=dict)
    roots: dict[Digest, str] = field(default_factory=dict)
    candidates: dict[Digest, Candidate] = field(default_factory=dict)
    inventory: Inventory | None = None


async def survey(places: Places, wishes: Wishes) -> Survey:
    """Read all that decides about candidates.

    Raises:
        PruneError: something that may need a candidate cannot be read.
        RegistryError: the store does not answer.
    """
    inventory = None if places.inventory is None else await places.inventory.inventory()
    reader = Reader(places.store, blobs=inventory is not None and inventory.blobs, now=wishes.now)
    found = Survey(reader=reader, inventory=inventory)
    manifests = await read_tags(places.store, reader, await tags_of(places.store))
    found.tagged = {tag: manifest.digest for tag, manifest in manifests.items()}
    histories = _histories(places.store, manifests)
    old = [*_left_over(places.store, manifests), *_add_roots(found, wishes, histories)]
    listed = of_inventory(inventory) if inventory is not None else []
    found.candidates = merged([*wishes.candidates, *old, *listed])
    await reader.read(found.roots, images=reader.blobs)
    refuse_unreadable(places.store, found)
    await _read_candidates(found)
    await _read_referrers(found, places, wishes)
    await _read_ages(found)
    return found


async def tags_of(store: Store) -> list[Tag]:
    """Every tag.

    Raises:
        PruneError: one has a name that no registry should have.
    """
    names = await store.tags()
    try:
        return [Tag.parse(name) for name in names]
    except UsageError as error:
        raise PruneError(
            f"{store.name} lists a tag that is none: {error.what}",
            hint="nothing is deleted while a name cannot be read; in a layout, mend its index.json",
        ) from error


async def read_tags(store: Store, reader: Reader, tags: Iterable[Tag]) -> dict[Tag, Manifest]:
    """What tags point at; one that has vanished meanwhile is left out.

    Raises:
        PruneError: a tag is there, and what it points at cannot be read.
    """
    wanted = list(tags)
    unreadable: dict[Tag, str] = {}

    async def read(tag: Tag) -> Manifest | None:
        try:
            return await reader.read_tag(tag)
        except (ContentError, NotFoundError) as error:
            unreadable[tag] = error.what
            return None

    found = await in_parallel([partial(read, tag) for tag in wanted])
    if unreadable:
        still_there = set(await store.tags())
        refuse(store, [f"{tag}: {why}" for tag, why in unreadable.items() if tag.name in still_there])
    return {tag: manifest for tag, manifest in zip(wanted, found, strict=True) if manifest is not None}


def refuse_unreadable(store: Store, found: Survey) -> None:
    """Stop if something that must stay cannot be read: nobody can tell what it needs.

    Raises:
        PruneError: with all of them.
    """
    reader = found.reader
    needed = reader.graph.needed_by(found.roots)
    refuse(store, [f"{digest}: {reader.faults[digest]}" for digest in needed if digest in reader.faults])


def refuse(store: Store, offenders: Sequence[str]) -> None:
    """Delete nothing where there are offenders.

    Raises:
        PruneError: there are.
    """
    if offenders:
        raise PruneError(
            f"{store.name}: what these need cannot be told; nothing was deleted",
            offenders=offenders,
            hint="delete or repair them first",
        )


def _histories(store: Store, manifests: Mapping[Tag, Manifest]) -> list[History]:
    found: list[History] = []
    damaged: list[str] = []
    for tag, manifest in manifests.items():
        if is_history_tag(tag.name):
            try:
                found.append(read_any_history(manifest, subject=f"{store.name}:{tag}"))
            except ContentError as error:
                damaged.append(error.what)
    refuse(store, damaged)
    return found


def _left_over(store: Store, manifests: Mapping[Tag, Manifest]) -> list[Candidate]:
    note = manifests.get(NOTE_TAG)
    try:
        return [] if note is None else read_note(note, subject=f"{store.name}:{NOTE_TAG}")
    except ContentError as error:
        refuse(store, [error.what])
        raise


def _add_roots(found: Survey, wishes: Wishes, histories: Sequence[History]) -> list[Candidate]:
    """Note what must stay; what histories know beyond that is returned."""
    roots, old = found.roots, []
    for digest in wishes.keep:
        roots.setdefault(digest, "--keep")
    for tag, digest in found.tagged.items():
        subject = attached_to(tag)
        if subject is None or not wishes.with_referrers:
            roots.setdefault(digest, f"tag {tag}")
    for digest, why in _inventoried_roots(found.inventory, wishes):
        roots.setdefault(digest, why)
    for history in histories:
        releases = releases_of(history, found.tagged.get(history.tag))
        for place, release in enumerate(releases):
            if place < wishes.kept_releases or release.left is None:
                roots.setdefault(release.digest, f"{history.tag} can be rolled back to it")
            else:
                why = f"left by {history.tag}"
                old.append(Candidate(digest=release.digest, since=release.left, why=why))
    return old


def _inventoried_roots(inventory: Inventory | None, wishes: Wishes) -> list[tuple[Digest, str]]:
    """What an inventory says must stay; referrers keep what they are about."""
    if inventory is None:
        return []
    about = [] if wishes.with_referrers else [each for each in inventory.held if each.subject is not None]
    return [*inventory.roots.items(), *((each.digest, _referrer(each.kind)) for each in about)]


async def _read_candidates(found: Survey) -> None:
    """Read candidates that nothing needs, and what they name: that becomes a candidate, too."""
    reader = found.reader
    unneeded = found.candidates.keys() - reader.graph.needed_by(found.roots).keys()
    if found.inventory is None or not found.inventory.blobs:
        await reader.read(unneeded, images=True)
        _add_belongings(found)
        return
    # Each file is a candidate of its own; which of them are manifests shows when they are read.
    sizes = {held.digest: held.size for held in found.inventory.held}
    large = {digest for digest in unneeded if (sizes.get(digest) or 0) > MANIFEST_MAX_BYTES}
    await reader.read(unneeded - large, images=True)
    for digest in large | (unneeded & reader.faults.keys()):
        reader.add_blob(digest, sizes.get(digest))


async def _read_referrers(found: Survey, places: Places, wishes: Wishes) -> None:
    """Ask who is about the candidates. Referrers either keep them, or go with them."""
    if places.referrers is not None and not found.reader.blobs:
        graph = found.reader.graph
        unneeded = (found.candidates.keys() & graph.nodes.keys()) - graph.needed_by(found.roots).keys()
        for subject, referrers in await _referrers_of(sorted(unneeded), places.referrers):
            add_referrers(found, subject, referrers, keep=not wishes.with_referrers)
    if wishes.with_referrers:
        _add_belongings(found)


async def _referrers_of(
    subjects: Sequence[Digest], ask: Referrers
) -> list[tuple[Digest, Sequence[Descriptor]]]:
    """Each subject's referrers; none where the registry knows no such question: the first one tells."""
    if not subjects or (first := await ask(subjects[0])) is None:
        return []
    others = await in_parallel([partial(ask, subject) for subject in subjects[1:]])
    return [(subject, listed or ()) for subject, listed in zip(subjects, [first, *others], strict=True)]


def add_referrers(found: Survey, subject: Digest, referrers: Sequence[Descriptor], *, keep: bool) -> None:
    """Note who is about a candidate; whoever is no candidate keeps it, if ``keep``."""
    for each in referrers:
        found.reader.add_referrer(subject, each)
        if keep and each.digest not in found.candidates:
            kind = str(each.extra.get("artifactType") or each.media_type)
            found.roots.setdefault(each.digest, _referrer(kind))


def _referrer(kind: str) -> str:
    """Why a referrer stays, and with it what it is about."""
    return f"{REFERRER} ({' '.join(kind.split())[:80]})"


def _add_belongings(found: Survey) -> None:
    """What candidates name and what is about them are candidates as well."""
    graph = found.reader.graph
    todo = list(found.candidates)
    while todo:
        digest = todo.pop()
        node = graph.nodes.get(digest)
        for other in [*(node.names if node else ()), *graph.companions.get(digest, ())]:
            if other in graph.nodes and other not in found.candidates:
                found.candidates[other] = Candidate(digest=other)
                todo.append(other)


async def _read_ages(found: Survey) -> None:
    """Ask images when they were made, where nobody says it otherwise."""
    graph = found.reader.graph
    known = ages(graph, found.candidates)
    unknown = {digest for digest, when in known.items() if when is None}
    # An index is as old as its images say, even if a note of an earlier prune knows it of those.
    below = {name for digest in unknown & graph.nodes.keys() for name in graph.nodes[digest].names}
    await in_parallel([partial(found.reader.read_created, digest) for digest in sorted(unknown | below)])
