"""One release at several real places of every kind: written, broken off at each request, and finished."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import pytest
from anyarch.errors import RegistryError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.bring import bring
from anyarch.registry.client import Options
from anyarch.registry.store import RegistryStore
from anyarch.release.assemble import Destination, Order, assemble
from anyarch.release.history import is_history_tag
from anyarch.release.record import record_from_store
from anyarch.release.verify import verify

from tests.builders import an_attestation, an_index, upload
from tests.contract.places import PLACES
from tests.fake_registry import FakeRegistry, Fault
from tests.releases import THREE, a_build, a_record
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from anyarch.release.assemble import Assembly

    from tests.contract.places import AnyStore

BUILDS: Final = [a_build(name) for name in THREE]
ATTESTED: Final = an_attestation(BUILDS[2])
OLDER: Final = a_build(THREE[0], files={"app": b"older"})
EARLIER: Final = an_index(OLDER)
FIXED, FLOATING = Tag("1.2.3"), Tag("latest")
PAIRS: Final = [
    ("docker-registry 2.8", "distribution 3"),
    ("distribution 3", "olareg"),
    ("olareg", "docker-registry 2.8 with a password"),
    ("docker-registry 2.8", "Amazon ECR"),
    ("Amazon ECR", "OCI layout"),
    ("OCI layout", "olareg"),
    ("OCI layout", "OCI layout"),
]


@pytest.fixture(params=PAIRS, ids=" then ".join)
async def pair(request: pytest.FixtureRequest, tmp_path: Path, peers: Path) -> AsyncIterator[list[AnyStore]]:
    """A repository at each of two places; the builds are in the first one."""
    with ExitStack() as stack:
        async with AsyncExitStack() as opened:
            stores: list[AnyStore] = []
            for number, kind in enumerate(request.param):
                folder = tmp_path / str(number)
                folder.mkdir()
                place = stack.enter_context(PLACES[kind](folder, peers))
                store = place.open(f"shop/api{number}")
                await opened.enter_async_context(cast("RegistryStore", store))
                stores.append(store)
            await upload(stores[0], *BUILDS, ATTESTED)
            yield stores


async def merged(stores: list[AnyStore], *, dry_run: bool = False) -> Assembly:
    first, *others = stores
    tags = (FIXED, FLOATING)
    order = Order(
        records=[await record_from_store(first, build.digest, platform=build.platform) for build in BUILDS],
        tags=tags,
        dry_run=dry_run,
        also=[Destination(store=store, tags=tags) for store in others],
    )
    return await assemble(first, order, bring=bring)


@pytest.mark.anyio
async def test_both_get_the_same_release_and_a_second_time_nothing(pair: list[AnyStore]) -> None:
    dry = await merged(pair, dry_run=True)
    assert [await store.head(FIXED) for store in pair] == [None, None]
    done = await merged(pair)
    assert dry.writes == done.writes
    for store, release in zip(pair, done.releases, strict=True):
        assert release.digest == done.release.digest
        for tag in (FIXED, FLOATING):
            found = await verify(store, tag, platforms=[build.platform for build in BUILDS])
            assert [child.digest for child in found.children] == [build.digest for build in BUILDS]
    assert (await pair[0].get(FIXED)).raw == (await pair[1].get(FIXED)).raw
    again = await merged(pair)
    assert (again.writes, [release.writes for release in again.releases]) == ((), [0, 0])


BLOWS: Final[Mapping[str, Callable[[int], list[Fault]]]] = {
    "refused": lambda at: [Fault("status", 403, at=at, code="DENIED")],
    "gone": lambda at: [Fault("reset before", since=at, times=_FOR_EVER)],
    "gone after it acted": lambda at: [
        Fault("reset after", at=at),
        Fault("reset before", since=at + 1, times=_FOR_EVER),
    ],
}
_FOR_EVER: Final = 1_000_000


@dataclass
class Two:
    """Two registries with the floating tag at an older release; the first has a build of a newer one."""

    registries: tuple[FakeRegistry, FakeRegistry]

    async def fill(self) -> None:
        async with self.opened() as stores:
            for store in stores:
                await upload(store, OLDER)
                await store.put(EARLIER.digest, EARLIER)
                await store.put(FLOATING, EARLIER)
            await upload(stores[0], BUILDS[0])
        for registry in self.registries:
            registry.seen.clear()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[list[AnyStore]]:
        options = Options(clock=FakeClock().clock)
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(RegistryStore(Repository(each.host, "shop/api"), options))
                for each in self.registries
            ]

    async def merge(self) -> Assembly:
        async with self.opened() as stores:
            first, second = stores
            tags = (FIXED, FLOATING)
            order = Order(
                records=[a_record(BUILDS[0], repository=first.name)],
                tags=tags,
                also=[Destination(store=second, tags=tags)],
            )
            return await assemble(first, order, bring=bring)

    def check(self, digest: str) -> None:
        """Every tag is complete; one at the new release anywhere means that both registries hold it."""
        held = [each.repositories.by_name["shop/api"] for each in self.registries]
        assert [each.repositories.incomplete() for each in self.registries] == [[], []]
        if any(digest in each.tags.values() for each in held):
            assert all(digest in each.manifests for each in held)

    async def broken(self) -> RegistryError | None:
        """Merge while something is wrong; None: nobody was disturbed by it."""
        try:
            await self.merge()
        except RegistryError as error:
            return error
        return None

    def check_words(self, error: RegistryError, digest: str) -> None:
        """What an error says of the tags is so."""
        there = {
            f"{registry.host}/shop/api:{tag}": found == digest
            for registry, tags in zip(self.registries, self.tags, strict=True)
            for tag, found in tags.items()
        }
        told = [error.facts.get(name, []) for name in ("moved", "unsure", "not_moved")]
        moved, unsure, not_moved = ({str(each) for each in cast("list[str]", tags)} for tags in told)
        assert all(there[tag] for tag in moved)
        assert not any(there.get(tag) for tag in not_moved)
        assert {tag for tag in there if there[tag]} <= moved | unsure
        if not moved | unsure:
            assert "no tag was moved at any of the 2 destinations" in error.hint

    @property
    def tags(self) -> list[dict[str, str]]:
        held = [each.repositories.by_name["shop/api"].tags for each in self.registries]
        return [{tag: each[tag] for tag in each if not is_history_tag(tag)} for each in held]


@asynccontextmanager
async def two_registries() -> AsyncIterator[Two]:
    with FakeRegistry() as near, FakeRegistry() as far:
        two = Two((near, far))
        await two.fill()
        yield two


@pytest.mark.anyio
@pytest.mark.parametrize("blow", BLOWS)
@pytest.mark.parametrize("struck", [0, 1], ids=["at the first", "at the second"])
async def test_each_request_of_a_release_at_two_places_meets_each_blow(struck: int, blow: str) -> None:
    """No tag moves anywhere unless both hold; the same again finishes; once more writes nothing."""
    async with two_registries() as two:
        digest = str((await two.merge()).release.digest)
        count, ends = len(two.registries[struck].seen), two.tags
    for number in range(count):
        async with two_registries() as two:
            registry = two.registries[struck]
            registry.faults += BLOWS[blow](number)
            error = await two.broken()
            two.check(digest)
            if error is not None:
                two.check_words(error, digest)
            registry.faults.clear()
            await two.merge()
            assert two.tags == ends
