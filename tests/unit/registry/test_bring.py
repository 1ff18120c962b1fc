"""What refers to images comes along with them; what cannot come is told, and stops nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio.lowlevel
import pytest
from anyarch.errors import ContentError, NotFoundError
from anyarch.oci import strict_json
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Index, Manifest
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.attached import Referrers, described, fallback_tag
from anyarch.registry.bring import bring
from anyarch.registry.copy import ship, survey
from anyarch.registry.store import RegistryStore

from tests.builders import BuiltImage, a_referrer, an_image, an_index, upload
from tests.fake_registry import FakeRegistry
from tests.memory_store import MemoryStore

if TYPE_CHECKING:
    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.store import Store
    from anyarch.oci.write import Brought

pytestmark = pytest.mark.anyio

IMAGE = an_image()
SIGNATURE = a_referrer(IMAGE.manifest, b"signature")
OTHER = a_referrer(IMAGE.manifest, b"other")
COSIGN = Tag(f"sha256-{IMAGE.digest.hex}.sig")


async def a_source(*referrers: BuiltImage, listed: Index | None = None) -> MemoryStore:
    source = MemoryStore(name="source.example.com/api")
    await upload(source, IMAGE, *referrers)
    index = listed or Index.build([each.manifest.descriptor for each in referrers])
    source.plant(fallback_tag(IMAGE.digest), index)
    return source


async def brought(source: MemoryStore, target: MemoryStore) -> Brought:
    return await bring(source, target, [IMAGE.digest])


async def test_a_list_that_is_there_is_added_to() -> None:
    source, target = await a_source(SIGNATURE), MemoryStore()
    await upload(target, IMAGE, OTHER)
    mine = Index.build([described(OTHER.digest, OTHER.manifest)], annotations={"com.example": "kept"})
    await target.put(fallback_tag(IMAGE.digest), mine)
    await brought(source, target)
    found = await target.get(fallback_tag(IMAGE.digest))
    assert isinstance(found, Index)
    assert [each.digest for each in found.manifests] == [OTHER.digest, SIGNATURE.digest]
    assert found.annotations == {"com.example": "kept"}
    assert (await brought(source, target)).writes == ()


async def test_a_registry_that_lists_referrers_is_not_given_a_list() -> None:
    source = await a_source(SIGNATURE)
    with FakeRegistry(referrers=True) as registry:
        async with RegistryStore(Repository(registry.host, "team/app")) as target:
            dry = await bring(source, target, [IMAGE.digest], dry_run=True)
            done = await bring(source, target, [IMAGE.digest])
            assert dry == done
            assert [each.digest for each in await Referrers(target).of(IMAGE.digest)] == [SIGNATURE.digest]
            assert await target.tags() == []
    assert not any(":sha256-" in write.where for write in done.writes)


async def test_referrers_of_a_registry_that_lists_them_come_along() -> None:
    with FakeRegistry(referrers=True) as registry:
        async with RegistryStore(Repository(registry.host, "team/app")) as source:
            await upload(source, IMAGE, SIGNATURE)
            target = MemoryStore()
            await bring(source, target, [IMAGE.digest])
    assert SIGNATURE.digest in target.manifests


async def test_a_signature_under_cosigns_tag_comes_unless_there_is_another() -> None:
    source, target = await a_source(), MemoryStore()
    await upload(source, SIGNATURE, OTHER)
    await source.put(COSIGN, SIGNATURE.manifest)
    assert not (await brought(source, target)).warnings
    assert target.tagged[COSIGN] == SIGNATURE.digest
    await source.put(COSIGN, OTHER.manifest)
    (warning,) = (await brought(source, target)).warnings
    assert f"the tag {COSIGN} was not brought" in warning
    assert target.tagged[COSIGN] == SIGNATURE.digest


LIST_OF_NOTHING = Index.build([an_image("linux/s390x").descriptor])


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        pytest.param(LIST_OF_NOTHING, "has no manifest", id="listed, and not there"),
        pytest.param(an_index(IMAGE), "it is about nothing", id="about nothing"),
        pytest.param(IMAGE.manifest, "expected a list of referrers", id="no list at all"),
    ],
)
async def test_what_is_damaged_is_told_and_left_behind(listed: Index, said: str) -> None:
    source, target = await a_source(listed=listed), MemoryStore()
    (warning,) = (await brought(source, target)).warnings
    assert warning.startswith("source.example.com/api: ")
    assert said in warning
    assert IMAGE.digest in target.manifests
    assert fallback_tag(IMAGE.digest) not in target.tagged


async def test_a_referrer_about_something_else_does_not_come() -> None:
    stranger = a_referrer(an_image("linux/s390x").manifest, b"stranger")
    source, target = await a_source(stranger), MemoryStore()
    (warning,) = (await brought(source, target)).warnings
    assert "it is about" in warning
    assert stranger.digest not in target.manifests


async def test_a_referrer_without_its_blob_does_not_come() -> None:
    source, target = await a_source(SIGNATURE, OTHER), MemoryStore()
    del source.blobs[SIGNATURE.manifest.layers[0].digest]
    (warning,) = (await brought(source, target)).warnings
    assert str(SIGNATURE.digest) in warning
    assert OTHER.digest in target.manifests
    assert SIGNATURE.digest not in target.manifests


async def test_referrers_that_refer_to_one_another_end() -> None:
    source, target = await a_source(SIGNATURE), MemoryStore()
    source.plant(fallback_tag(SIGNATURE.digest), Index.build([SIGNATURE.manifest.descriptor]))
    (warning,) = (await brought(source, target)).warnings
    assert "it is about" in warning


async def test_more_referrers_than_anybody_has_are_refused() -> None:
    crowd = [replace(SIGNATURE.manifest.descriptor, size=1 + number) for number in range(1001)]
    source, target = await a_source(listed=Index.build(crowd)), MemoryStore()
    assert (await brought(source, target)).warnings
    assert target.manifests.keys() == {IMAGE.digest}


def with_layer(**fields: object) -> Manifest:
    document = dict(IMAGE.manifest.document)
    layer = IMAGE.manifest.layers[0].to_oci() | fields
    return Manifest.from_bytes(strict_json.dumps(document | {"layers": [layer]}))


def replace_layers(document: dict[str, object], layer: dict[str, object]) -> bytes:
    from anyarch.oci import strict_json

    return strict_json.dumps(document | {"layers": [layer]})


async def test_a_layer_that_may_not_be_pushed_may_be_away_and_any_other_not() -> None:
    addresses = {"urls": ["https://example.com/layer"]}
    foreign = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}
    for fields, comes in (
        ({**foreign, **addresses}, True),
        (foreign, False),
        (addresses, False),
        ({}, False),
    ):
        manifest = with_layer(**fields)
        source, target = await a_source(), MemoryStore()
        source.plant(manifest.digest, manifest)
        del source.blobs[IMAGE.manifest.layers[0].digest]
        load = await survey(source, target, [manifest.digest])
        if comes:
            await ship(load)
            assert manifest.digest in target.manifests
        else:
            with pytest.raises(NotFoundError):
                await ship(load)
            assert target.manifests == {}


@dataclass
class Watched(MemoryStore):
    """It knows which blobs came, and how many of them were under way at once at most."""

    sizes: list[int] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    async def copy_blob(self, blob: Descriptor, source: Store) -> bool:
        self.sizes.append(blob.size)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await anyio.lowlevel.checkpoint()
        done = await super().copy_blob(blob, source)
        self.under_way -= 1
        return done


async def test_blobs_travel_in_parallel_the_largest_first_and_only_a_few_at_once() -> None:
    images = [an_image(files={"f": randbytes(number)}) for number in range(1, 13)]
    source, target = MemoryStore(name="source.example.com/api"), Watched()
    await upload(source, *images)
    await ship(await survey(source, target, [image.digest for image in images]))
    assert 1 < target.most <= 4
    assert target.sizes == sorted(target.sizes, reverse=True)


def randbytes(number: int) -> bytes:
    return random.Random(number).randbytes(number * 100)  # noqa: S311  no secret


async def test_a_sha512_child_keeps_its_name() -> None:

    source, target = await a_source(), MemoryStore()
    name = Digest.of(IMAGE.manifest.raw, algorithm="sha512")
    source.plant(name, IMAGE.manifest)
    await ship(await survey(source, target, [name]))
    assert target.manifests.keys() == {name}


async def test_indexes_nested_without_end_are_refused_before_anything_is_written() -> None:
    source, target = await a_source(), MemoryStore()
    inner = an_index(IMAGE)
    for _ in range(5):
        source.plant(inner.digest, inner)
        inner = Index.build([inner.descriptor])
    source.plant(inner.digest, inner)
    with pytest.raises(ContentError, match="nested"):
        await bring(source, target, [inner.digest])
    assert target.writes == []
