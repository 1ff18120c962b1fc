"""A release on each real place: merge, verify, merge again; the same bytes everywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import MergeRefusedError, VerifyFailedError
from anyarch.oci.media_type import MediaType
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.release.publish import merge
from anyarch.release.record import record_from_store
from anyarch.release.verify import verify

from tests.builders import an_attestation, an_image, an_index, upload
from tests.contract.places import PLACES
from tests.releases import THREE, a_build, a_record, three_builds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyarch.oci.digest import Digest
    from anyarch.release.record import Record

    from tests.contract.places import AnyStore

pytestmark = pytest.mark.anyio

TAGS = tuple(map(Tag, ("1.2.3", "1.2", "1", "latest")))
PLATFORMS = tuple(map(Platform.parse, THREE))


@pytest.fixture(params=PLACES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, peers: Path) -> AsyncIterator[AnyStore]:
    with PLACES[request.param](tmp_path, peers) as place:
        async with place.open("shop/api") as opened:
            yield opened


async def records_in(store: AnyStore) -> list[Record]:
    builds = [a_build(name) for name in THREE]
    await upload(store, *builds)
    return [await record_from_store(store, build.digest, platform=build.platform) for build in builds]


async def test_a_release_is_published_verified_and_not_written_twice(store: AnyStore) -> None:
    records = await records_in(store)
    dry = await merge(store, records, tags=TAGS, dry_run=True)
    assert await store.tags() == []
    first = await merge(store, records, tags=TAGS)
    again = await merge(store, records[::-1], tags=TAGS)
    assert (first.writes, again.writes) == (5, 0)
    assert dry.digest == first.digest == again.digest
    targets: list[Tag | Digest] = [*TAGS, first.digest]
    for target in targets:
        assert (await verify(store, target, platforms=PLATFORMS)).digest == first.digest
    elsewhere, same = await three_builds()
    assert (await merge(elsewhere, same)).digest == first.digest


async def test_a_tag_moves_and_what_it_pointed_at_is_known(store: AnyStore) -> None:
    records = await records_in(store)
    old = await merge(store, records[:1], tags=TAGS)
    new = await merge(store, records, tags=TAGS)
    assert {result.previous for result in new.tags} == {old.digest}
    assert (await verify(store, old.digest)).children[0].platform == PLATFORMS[0]


async def test_a_refused_merge_leaves_the_tags(store: AnyStore) -> None:
    records = await records_in(store)
    old = await merge(store, records, tags=TAGS)
    absent = replace(a_record(an_image("linux/s390x")), repository=store.name)
    with pytest.raises(MergeRefusedError) as caught:
        await merge(store, [*records, absent], tags=TAGS)
    assert caught.value.offenders[0].startswith("linux/s390x (records/linux-s390x.json): ")
    assert {(await verify(store, tag)).digest for tag in TAGS} == {old.digest}


async def test_attestations_come_along(store: AnyStore) -> None:
    build = a_build("linux/arm64")
    attestation = an_attestation(build)
    outer = an_index(build, attestation)
    await upload(store, build, attestation)
    await store.put(outer.digest, outer)
    record = await record_from_store(store, outer.digest, platform=build.platform)
    await merge(store, [record], tags=TAGS)
    (child,) = (await verify(store, TAGS[0], platforms=[build.platform])).children
    assert child.attestations == 1


async def test_dockers_images_stay_dockers(store: AnyStore) -> None:
    builds = [an_image(name, docker=True) for name in THREE]
    await upload(store, *builds)
    records = [await record_from_store(store, build.digest, platform=build.platform) for build in builds]
    await merge(store, records, tags=TAGS)
    assert (await verify(store, TAGS[0], platforms=PLATFORMS)).media_type == MediaType.DOCKER_LIST


async def test_a_wrong_set_does_not_verify(store: AnyStore) -> None:
    await merge(store, (await records_in(store))[:2], tags=TAGS)
    with pytest.raises(VerifyFailedError, match="linux/arm64: missing"):
        await verify(store, TAGS[0], platforms=PLATFORMS)
