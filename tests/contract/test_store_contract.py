"""What every ``Store`` promises, asked of each place that can hold one."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, cast

import pytest
from anyarch.errors import ContentError, NotFoundError
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Manifest
from anyarch.oci.reference import Tag
from anyarch.registry.copy import copy_image
from anyarch.registry.store import RegistryStore

from tests.builders import BlobSource, an_attestation, an_image, an_index, blob_of, upload
from tests.contract.places import PLACES, Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from anyarch.oci.store import Store

    from tests.builders import BuiltImage
    from tests.contract.places import AnyStore

pytestmark = pytest.mark.anyio

ABSENT = Digest.of(b"nobody ever wrote this")
V1 = Tag("v1")
_numbers = count()


@pytest.fixture(scope="module", params=PLACES)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, peers: Path
) -> Iterator[Place]:
    with PLACES[request.param](tmp_path_factory.mktemp("place"), peers) as opened:
        yield opened


@pytest.fixture
async def store(place: Place) -> AsyncIterator[AnyStore]:
    async with place.open(f"team/app{next(_numbers)}") as opened:
        yield opened


@pytest.fixture
async def other(place: Place) -> AsyncIterator[AnyStore]:
    async with place.open(f"team/other{next(_numbers)}") as opened:
        yield opened


def source_of(content: bytes, digest: Digest | None = None) -> Store:
    return cast("Store", BlobSource({digest or Digest.of(content): content}))


async def two_platforms(store: Store) -> tuple[BuiltImage, BuiltImage]:
    images = an_image("linux/amd64"), an_image("linux/arm64")
    await upload(store, *images)
    return images


@pytest.mark.parametrize("docker", [False, True], ids=["OCI types", "Docker types"])
async def test_what_was_put_comes_back_byte_for_byte(store: Store, docker: bool) -> None:
    image = an_image(docker=docker)
    await upload(store, image)
    index = an_index(image, docker=docker)
    await store.put(index.digest, index)
    await store.put(V1, index)
    for target in (index.digest, V1):
        found = await store.get(target)
        assert (found.raw, found.media_type) == (index.raw, index.media_type)
    assert (await store.get(image.digest)).raw == image.manifest.raw


async def test_unusual_bytes_and_unknown_fields_survive(store: Store) -> None:
    image = an_image()
    await upload(store, image)
    raw = image.manifest.raw.replace(b"{", b'{ "x-unknown" : [1.50, "\\u00e9"],\t', 1) + b"\n"
    odd = Manifest.from_bytes(raw)
    await store.put(odd.digest, odd)
    assert (await store.get(odd.digest)).raw == raw


async def test_head_says_what_get_would_bring(store: Store) -> None:
    images = await two_platforms(store)
    index = an_index(*images)
    await store.put(V1, index)
    for target in (V1, index.digest):
        assert await store.head(target) == index.descriptor
    assert await store.head(images[0].digest) == images[0].manifest.descriptor


@pytest.mark.parametrize("written", [False, True], ids=["nothing written yet", "something else there"])
async def test_what_is_absent_is_none_or_not_found(store: Store, written: bool) -> None:
    if written:
        await two_platforms(store)
    for target in (ABSENT, Tag("absent")):
        assert await store.head(target) is None
        with pytest.raises(NotFoundError):
            await store.get(target)
    blob = Descriptor(media_type="text/plain", digest=ABSENT, size=3)
    assert not await store.has_blob(blob)
    with pytest.raises(NotFoundError):
        await store.get_blob(blob, max_bytes=100)
    assert await store.tags() == []


async def test_a_tag_moves(store: Store) -> None:
    first, second = await two_platforms(store)
    await store.put(V1, an_index(first))
    await store.put(V1, an_index(second))
    assert (await store.get(V1)).digest == an_index(second).digest
    assert (await store.get(an_index(first).digest)).raw == an_index(first).raw, (
        "the old one stays, by digest"
    )
    assert await store.tags() == ["v1"]


async def test_writing_twice_is_no_error(store: Store) -> None:
    (image, _) = await two_platforms(store)
    for _ in range(2):
        await store.put(image.digest, image.manifest)
        await store.put(V1, image.manifest)
    assert (await store.get(V1)).raw == image.manifest.raw


async def test_a_deleted_manifest_is_gone_and_nothing_else_is(store: Store) -> None:
    first, second = await two_platforms(store)
    index = an_index(first, second)
    await store.put(index.digest, index)
    await store.put(V1, second.manifest)
    assert await store.delete(index.digest)
    assert await store.head(index.digest) is None
    assert not await store.delete(index.digest), "it is gone already"
    for image in (first, second):
        assert await store.head(image.digest) == image.manifest.descriptor
        assert await store.has_blob(image.manifest.config)
    assert await store.tags() == ["v1"]


async def test_a_deleted_manifest_can_be_written_again(store: Store) -> None:
    (image, _) = await two_platforms(store)
    await store.delete(image.digest)
    await store.put(V1, image.manifest)
    assert (await store.get(V1)).raw == image.manifest.raw


async def test_a_tag_never_points_at_a_deleted_manifest(store: Store) -> None:
    first, second = await two_platforms(store)
    await store.put(V1, first.manifest)
    await store.put(Tag("v2"), second.manifest)
    assert await store.delete(first.digest)
    assert await store.tags() == ["v2"]


async def test_deleting_what_never_was_is_no_error(store: Store) -> None:
    assert not await store.delete(ABSENT)
    await two_platforms(store)
    assert not await store.delete(ABSENT)


async def test_tags_are_sorted(store: Store) -> None:
    (image, _) = await two_platforms(store)
    for name in ("v10", "latest", "_x", "v9"):
        await store.put(Tag(name), image.manifest)
    assert await store.tags() == sorted(["v10", "latest", "_x", "v9"])


async def test_a_manifest_by_digest_makes_no_tag(store: Store) -> None:
    await two_platforms(store)
    assert await store.tags() == []


async def test_an_index_with_a_missing_child_is_refused(store: Store) -> None:
    there, absent = an_image("linux/amd64"), an_image("linux/arm64")
    await upload(store, there)
    with pytest.raises(NotFoundError):
        await store.put(V1, an_index(there, absent))
    assert await store.head(V1) is None


async def test_an_image_with_a_missing_layer_is_refused(store: Store) -> None:
    image = an_image()
    with pytest.raises(NotFoundError):
        await store.put(image.digest, image.manifest)
    assert await store.head(image.digest) is None


async def test_a_manifest_under_another_digest_is_refused(store: Store) -> None:
    first, second = await two_platforms(store)
    with pytest.raises(ContentError):
        await store.put(an_index(first).digest, an_index(second))
    assert await store.head(an_index(first).digest) is None


async def test_a_blob_is_brought_once(store: Store) -> None:
    content = b"layer" * 1000
    assert await store.copy_blob(blob_of(content), source_of(content))
    assert not await store.copy_blob(blob_of(content), source_of(content))
    assert await store.has_blob(blob_of(content))
    assert await store.get_blob(blob_of(content), max_bytes=5000) == content


@pytest.mark.parametrize("size", [0, 1, 3 * 1024 * 1024 + 7], ids=["empty", "one byte", "many chunks"])
async def test_blobs_of_any_size_travel(store: Store, other: Store, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    await store.copy_blob(blob_of(content), source_of(content))
    assert await other.copy_blob(blob_of(content), store)
    assert b"".join([chunk async for chunk in other.stream_blob(blob_of(content))]) == content


async def test_bytes_that_are_not_their_digest_never_become_a_blob(store: Store) -> None:
    blob = blob_of(b"what was promised")
    with pytest.raises(ContentError):
        await store.copy_blob(blob, source_of(b"what is delivered", blob.digest))
    assert not await store.has_blob(blob)


async def test_a_descriptor_that_lies_about_the_size_is_found_out(store: Store) -> None:
    content = b"seven b"
    await store.copy_blob(blob_of(content), source_of(content))
    for size in (6, 8):
        lie = Descriptor(media_type="text/plain", digest=Digest.of(content), size=size)
        assert not await store.has_blob(lie)
        with pytest.raises(ContentError):
            await store.get_blob(lie, max_bytes=100)


async def test_a_small_blob_is_not_read_beyond_its_limit(store: Store) -> None:
    content = b"x" * 101
    await store.copy_blob(blob_of(content), source_of(content))
    with pytest.raises(ContentError):
        await store.get_blob(blob_of(content), max_bytes=100)


async def test_an_index_is_copied_with_all_it_names_and_only_once(store: AnyStore, other: AnyStore) -> None:
    images = await two_platforms(store)
    attestation = an_attestation(images[0])
    await upload(store, attestation)
    index = an_index(*images, attestation, annotations={"org.example.note": "kept"})
    await store.put(V1, index)
    copied = await copy_image(store, other, index.digest)
    assert copied.raw == index.raw
    assert (await other.get(index.digest)).raw == index.raw
    for image in (*images, attestation):
        assert (await other.get(image.digest)).raw == image.manifest.raw
        for digest, content in image.blobs.items():
            blob = Descriptor(media_type="x/y", digest=digest, size=len(content))
            assert await other.get_blob(blob, max_bytes=10_000) == content
    assert await other.tags() == []
    if isinstance(other, RegistryStore):
        before = other.requests.writes
        await copy_image(store, other, index.digest)
        assert other.requests.writes == before, "the second copy writes nothing"


async def test_a_copy_of_what_is_not_there_says_so_and_writes_nothing(store: Store, other: Store) -> None:
    with pytest.raises(NotFoundError):
        await copy_image(store, other, ABSENT)
    assert await other.tags() == []
