"""Merging what is elsewhere: references and records of other repositories; decided first, then brought."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from anyarch.errors import (
    MergeRefusedError,
    OffendersError,
    OlderRunError,
    PlanMismatchError,
    RegistryUnavailableError,
)
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.manifest import Index
from anyarch.oci.media_type import MediaType
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.registry.bring import bring
from anyarch.release import marks
from anyarch.release.assemble import Order, assemble
from anyarch.release.history import Run
from anyarch.release.ledger import Mover
from anyarch.release.references import Reference
from anyarch.release.verify import verify

from tests.builders import a_referrer, an_attestation, an_image, an_index, upload
from tests.memory_store import MemoryStore
from tests.releases import REPOSITORY, THREE, a_build, a_plan, a_record, a_store, planned, puts, released

if TYPE_CHECKING:
    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.release.assemble import Assembly

    from tests.builders import BuiltImage

pytestmark = pytest.mark.anyio

STAGE = "stage.example.com/shop/api"
TAGS = (Tag("1.2.3"), Tag("latest"))
AMD64, ARM64 = a_build("linux/amd64"), a_build("linux/arm64")
ATTESTED = an_attestation(ARM64)


def named(store: MemoryStore, target: Digest | Tag) -> Reference:
    return Reference(store=store, target=target, name=f"{store.name}:{target}")


async def merged(store: MemoryStore, **order: Any) -> Assembly:  # noqa: ANN401  fields of Order
    return await assemble(store, Order(tags=TAGS, **order), bring=bring)


async def refused(store: MemoryStore, **order: Any) -> OffendersError:  # noqa: ANN401
    with pytest.raises(OffendersError) as caught:
        await merged(store, **order)
    assert store.writes == []
    return caught.value


async def a_stage(*images: BuiltImage) -> MemoryStore:
    return await a_store(*images, name=STAGE)


async def with_index(store: MemoryStore, index: Manifest, tag: str = "multi") -> Reference:
    await store.put(Tag(tag), index)
    store.calls.clear()
    return named(store, Tag(tag))


async def test_references_alone_make_a_release() -> None:
    store = await a_store(AMD64, ARM64)
    done = await merged(store, references=[named(store, AMD64.digest), named(store, ARM64.digest)])
    index = done.release.index
    assert [str(each.platform) for each in index.manifests] == ["linux/amd64", "linux/arm64"]
    assert released(store) == dict.fromkeys(TAGS, index.digest)
    same = await a_store(AMD64, ARM64)
    records = [a_record(AMD64), a_record(ARM64)]
    assert (await merged(same, records=records)).release.digest == index.digest


async def test_records_and_references_stand_beside_one_another() -> None:
    store = await a_store(AMD64, ARM64)
    done = await merged(store, records=[a_record(AMD64)], references=[named(store, ARM64.digest)])
    assert len(done.release.children) == 2


async def test_an_index_gives_all_its_platforms_with_their_attestations() -> None:
    store = await a_store(AMD64, ARM64, ATTESTED, other := a_build("linux/386"))
    multi = await with_index(store, an_index(AMD64, ARM64, ATTESTED))
    done = await merged(store, references=[multi, named(store, other.digest)])
    assert [str(child.platform) for child in done.release.children] == list(THREE)
    (attestation,) = done.release.index.attestations
    assert attestation == ATTESTED.descriptor


async def test_all_of_one_index_are_published_as_that_very_index() -> None:
    store = await a_store(AMD64, ARM64, ATTESTED)
    foreign = Index.build(
        [ARM64.descriptor, ATTESTED.descriptor, AMD64.descriptor],
        annotations={"com.example.team": "shop"},
        extra={"com.example.field": 1},
    )
    multi = await with_index(store, foreign)
    done = await merged(store, references=[multi])
    assert done.release.index.raw == foreign.raw
    assert released(store)[TAGS[0]] == foreign.digest
    assert puts(store) == [str(tag) for tag in TAGS], "the index is there already"


@pytest.mark.parametrize(
    ("images", "docker"),
    [
        pytest.param([an_image(each, docker=True) for each in THREE], True, id="all are Docker's"),
        pytest.param([an_image(THREE[0], docker=True), ARM64], False, id="one is not"),
    ],
)
async def test_dockers_images_stay_dockers(images: list[BuiltImage], docker: bool) -> None:
    store = await a_store(*images)
    done = await merged(store, references=[named(store, each.digest) for each in images])
    assert (done.release.index.media_type == MediaType.DOCKER_LIST) == docker


async def test_what_all_indexes_say_is_carried_and_our_marks_are_set_anew() -> None:
    store = await a_store(AMD64, ARM64)
    shared = {"com.example.team": "shop", marks.MISSING: "linux/arm64", marks.EXECUTION: "native"}
    references = [
        await with_index(
            store,
            Index.build(
                [build.descriptor],
                annotations={**shared, "com.example.leg": tag},
                extra={"artifactType": "application/vnd.example", "com.example.leg": tag},
            ),
            tag,
        )
        for build, tag in ((AMD64, "a"), (ARM64, "b"))
    ]
    index = (await merged(store, references=references)).release.index
    assert index.annotations == {"com.example.team": "shop"}
    assert set(index.document) == {"schemaVersion", "mediaType", "manifests", "annotations", "artifactType"}


async def test_unknown_fields_of_a_childs_descriptor_survive() -> None:
    store = await a_store(AMD64, ARM64)
    fields = AMD64.descriptor.to_oci() | {
        "com.example.field": [1],
        "artifactType": "application/vnd.example",
        "annotations": {"com.example.note": "kept"},
        "platform": {"architecture": "amd64", "os": "linux", "variant": "v1", "features": ["sse4"]},
    }
    listed = Index.build([Descriptor.from_oci(fields, subject="test")])
    multi = await with_index(store, listed)
    index = (await merged(store, references=[multi, named(store, ARM64.digest)])).release.index
    found = index.document["manifests"]
    assert isinstance(found, list)
    assert found[0]["com.example.field"] == [1]
    assert found[0]["artifactType"] == "application/vnd.example"
    assert found[0]["annotations"] == {"com.example.note": "kept", marks.EXECUTION: "native"}
    assert found[0]["platform"] == {"architecture": "amd64", "os": "linux", "features": ["sse4"]}


async def test_where_an_old_config_has_no_variant_the_index_says_it() -> None:
    old = an_image("linux/arm/v6", config_fields={"variant": ""})
    store = await a_store(old, AMD64)
    multi = await with_index(store, an_index(old, AMD64))
    done = await merged(store, references=[multi], expected=[planned("linux/amd64"), planned("linux/arm/v6")])
    assert [str(child.platform) for child in done.release.children] == ["linux/amd64", "linux/arm/v6"]


async def known_bad_index(store: MemoryStore, kind: str) -> Index:
    inner = an_index(AMD64)
    await store.put(inner.digest, inner)
    sbom = replace(AMD64.descriptor, media_type="application/vnd.example.sbom")
    liar = AMD64.descriptor.with_platform(Platform.parse("linux/s390x"))
    return {
        "nested": Index.build([inner.descriptor, ARM64.descriptor]),
        "stranger": Index.build([ARM64.descriptor, sbom]),
        "dangling": an_index(AMD64, ATTESTED),
        "empty": Index.build([]),
        "lying": Index.build([liar, ARM64.descriptor]),
        "double": an_index(ARM64, AMD64, AMD64),
        "data": Index.build([replace(AMD64.descriptor, extra={"data": "e30="}), ARM64.descriptor]),
        "gone": Index.build([AMD64.descriptor, a_build("linux/riscv64").descriptor]),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param("nested", "is an index inside an index", id="an index inside"),
        pytest.param("stranger", "no machine runs", id="a thing that is no image"),
        pytest.param("dangling", f"is about {ARM64.digest}, which the index does not list", id="dangling"),
        pytest.param("empty", "it lists no image", id="an empty index"),
        pytest.param("lying", "its index says linux/s390x, but its config says linux/amd64", id="a lie"),
        pytest.param("double", "linux/amd64: expected one image, found 2", id="one platform twice"),
        pytest.param("data", "data in the descriptor", id="embedded content that is another"),
        pytest.param("gone", str(a_build("linux/riscv64").digest), id="a child that is gone"),
    ],
)
async def test_an_index_that_is_no_release_is_refused(kind: str, said: str) -> None:
    store = await a_store(AMD64, ARM64, ATTESTED)
    index = await known_bad_index(store, kind)
    store.plant(Tag("bad"), index)
    store.calls.clear()
    error = await refused(store, references=[named(store, Tag("bad"))])
    assert any(said in offender for offender in error.offenders)


async def test_every_offender_is_listed_at_once() -> None:
    store, stage = await a_store(AMD64), await a_stage(AMD64, ARM64)
    error = await refused(
        store,
        references=[
            named(stage, Tag("none")),
            named(store, AMD64.digest),
            named(stage, AMD64.digest),
            named(stage, ARM64.digest),
        ],
        expected=[planned("linux/amd64/v1"), planned("linux/386")],
    )
    assert isinstance(error, MergeRefusedError)
    assert [offender.split(":")[0] for offender in error.offenders] == [
        STAGE,
        "linux/386",
        "linux/amd64",
        "linux/arm64 (stage.example.com/shop/api",
    ]
    assert error.hint == "name one good image for each platform"
    assert stage.writes == []


async def test_images_of_another_repository_are_brought_before_the_index() -> None:
    store, stage = MemoryStore(), await a_stage(AMD64, ARM64)
    done = await merged(store, references=[named(stage, AMD64.digest), named(stage, ARM64.digest)])
    kinds = [name for name, _ in store.writes]
    assert kinds[:7] == ["copy_blob"] * 4 + ["put"] * 3, "blobs, manifests, and only then the index"
    assert set(puts(store)[:2]) == {str(AMD64.digest), str(ARM64.digest)}
    assert puts(store)[2:] == [str(done.release.digest), *map(str, TAGS)]
    assert len((await verify(store, TAGS[0])).children) == 2
    assert stage.writes == []


async def test_a_second_merge_writes_nothing() -> None:
    store, stage = MemoryStore(), await a_stage(AMD64, ARM64, ATTESTED)
    multi = await with_index(stage, an_index(AMD64, ARM64, ATTESTED))
    await merged(store, references=[multi])
    store.calls.clear()
    again = await merged(store, references=[multi])
    assert again.writes == ()
    assert store.writes == []
    assert again.release.index_action == "unchanged"


async def test_a_stage_that_was_emptied_meanwhile_is_not_needed_again() -> None:
    store, stage = MemoryStore(), await a_stage(AMD64)
    record = replace(a_record(AMD64), repository=STAGE)
    await merged(store, records=[record], sources=[stage])
    stage.manifests.clear()
    stage.blobs.clear()
    store.calls.clear()
    assert (await merged(store, records=[record], sources=[stage])).writes == ()


async def test_records_of_a_stage_are_welcome_only_where_it_is_named() -> None:
    store, stage = MemoryStore(), await a_stage(AMD64)
    record = replace(a_record(AMD64), repository=STAGE)
    error = await refused(store, records=[record])
    assert isinstance(error, PlanMismatchError)
    assert f"--from {STAGE}" in error.hint
    assert len((await merged(store, records=[record], sources=[stage])).release.children) == 1


async def test_naming_one_place_welcomes_no_other() -> None:
    store, other = MemoryStore(), await a_store(AMD64, name="other.example.com/api")
    record = replace(a_record(AMD64), repository=STAGE)
    await refused(store, records=[record], sources=[other])
    assert other.calls == [], "that the image is there does not make the record right"


async def test_a_plan_for_the_stage_needs_the_stage_to_be_named() -> None:
    plan = a_plan("linux/amd64", destination=STAGE)
    build = a_build("linux/amd64", plan=plan)
    store, stage = MemoryStore(), await a_stage(build)
    record = replace(a_record(build, plan=plan), repository=STAGE)
    error = await refused(store, records=[record], plan=plan)
    assert f"the plan: expected a merge in {STAGE}, this one is in {REPOSITORY}" in error.offenders
    done = await merged(store, records=[record], plan=plan, sources=[stage])
    assert done.release.index.annotations[marks.PLAN] == str(plan.digest)


async def test_a_reference_must_be_of_the_plan_too() -> None:
    plan = a_plan("linux/amd64", "linux/arm64")
    mine = a_build("linux/amd64", plan=plan)
    store = await a_store(mine, ARM64)
    references = [named(store, mine.digest), named(store, ARM64.digest)]
    error = await refused(store, references=references, plan=plan)
    assert any(f"expected plan {plan.digest}, found none" in offender for offender in error.offenders)


async def test_an_index_that_does_not_say_what_the_plan_says_is_made_anew() -> None:
    plan = a_plan("linux/amd64", "linux/arm64")
    builds = [a_build(each, plan=plan) for each in ("linux/amd64", "linux/arm64")]
    store = await a_store(*builds)
    plain = await with_index(store, an_index(*builds))
    done = await merged(store, references=[plain], plan=plan)
    assert done.release.index.annotations[marks.PLAN] == str(plan.digest)
    foreign = Index.build(
        [build.descriptor for build in reversed(builds)], annotations=done.release.index.annotations
    )
    marked = await with_index(store, foreign, "marked")
    assert (await merged(store, references=[marked], plan=plan)).release.digest == foreign.digest


def of_commit(platform: str, commit: str) -> BuiltImage:
    return an_image(platform, annotations={marks.REVISION: commit} if commit else None)


@pytest.mark.parametrize("commits", [("a" * 40, "b" * 40), ("a" * 40, "")])
async def test_two_commits_are_joined_only_where_that_is_wanted(commits: tuple[str, str]) -> None:
    builds = [of_commit(name, commit) for name, commit in zip(THREE, commits, strict=False)]
    store = await a_store(*builds)
    references = [named(store, build.digest) for build in builds]
    if all(commits):
        assert "--mixed-revisions" in (await refused(store, references=references)).hint
    else:  # an image that says nothing contradicts nothing
        await merged(store, references=references)
    done = await merged(store, references=references, mixed=True)
    assert marks.REVISION not in done.release.index.annotations


async def test_labels_of_two_commits_are_read_with_the_images() -> None:
    builds = [an_image(name, labels={marks.REVISION: name}) for name in THREE]
    store = await a_store(*builds)
    references = [named(store, build.digest) for build in builds]
    error = await refused(store, references=references)
    assert "expected the same revision in every image, found linux/arm64" in str(error)


async def test_nothing_is_brought_where_a_newer_run_is_at_the_tag() -> None:
    store, stage = await a_store(AMD64), await a_stage(ARM64)
    newer, older = Mover(run=Run(9)), Mover(run=Run(8))
    await merged(store, references=[named(store, AMD64.digest)], mover=newer)
    store.calls.clear()
    with pytest.raises(OlderRunError):
        await merged(store, references=[named(stage, ARM64.digest)], mover=older)
    assert store.writes == []


async def test_nothing_is_brought_where_a_layer_is_missing_at_the_source() -> None:
    store, stage = MemoryStore(), await a_stage(AMD64, ARM64)
    layer = ARM64.manifest.layers[0].digest
    del stage.blobs[layer]
    error = await refused(store, references=[named(stage, each.digest) for each in (AMD64, ARM64)])
    assert any(str(layer) in offender for offender in error.offenders)


async def test_a_dry_run_tells_the_very_writes_and_makes_none() -> None:
    store, stage = await a_store(AMD64), await a_stage(AMD64, ARM64, ATTESTED)
    multi = await with_index(stage, an_index(AMD64, ARM64, ATTESTED))
    third = await a_store(a_build("linux/386"), name="third.example.com/api")
    references = [multi, named(third, a_build("linux/386").digest)]
    dry = await merged(store, references=references, dry_run=True)
    assert store.writes == []
    real = await merged(store, references=references)
    assert dry.writes == real.writes
    assert dry.release.index.raw == real.release.index.raw
    assert [write.where for write in real.writes if write.what == real.release.digest] == [
        f"{REPOSITORY}@{real.release.digest}",
        *(f"{REPOSITORY}:{tag}" for tag in TAGS),
    ]
    assert {write.action for write in real.writes} == {"copy", "put"}


async def test_a_dry_run_of_one_index_tells_that_it_will_be_written() -> None:
    store, stage = MemoryStore(), await a_stage(AMD64, ARM64)
    multi = await with_index(stage, an_index(AMD64, ARM64))
    dry = await merged(store, references=[multi], dry_run=True)
    real = await merged(store, references=[multi])
    assert (dry.release.index_action, real.release.index_action) == ("planned", "written")
    assert dry.writes == real.writes
    assert real.release.writes == 1 + len(TAGS)


async def test_a_dry_run_tells_of_the_destinations_tags_and_index_only() -> None:
    store, stage = MemoryStore(), await a_stage(AMD64, ARM64)
    references = [named(stage, AMD64.digest), named(stage, ARM64.digest)]
    await merged(stage, references=references)
    dry = await merged(store, references=references, dry_run=True)
    assert dry.release.index_action == "planned"
    assert [tag.previous for tag in dry.release.tags] == [None, None]
    assert dry.writes == (await merged(store, references=references)).writes


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(None, id="none"),
        pytest.param({"os": "Linux", "architecture": "ARM64"}, id="upper case"),
        pytest.param({"os": "linux", "architecture": "aarch64"}, id="a synonym"),
    ],
)
async def test_an_index_whose_platforms_clients_do_not_find_is_made_anew(
    words: dict[str, str] | None,
) -> None:
    store = await a_store(AMD64, ARM64)
    platform = ARM64.platform if words else None
    odd = replace(ARM64.descriptor, platform=platform, platform_fields=words)
    done = await merged(store, references=[await with_index(store, Index.build([AMD64.descriptor, odd]))])
    listed = [each["platform"] for each in json.loads(done.release.index.raw)["manifests"]]
    assert listed == [{"architecture": name, "os": "linux"} for name in ("amd64", "arm64")]


async def test_versions_of_windows_stand_beside_one_another_in_one_order() -> None:
    builds = [an_image(Platform("windows", "amd64", os_version=f"10.0.{number}")) for number in (1, 2)]
    store = await a_store(*builds)
    references = [named(store, build.digest) for build in builds]
    first = await merged(store, references=references, expected=[planned("windows/amd64")])
    again = await merged(store, references=references[::-1], expected=[planned("windows/amd64")])
    assert first.release.digest == again.release.digest
    assert len(first.release.children) == 2


@pytest.mark.parametrize("at", range(12))
async def test_interrupted_anywhere_the_same_again_brings_only_the_rest(at: int) -> None:
    store, stage = MemoryStore(), await a_stage(AMD64, ARM64, ATTESTED)
    multi = await with_index(stage, an_index(AMD64, ARM64, ATTESTED))

    def fail(_: str, __: str) -> None:
        if len(store.writes) > at:
            raise RegistryUnavailableError("gone")

    store.hook = fail
    with pytest.raises(RegistryUnavailableError):
        await merged(store, references=[multi])
    for digest in released(store).values():
        assert len((await verify(stage, digest)).children) == 2
    done = {*store.manifests, *store.blobs}
    store.hook = None
    store.calls.clear()
    again = await merged(store, references=[multi])
    blobs = {write.what for write in again.writes if write.action == "copy"}
    assert not blobs & done
    assert len((await verify(store, TAGS[0])).children) == 2


async def test_what_refers_to_an_image_comes_along() -> None:
    store, stage = MemoryStore(), await a_stage(AMD64)
    signature = a_referrer(AMD64.manifest, b"signature")
    await upload(stage, signature)
    listed = Index.build([signature.manifest.descriptor])
    await stage.put(Tag(f"sha256-{AMD64.digest.hex}"), listed)
    await merged(store, references=[named(stage, AMD64.digest)])
    assert (await store.get(signature.digest)).raw == signature.manifest.raw
    found = await store.get(Tag(f"sha256-{AMD64.digest.hex}"))
    assert isinstance(found, Index)
    assert [each.digest for each in found.manifests] == [signature.digest]
