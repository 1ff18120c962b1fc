"""A tag that holds an index loses no platform of it unless somebody asked for the smaller set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyarch.errors import MergeRefusedError, VerifyFailedError
from anyarch.oci.manifest import Index
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.release.history import History, Move, history_tag
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote, rollback
from anyarch.release.publish import merge

from tests.builders import an_attestation, an_image, an_index
from tests.releases import THREE, a_build, a_plan, a_record, a_store, planned, puts, three_builds

if TYPE_CHECKING:
    from anyarch.oci.manifest import Manifest
    from anyarch.release.publish import Release
    from anyarch.release.record import Record

    from tests.memory_store import MemoryStore

pytestmark = pytest.mark.anyio

LATEST, STABLE, VERSION = Tag("latest"), Tag("stable"), Tag("1.4.2")
LOST = "linux/arm64"


async def with_three() -> tuple[MemoryStore, list[Record], Release]:
    """``latest`` and ``stable`` hold three platforms."""
    store, records = await three_builds()
    whole = await merge(store, records, tags=[LATEST, STABLE])
    store.calls.clear()
    return store, records, whole


async def test_a_merge_that_takes_a_platform_from_a_tag_is_refused_before_any_write() -> None:
    store, records, whole = await with_three()
    with pytest.raises(MergeRefusedError, match="tags would lose platforms; no tag was touched") as caught:
        await merge(store, records[:2], tags=[VERSION, LATEST, STABLE])
    assert caught.value.offenders == tuple(
        f"{tag}: would lose {LOST}, which {whole.digest} has" for tag in (LATEST, STABLE)
    )
    assert "--platform or --plan" in caught.value.hint
    assert store.writes == []


async def test_a_dry_run_is_refused_alike() -> None:
    store, records, _ = await with_three()
    with pytest.raises(MergeRefusedError):
        await merge(store, records[:2], tags=[LATEST], dry_run=True)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"expected": [planned(each) for each in THREE[:2]]}, id="the set was named"),
        pytest.param({"mover": Mover(force=True)}, id="by force"),
    ],
)
async def test_a_smaller_set_that_was_asked_for_is_published(asked: dict[str, object]) -> None:
    store, records, whole = await with_three()
    release = await merge(store, records[:2], tags=[LATEST], **asked)  # type: ignore[arg-type]
    assert store.tagged[LATEST] == release.digest
    assert ("get", str(whole.digest)) not in store.calls, "nobody needs to know what was there"


async def test_an_optional_platform_of_a_plan_may_go() -> None:
    plan = a_plan(*THREE[:2], optional=THREE[2:])
    store, records = await three_builds(plan)
    await merge(store, records, plan=plan, tags=[LATEST])
    release = await merge(store, records[:2], plan=plan, tags=[LATEST])
    assert [str(each) for each in release.missing] == [LOST]
    assert store.tagged[LATEST] == release.digest


AMD = an_image("linux/amd64")


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(an_image("linux/s390x").manifest, id="an image"),
        pytest.param(an_index(an_image("linux/amd64"), an_image("linux/386")), id="fewer platforms"),
        pytest.param(an_index(AMD, an_attestation(AMD)), id="an attestation"),
        pytest.param(Index.build([an_image("linux/s390x").manifest.descriptor]), id="no platform said"),
        pytest.param(an_index(an_image(Platform("unknown", "unknown"))), id="what no machine runs"),
        pytest.param(
            an_index(an_image(Platform("linux", "arm64", "v8", "1.0"))), id="another version of the system"
        ),
    ],
)
async def test_what_is_not_lost_stops_nobody(held: Manifest) -> None:
    store, records = await three_builds()
    store.plant(LATEST, held)
    assert (await merge(store, records, tags=[LATEST])).tags[0].previous == held.digest


async def test_an_index_that_is_gone_stops_nobody() -> None:
    store, records, whole = await with_three()

    def gone(name: str, subject: str) -> None:
        if (name, subject) == ("get", str(whole.digest)):
            store.manifests.pop(whole.digest, None)

    store.hook = gone
    release = await merge(store, records[:2], tags=[LATEST])
    assert store.tagged[LATEST] == release.digest


async def test_a_tag_that_another_run_moves_meanwhile_is_looked_at_too() -> None:
    """It publishes more platforms between our look at the tag and the one at its history."""
    store, records = await three_builds()
    await merge(store, records[:1], tags=[LATEST])
    whole = an_index(*(an_image(each) for each in THREE))
    move = Move(digest=whole.digest, previous=None, when="2026-01-31T12:00:00Z", by="merge")

    def comes(name: str, subject: str) -> None:
        if (name, subject) == ("get", str(history_tag(LATEST))):
            store.plant(LATEST, whole)
            store.plant(history_tag(LATEST), History(LATEST, (move,)).manifest())

    store.hook = comes
    with pytest.raises(MergeRefusedError, match="would lose platforms"):
        await merge(store, records[:2], tags=[LATEST])
    assert store.tagged[LATEST] == whole.digest


async def test_a_promotion_that_takes_a_platform_from_a_tag_is_refused() -> None:
    store, records, whole = await with_three()
    less = await merge(store, records[:2], tags=[VERSION])
    store.calls.clear()
    with pytest.raises(VerifyFailedError, match="lacks platforms that its tags hold") as caught:
        await promote(store, VERSION, [LATEST, Tag("new")])
    assert caught.value.offenders == (f"latest: would lose {LOST}, which {whole.digest} has",)
    assert "--platform" in caught.value.hint
    with pytest.raises(VerifyFailedError, match="lacks platforms"):
        await promote(store, records[0].image.digest, [LATEST])
    assert store.writes == []
    named = [Platform.parse(each) for each in THREE[:2]]
    assert (await promote(store, VERSION, [LATEST], platforms=named)).digest == less.digest
    assert (await promote(store, VERSION, [STABLE], mover=Mover(force=True))).digest == less.digest
    assert puts(store) == ["latest", "stable"]


async def test_a_rollback_may_lead_to_fewer_platforms() -> None:
    store, records = await three_builds()
    less = await merge(store, records[:2], tags=[LATEST])
    await merge(store, records, tags=[LATEST])
    assert (await rollback(store, LATEST)).digest == less.digest


async def test_each_index_is_read_once_however_many_tags_hold_it() -> None:
    store, records, whole = await with_three()
    more = a_build("linux/s390x")
    store.manifests |= (await a_store(more)).manifests
    store.blobs |= (await a_store(more)).blobs
    await merge(store, [*records, a_record(more)], tags=[LATEST, STABLE])
    assert store.calls.count(("get", str(whole.digest))) == 1
