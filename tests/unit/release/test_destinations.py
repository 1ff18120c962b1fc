"""One release at several destinations: the same index everywhere, and no tag before all of them hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyarch.errors import (
    AnyarchError,
    ContentError,
    DeniedError,
    ImmutableTagError,
    LostRaceError,
    MergeRefusedError,
    OlderRunError,
    RegistryError,
    RegistryUnavailableError,
)
from anyarch.oci.reference import Tag
from anyarch.registry.bring import bring
from anyarch.release.assemble import Destination, Order, assemble
from anyarch.release.history import EMPTY, Run, is_history_tag
from anyarch.release.ledger import Mover, read_history
from anyarch.release.references import Reference
from anyarch.release.verify import verify

from tests.builders import a_referrer, an_attestation, an_index, upload
from tests.memory_store import MemoryStore
from tests.releases import REPOSITORY, THREE, a_build, a_plan, a_record, a_store, planned, released

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyarch.oci.digest import Digest
    from anyarch.release.assemble import Assembly
    from anyarch.release.record import Record

pytestmark = pytest.mark.anyio

FIXED, FLOATING = Tag("1.2.3"), Tag("latest")
TAGS = (FIXED, FLOATING)
NAMES = (REPOSITORY, "eu.example.com/shop/api", "us.example.com/shop/api")
PLAN = a_plan()
BUILDS = [a_build(name, plan=PLAN) for name in THREE]
RECORDS = [a_record(build, plan=PLAN) for build in BUILDS]
OLD = a_build("linux/arm64", files={"app": b"older"})
EARLIER = an_index(OLD)


@dataclass
class World:
    """Three registries; the builds are in the first one."""

    stores: list[MemoryStore]

    @classmethod
    async def make(cls, *, earlier: bool = False) -> World:
        """``earlier``: the floating tag is there already, at an older release."""
        stores = [await a_store(*BUILDS), *(MemoryStore(name=name) for name in NAMES[1:])]
        for store in stores if earlier else ():
            await upload(store, OLD)
            await store.put(EARLIER.digest, EARLIER)
            await store.put(FLOATING, EARLIER)
        for store in stores:
            store.calls.clear()
        return cls(stores)

    async def merge(self, **order: Any) -> Assembly:  # noqa: ANN401  fields of Order
        tags = order.pop("tags", TAGS)
        records = order.pop("records", RECORDS)
        first, *others = self.stores
        also = [Destination(store=store, tags=tags) for store in others]
        whole = Order(records=records, tags=tags, also=also, **{"plan": PLAN, **order})
        return await assemble(first, whole, bring=bring)

    async def fails(self, **order: Any) -> AnyarchError:  # noqa: ANN401
        with pytest.raises(AnyarchError) as caught:
            await self.merge(**order)
        return caught.value

    @property
    def tags(self) -> list[dict[Tag, Digest]]:
        return [released(store) for store in self.stores]

    @property
    def writes(self) -> int:
        return sum(len(store.writes) for store in self.stores)

    def hook(self, hook: Callable[[MemoryStore, str, str], None]) -> None:
        for store in self.stores:
            store.hook = partial(hook, store)

    def state(self) -> list[object]:
        """What every place holds, the times in histories aside."""
        return [
            (set(store.blobs), released(store), {tag for tag in store.tagged if is_history_tag(tag.name)})
            for store in self.stores
        ]


async def test_every_destination_gets_the_same_verified_release() -> None:
    world = await World.make()
    done = await world.merge()
    digest = done.release.digest
    assert [release.digest for release in done.releases] == [digest] * 3
    assert [release.repository for release in done.releases] == list(NAMES)
    assert world.tags == [dict.fromkeys(TAGS, digest)] * 3
    for store in world.stores:
        found = await verify(store, FIXED, platforms=[build.platform for build in BUILDS])
        assert [child.digest for child in found.children] == [build.digest for build in BUILDS]
    assert [release.writes for release in done.releases] == [3, 3, 3]


async def test_the_second_identical_run_writes_nothing_anywhere() -> None:
    world = await World.make()
    await world.merge()
    for store in world.stores:
        store.calls.clear()
    again = await world.merge()
    assert (world.writes, again.writes) == (0, ())
    assert {release.index_action for release in again.releases} == {"unchanged"}


async def test_a_dry_run_shows_the_writes_to_come_everywhere_and_makes_none() -> None:
    world = await World.make(earlier=True)
    dry = await world.merge(dry_run=True)
    assert world.writes == 0
    real = await world.merge()
    assert dry.writes == real.writes
    places = {name: [write for write in dry.writes if write.where.startswith(name)] for name in NAMES}
    assert {name: len(each) for name, each in places.items()} == {
        NAMES[0]: 5 - 1,  # index, two tags, the history of the floating one
        NAMES[1]: 9 + 4,  # and three images of two blobs each
        NAMES[2]: 9 + 4,
    }


async def test_tags_move_after_the_last_index_and_at_the_first_destination_last() -> None:
    world = await World.make()
    order: list[tuple[str, str]] = []

    def note(store: MemoryStore, name: str, about: str) -> None:
        if name == "put" and not is_history_tag(about):
            order.append((store.name, "index" if about.startswith("sha256:") else about))

    world.hook(note)
    await world.merge()
    tags = [each for each in order if each[1] != "index"]
    assert order[-6:] == tags, "no tag before an index"
    assert tags == [(name, str(tag)) for tag in TAGS for name in reversed(NAMES)]


async def test_each_write_that_fails_at_any_destination_leaves_tags_alone_or_complete() -> None:
    """The n-th write of all is refused, for every n: what moved was everywhere, and a rerun finishes."""
    undisturbed = await World.make(earlier=True)
    digest = (await undisturbed.merge()).release.digest
    struck = set()
    for number in range(undisturbed.writes):
        world = await World.make(earlier=True)
        fault = Fault(world, number, digest)
        world.hook(fault)
        failure = None
        try:
            await world.merge()
        except DeniedError as error:
            failure = error
        struck.add(fault.struck)
        moved = any(digest in tags.values() for tags in world.tags)
        assert failure is not None or is_history_tag(fault.struck[1]) or fault.is_empty_blob
        assert not moved or all(digest in store.manifests for store in world.stores)
        if failure is not None and not moved:
            assert "no tag was moved at any of the 3 destinations" in failure.hint
        world.hook(lambda *_: None)
        await world.merge()
        assert world.state() == undisturbed.state()
    assert {name for name, _ in struck} == set(NAMES)


@dataclass
class Fault:
    """Refuses one write of all that there are, and looks at every tag's write."""

    world: World
    number: int
    digest: Digest
    seen: int = 0
    struck: tuple[str, str] = ("", "")

    @property
    def is_empty_blob(self) -> bool:
        return self.struck[1] == str(EMPTY.digest)

    def __call__(self, store: MemoryStore, name: str, about: str) -> None:
        if name not in {"put", "copy_blob"}:
            return
        if about in map(str, TAGS):
            assert all(self.digest in each.manifests for each in self.world.stores), "a tag before an index"
        self.seen += 1
        if self.seen == self.number + 1:
            self.struck = (store.name, about)
            raise DeniedError(f"{store.name}: no")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RegistryUnavailableError("it does not answer"), id="unreachable"),
        pytest.param(DeniedError("not allowed", hint="ask"), id="denied"),
    ],
)
async def test_a_destination_that_fails_keeps_every_tag_where_it_was(error: RegistryError) -> None:
    world = await World.make(earlier=True)
    before = world.tags

    def fail(store: MemoryStore, name: str, _: str) -> None:
        if store is world.stores[1] and (isinstance(error, RegistryUnavailableError) or name != "head"):
            raise error

    world.hook(fail)
    failure = await world.fails()
    assert type(failure) is type(error)
    assert "no tag was moved at any of the 3 destinations; do the same again" in failure.hint
    assert world.tags == before
    assert EARLIER.digest in world.stores[0].manifests


async def test_an_immutable_tag_anywhere_stops_before_any_tag_has_moved() -> None:
    """It is among those that take the place of something: those are tried first, everywhere."""
    for number in range(3):
        world = await World.make()
        odd = world.stores[number]
        await upload(odd, OLD)
        await odd.put(EARLIER.digest, EARLIER)
        await odd.put(FIXED, EARLIER)

        def refuse(store: MemoryStore, name: str, about: str, odd: MemoryStore = odd) -> None:
            if store is odd and (name, about) == ("put", str(FIXED)):
                raise ImmutableTagError(f"{store.name}:{about} is immutable")

        world.hook(refuse)
        failure = await world.fails()
        assert type(failure) is ImmutableTagError
        assert failure.facts["moved"] == []
        assert world.tags == [{FIXED: EARLIER.digest} if store is odd else {} for store in world.stores]


async def test_an_immutable_tag_that_looks_like_a_floating_one_moves_no_latest_anywhere() -> None:
    """``1.0`` is at another release everywhere, and so is latest; the registry behind refuses."""
    named = Tag("1.0")
    for number in range(3):
        world = await World.make(earlier=True)
        for store in world.stores:
            store.plant(named, EARLIER)
        odd = world.stores[number]

        def refuse(store: MemoryStore, name: str, about: str, odd: MemoryStore = odd) -> None:
            if store is odd and (name, about) == ("put", str(named)):
                raise ImmutableTagError(f"{store.name}:{about} is immutable", hint="another tag")

        world.hook(refuse)
        failure = await world.fails(tags=[named, FLOATING])
        assert {tags[FLOATING] for tags in world.tags} == {EARLIER.digest}
        assert "do the same again" not in failure.hint


async def test_a_tag_that_cannot_move_after_others_did_says_what_stands_and_how_to_go_on() -> None:
    world = await World.make(earlier=True)

    def refuse(store: MemoryStore, name: str, about: str) -> None:
        if store is world.stores[1] and (name, about) == ("put", str(FLOATING)):
            raise RegistryUnavailableError("the answer was lost")

    world.hook(refuse)
    failure = await world.fails()
    fixed, floating = ([f"{name}:{tag}" for name in NAMES] for tag in TAGS)
    assert set(failure.facts["moved"]) == {*fixed, floating[2]}  # type: ignore[call-overload]
    assert failure.facts["unsure"] == [floating[1]]
    assert failure.facts["not_moved"] == [floating[0]]
    assert f"not moved: {floating[0]}\n" in failure.hint
    assert f"anyarch rollback {floating[2]} --to={EARLIER.digest}" in failure.hint
    assert f"anyarch rollback {floating[1]} --to={EARLIER.digest}" in failure.hint
    assert f"{fixed[0]} is new: delete it there" in failure.hint
    assert f"rollback {floating[0]}" not in failure.hint
    world.hook(lambda *_: None)
    done = await world.merge()
    assert world.tags == [dict.fromkeys(TAGS, done.release.digest)] * 3
    for store in world.stores:
        history = await read_history(store, FLOATING)
        assert [move.digest for move in history.moves] == [done.release.digest]


async def test_a_newer_run_at_one_destination_stops_all_before_anything_is_copied() -> None:
    world = await World.make()
    alone = World(world.stores[1:2])
    await upload(alone.stores[0], OLD)
    await alone.merge(records=[a_record(OLD, repository=NAMES[1])], plan=None, mover=Mover(run=Run(9)))
    for store in world.stores:
        store.calls.clear()
    failure = await world.fails(mover=Mover(run=Run(8)))
    assert isinstance(failure, OlderRunError)
    assert NAMES[1] in failure.what
    assert world.writes == 0
    await world.merge(mover=Mover(run=Run(8), force=True))


async def test_what_is_wrong_with_the_images_is_told_once_about_the_first_destination() -> None:
    world = await World.make()
    failure = await world.fails(records=RECORDS[:2])
    assert isinstance(failure, MergeRefusedError)
    assert len(failure.offenders) == 1
    assert "linux/arm64: missing" in failure.offenders[0]
    assert world.writes == 0


async def test_images_may_come_from_a_further_destination() -> None:
    """Whoever names a place to write to has looked: its records are welcome, in any order of --to."""
    world = await World.make()
    await world.merge()
    turned = World([MemoryStore(name="new.example.com/api"), *world.stores])
    done = await turned.merge()
    assert done.release.repository == "new.example.com/api"
    assert released(turned.stores[0]) == dict.fromkeys(TAGS, done.release.digest)


async def test_a_record_about_none_of_them_is_still_refused() -> None:
    world = await World.make()
    stranger = [replace(RECORDS[0], repository="evil.example.com/api"), *RECORDS[1:]]
    assert "evil.example.com/api" in str(await world.fails(records=stranger))
    assert world.writes == 0


async def test_references_and_what_is_attached_to_them_go_everywhere() -> None:
    stage = MemoryStore(name="stage.example.com/api")
    plain = [a_build(name) for name in THREE]
    attested = an_attestation(plain[0])
    await upload(stage, *plain, attested)
    multi = an_index(*plain, attested)
    await stage.put(Tag("multi"), multi)
    signature = a_referrer(plain[0].manifest, b"signature")
    await upload(stage, signature)
    await stage.put(Tag(f"sha256-{plain[0].digest.hex}.sig"), signature.manifest)
    world = World([MemoryStore(name=name) for name in NAMES])
    reference = Reference(store=stage, target=Tag("multi"), name="multi")
    dry = await world.merge(records=[], references=[reference], plan=None, dry_run=True)
    done = await world.merge(records=[], references=[reference], plan=None)
    assert dry.writes == done.writes
    for store in world.stores:
        assert store.tagged[FIXED] == multi.digest
        assert signature.digest in store.manifests
        assert attested.digest in store.manifests


async def test_optional_platforms_may_be_missing_everywhere_alike() -> None:
    plan = a_plan(*THREE[:2], optional=THREE[2:])
    builds = [a_build(name, plan=plan) for name in THREE[:2]]
    world = World([await a_store(*builds), *(MemoryStore(name=name) for name in NAMES[1:])])
    done = await world.merge(plan=plan, records=[a_record(build, plan=plan) for build in builds])
    assert [release.missing for release in done.releases] == [(planned(THREE[2]).platform,)] * 3


async def test_a_destination_that_loses_what_it_took_moves_no_tag() -> None:
    """All hold means: read back there, layers included, not: was sent there."""
    world = await World.make()

    def lose(store: MemoryStore, name: str, about: str) -> None:
        if store is world.stores[2] and name == "put" and about == str(BUILDS[2].digest):
            store.blobs.pop(BUILDS[0].manifest.layers[0].digest, None)

    world.hook(lose)
    failure = await world.fails()
    assert isinstance(failure, (MergeRefusedError, RegistryError))
    assert world.tags == [{}, {}, {}]
    assert NAMES[2] in str(failure)


async def test_a_tag_that_moved_while_images_were_copied_is_seen() -> None:
    """Copies take minutes: the guard against newer runs looks again at every destination."""
    world = await World.make()
    newer = World(world.stores[:1])
    await upload(world.stores[0], OLD)
    raced: list[bool] = []

    async def bring_slowly(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  as bring
        if not raced:
            raced.append(True)
            await newer.merge(records=[a_record(OLD)], plan=None, mover=Mover(run=Run(9)))
        return await bring(*arguments, **options)

    first, *others = world.stores
    order = Order(
        records=RECORDS,
        plan=PLAN,
        tags=TAGS,
        mover=Mover(run=Run(8)),
        also=[Destination(store=store, tags=TAGS) for store in others],
    )
    with pytest.raises(OlderRunError):
        await assemble(first, order, bring=bring_slowly)
    assert [tags for tags in world.tags if tags] == [world.tags[0]]


async def test_somebody_else_at_one_destination_is_told_with_what_stands_at_the_others() -> None:
    world = await World.make()
    await upload(world.stores[1], OLD)

    def meddle(store: MemoryStore, name: str, about: str) -> None:
        if store is world.stores[1] and name == "head" and about == "1.2.3" and FIXED in store.tagged:
            store.plant(EARLIER.digest, EARLIER)
            store.tagged[FIXED] = EARLIER.digest

    world.hook(meddle)
    failure = await world.fails()
    assert isinstance(failure, LostRaceError)
    assert f"{NAMES[1]}:1.2.3" in failure.what
    assert "every tag was moved at all 3 destinations, and what is not named here stays so" in failure.hint
    for number in (0, 2):
        assert world.tags[number][FIXED] != EARLIER.digest
        assert (await read_history(world.stores[number], FLOATING)).moves, "written down all the same"


async def test_cancelled_between_tags_every_tag_is_complete_and_a_rerun_finishes() -> None:
    undisturbed = await World.make(earlier=True)
    digest = (await undisturbed.merge()).release.digest
    for stop_at in range(6):
        world = await World.make(earlier=True)
        with anyio.CancelScope() as scope:
            moved: list[str] = []

            def stop(
                store: MemoryStore,
                name: str,
                about: str,
                *,
                scope: anyio.CancelScope = scope,
                moved: list[str] = moved,
                stop_at: int = stop_at,
            ) -> None:
                if name == "put" and re.fullmatch(r"1\.2\.3|latest", about):
                    moved.append(f"{store.name}:{about}")
                    if len(moved) == stop_at + 1:
                        scope.cancel()

            world.hook(stop)
            await world.merge()
        assert len(moved) == stop_at + 1, "the write under way is finished, no further one begins"
        assert {d for tags in world.tags for d in tags.values()} <= {digest, EARLIER.digest}
        world.hook(lambda *_: None)
        await world.merge()
        assert world.tags == undisturbed.tags


def records_of(name: str) -> list[Record]:
    return [replace(record, repository=name) for record in RECORDS]


async def test_layouts_and_registries_mix() -> None:
    """Two layouts are told apart, though where a layout lies is no identity."""
    names = ["oci:one", "oci:two", REPOSITORY]
    stores = [await a_store(*BUILDS, name=names[0]), *(MemoryStore(name=name) for name in names[1:])]
    world = World(stores)
    plan = a_plan(destination="oci:one")
    builds = [a_build(name, plan=plan) for name in THREE]
    await upload(stores[0], *builds)
    records = [a_record(build, plan=plan, repository="oci:one") for build in builds]
    moved: list[str] = []

    def note(store: MemoryStore, name: str, about: str) -> None:
        if (name, about) == ("put", str(FIXED)):
            moved.append(store.name)

    world.hook(note)
    done = await world.merge(plan=plan, records=records)
    assert moved == [REPOSITORY, "oci:two", "oci:one"], (
        "layouts refuse nothing: who may refuse is asked first"
    )
    assert [store.tagged[FIXED] for store in stores] == [done.release.digest] * 3
    for store in stores:
        await verify(store, FIXED, platforms=[build.platform for build in builds])
    for store in stores:
        store.calls.clear()
    await world.merge(plan=plan, records=records)
    assert world.writes == 0


async def test_indexes_that_differ_are_refused() -> None:
    """A registry that describes the same image otherwise must not get a release of its own."""
    world = await World.make()
    other = a_build(THREE[0], plan=PLAN, files={"app": b"other"})

    class Lying(MemoryStore):
        async def get(self, target: Digest | Tag) -> Any:  # noqa: ANN401
            found = await super().get(target)
            return other.manifest if target == BUILDS[0].digest else found

    world.stores[1] = Lying(name=NAMES[1])
    await upload(world.stores[1], other)
    failure = await world.fails()
    assert isinstance(failure, (MergeRefusedError, ContentError))
    assert world.tags == [{}, {}, {}]
