"""Images of another repository, registry or layout, merged on every real place; read back by others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.manifest import Index
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.registry.attached import Referrers
from anyarch.registry.bring import bring
from anyarch.release.assemble import Order, assemble
from anyarch.release.record import record_from_store
from anyarch.release.references import Reference
from anyarch.release.verify import verify

from tests.builders import a_referrer, an_attestation, an_index, upload
from tests.contract.places import PLACES
from tests.contract.test_readers import READERS, SERVERS, Published, ask
from tests.memory_store import MemoryStore
from tests.releases import THREE, a_build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from anyarch.release.assemble import Assembly

    from tests.builders import BuiltImage
    from tests.contract.places import AnyStore, Place

BUILDS = [a_build(name) for name in THREE]
ATTESTED = an_attestation(BUILDS[2])
SIGNATURE = a_referrer(BUILDS[0].manifest, b"signature")
SIGNED_AGAIN = a_referrer(SIGNATURE.manifest, b"signature of a signature")
MULTI = an_index(*BUILDS, ATTESTED)
RELEASE = Tag("1.2.3")


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, tmp_path: Path, peers: Path) -> AsyncIterator[Place]:
    with PLACES[request.param](tmp_path, peers) as opened:
        yield opened


async def fill(stage: AnyStore) -> None:
    """An index with an attestation and signatures, as a careful publisher leaves them."""
    await upload(stage, *BUILDS, ATTESTED)
    await stage.put(Tag("multi"), MULTI)
    await bring(await a_source(), stage, [BUILDS[0].digest])


async def a_source() -> MemoryStore:
    source = MemoryStore(name="source.example.com/api")
    await upload(source, BUILDS[0], SIGNATURE, SIGNED_AGAIN)
    for image, referrer in ((BUILDS[0], SIGNATURE), (SIGNATURE, SIGNED_AGAIN)):
        await source.put(Tag(f"sha256-{image.digest.hex}"), Index.build([referrer.manifest.descriptor]))
    signature = Tag(f"sha256-{BUILDS[0].digest.hex}.sig")
    await source.put(signature, SIGNATURE.manifest)
    return source


async def merged(store: AnyStore, stage: AnyStore, *, dry_run: bool = False) -> Assembly:
    """Two platforms by their records, one by a reference."""
    records = [await record_from_store(stage, build.digest, platform=build.platform) for build in BUILDS[:2]]
    one = Reference(store=stage, target=BUILDS[2].digest, name="the third")
    order = Order(records=records, references=[one], sources=[stage], tags=[RELEASE], dry_run=dry_run)
    return await assemble(store, order, bring=bring)


@pytest.mark.anyio
async def test_images_come_from_another_repository_of_the_same_place(place: Place) -> None:
    async with place.open("shop/stage") as stage, place.open("shop/api") as store:
        await fill(stage)
        dry = await merged(store, stage, dry_run=True)
        assert await store.tags() == []
        done = await merged(store, stage)
        assert dry.release.digest == done.release.digest
        again = await merged(store, stage)
        assert (again.writes, again.release.writes) == ((), 0)
        found = await verify(store, RELEASE, platforms=[build.platform for build in BUILDS])
        assert [child.digest for child in found.children] == [build.digest for build in BUILDS]
        await signatures_are_there(store)


@pytest.mark.anyio
async def test_images_come_from_elsewhere(place: Place) -> None:
    stage = MemoryStore(name="stage.example.com/api")
    await fill(stage)
    async with place.open("shop/api") as store:
        await merged(store, stage)
        await signatures_are_there(store)
        assert (await merged(store, stage)).writes == ()


@pytest.mark.anyio
async def test_images_go_from_each_place_to_a_layout_and_stay_one_index(place: Place, tmp_path: Path) -> None:
    with PLACES["OCI layout"](tmp_path / "layouts", tmp_path) as layouts:
        async with place.open("shop/stage") as stage, layouts.open("dist") as store:
            await fill(stage)
            multi = Reference(store=stage, target=Tag("multi"), name="multi")
            order = Order(references=[multi], tags=[RELEASE])
            done = await assemble(store, order, bring=bring)
            assert done.release.index.raw == MULTI.raw
            found = await verify(store, RELEASE, platforms=list(map(Platform.parse, THREE)))
            assert [child.attestations for child in found.children] == [0, 0, 1]
            await signatures_are_there(store)


async def signatures_are_there(store: AnyStore) -> None:
    """With their descriptors as the specification words them, in the registry's list or in ours."""
    referrers = Referrers(store)
    for image, referrer in ((BUILDS[0], SIGNATURE), (SIGNATURE, SIGNED_AGAIN)):
        (listed,) = await referrers.of(image.digest)
        assert isinstance(listed, Descriptor)
        assert listed.digest == referrer.digest
        assert listed.extra["artifactType"] == "application/vnd.example.signature"
        assert (await store.get(listed.digest)).raw == referrer.manifest.raw
    signature = await store.head(Tag(f"sha256-{BUILDS[0].digest.hex}.sig"))
    assert signature is not None
    assert signature.digest == SIGNATURE.digest


@pytest.fixture(scope="module", params=SERVERS)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, peers: Path
) -> Iterator[Published]:
    """A release whose images were mounted from another repository."""

    async def publish(place: Place) -> Published:
        async with place.open("shop/stage") as stage, place.open("shop/api") as store:
            await fill(stage)
            done = await merged(store, stage)
            assert "mount" in {write.action for write in done.writes}
            return Published(f"{store.name}:{RELEASE}", await verify(store, RELEASE))

    with PLACES[request.param](tmp_path_factory.mktemp("place"), peers) as opened:
        yield anyio.run(publish, opened)


@pytest.mark.parametrize("build", BUILDS, ids=THREE)
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_pulls_each_platform_of_what_was_brought(
    published: Published, peers: Path, reader: str, build: BuiltImage, tmp_path: Path
) -> None:
    ask(READERS[reader].pull, published.reference, peers, build, tmp_path / "pulled")
    pulled = {path.name: path.read_bytes() for path in (tmp_path / "pulled" / "blobs" / "sha256").iterdir()}
    assert pulled[build.digest.hex] == build.manifest.raw
    assert {digest.hex for digest in build.blobs} <= set(pulled)
