"""Verify reads everything again and names each fault, whoever made the image."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import MergeRefusedError, NotFoundError, RegistryUnavailableError, VerifyFailedError
from anyarch.oci import strict_json
from anyarch.oci.manifest import Image, Index, Manifest
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.release.publish import merge
from anyarch.release.verify import verify

from tests.builders import BuiltImage, an_attestation, an_image, an_index, blob_of
from tests.memory_store import fail_once
from tests.releases import REPOSITORY, THREE, a_build, a_plan, a_record, a_store, three_builds

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyarch.oci.descriptor import Descriptor

    from tests.memory_store import MemoryStore

pytestmark = pytest.mark.anyio

TAG = Tag("1.2.3")
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
ARM, AMD = an_image("linux/arm64"), an_image("linux/amd64")


async def holding(index: Index, *builds: BuiltImage) -> MemoryStore:
    store = await a_store(*builds)
    store.plant(TAG, index)
    store.calls.clear()
    return store


async def faults(store: MemoryStore, *platforms: Platform) -> tuple[str, ...]:
    with pytest.raises(VerifyFailedError) as caught:
        await verify(store, TAG, platforms=platforms)
    assert caught.value.what == f"{REPOSITORY}:1.2.3 is not what it should be"
    return caught.value.offenders


async def test_what_merge_publishes_verifies() -> None:
    store, records = await three_builds()
    release = await merge(store, records, tags=[TAG])
    store.calls.clear()
    verification = await verify(store, TAG, platforms=[Platform.parse(name) for name in THREE])
    assert verification.digest == release.digest
    assert [
        (child.platform, child.digest, child.total_bytes, child.execution) for child in verification.children
    ] == [(child.platform, child.digest, child.total_bytes, "native") for child in release.children]
    assert store.writes == []


async def test_a_digest_verifies_as_a_tag_does() -> None:
    index = an_index(AMD, ARM)
    store = await holding(index, AMD, ARM)
    assert (await verify(store, index.digest)).digest == index.digest


async def test_without_platforms_any_set_is_fine() -> None:
    store = await holding(an_index(AMD), AMD)
    assert [child.platform for child in (await verify(store, TAG)).children] == [AMD64]


async def test_a_single_image_is_a_set_of_one() -> None:
    store = await a_store(ARM)
    (child,) = (await verify(store, ARM.digest, platforms=[ARM64])).children
    assert child.platform == ARM64
    with pytest.raises(VerifyFailedError, match="linux/amd64: missing; found only linux/arm64"):
        await verify(store, ARM.digest, platforms=[AMD64, ARM64])


async def test_dockers_list_verifies() -> None:
    images = [an_image(name, docker=True) for name in THREE]
    store = await holding(an_index(*images, docker=True), *images)
    assert len((await verify(store, TAG)).children) == 3


async def test_attestations_are_counted_with_their_image() -> None:
    attestation = an_attestation(ARM)
    store = await holding(an_index(AMD, ARM, attestation), AMD, ARM, attestation)
    verification = await verify(store, TAG, platforms=[AMD64, ARM64])
    assert [child.attestations for child in verification.children] == [0, 1]


async def test_windows_versions_are_different_platforms_and_one_word() -> None:
    versions = [
        an_image(Platform("windows", "amd64", "", version), files={"v": version.encode()})
        for version in ("10.0.17763.1", "10.0.20348.1")
    ]
    store = await holding(an_index(*versions), *versions)
    assert len((await verify(store, TAG, platforms=[Platform("windows", "amd64")])).children) == 2


async def test_an_older_tools_config_without_variant_is_no_fault() -> None:
    old = an_image("linux/arm/v6", config_fields={"variant": ""})
    store = await holding(an_index(old), old)
    assert len((await verify(store, TAG, platforms=[Platform("linux", "arm", "v6")])).children) == 1


async def test_one_image_without_a_platform_is_read_from_its_config() -> None:
    store = await holding(Index.build([ARM.manifest.descriptor]), ARM)
    assert [child.platform for child in (await verify(store, TAG)).children] == [ARM64]


@pytest.mark.parametrize(
    ("children", "asked"),
    [
        pytest.param([ARM.manifest.descriptor], [ARM64], id="alone, and asked for"),
        pytest.param([AMD.descriptor, ARM.manifest.descriptor], [], id="beside another"),
        pytest.param([AMD.descriptor, ARM.manifest.descriptor], [AMD64, ARM64], id="one of two asked for"),
    ],
)
async def test_an_image_that_its_index_names_no_platform_for_is_a_fault(
    children: list[Descriptor], asked: list[Platform]
) -> None:
    store = await holding(Index.build(children), AMD, ARM)
    (fault,) = await faults(store, *asked)
    assert fault.startswith(f"linux/arm64 {ARM.digest}: the index names no platform for it")


def spelled(image: BuiltImage, **words: str) -> Descriptor:
    return replace(image.descriptor, platform_fields=words)


@pytest.mark.parametrize(
    ("child", "said"),
    [
        pytest.param(spelled(AMD, os="Linux", architecture="AMD64"), "Linux/AMD64", id="upper case"),
        pytest.param(spelled(AMD, os="linux", architecture="x86_64"), "linux/x86_64", id="the kernel's word"),
        pytest.param(
            spelled(ARM, os="linux", architecture="arm64", variant="V8"), "linux/arm64/V8", id="variant"
        ),
        pytest.param(
            spelled(ARM, os="linux", architecture="arm64", variant="8"), "linux/arm64/8", id="half a variant"
        ),
    ],
)
async def test_a_platform_in_words_that_clients_do_not_look_for_is_a_fault(
    child: Descriptor, said: str
) -> None:
    store = await holding(Index.build([child]), AMD, ARM)
    for asked in ([], [child.platform or AMD64]):
        (fault,) = await faults(store, *asked)
        assert f"the index spells it {said}: clients that look for {child.platform}" in fault


@pytest.mark.parametrize(
    "child",
    [
        pytest.param(spelled(ARM, os="linux", architecture="arm64", variant="v8"), id="arm64/v8"),
        pytest.param(spelled(AMD, os="linux", architecture="amd64", variant="v1"), id="amd64/v1"),
        pytest.param(spelled(AMD, os="linux", architecture="amd64", variant=""), id="an empty variant"),
        pytest.param(
            spelled(an_image("linux/arm"), os="linux", architecture="arm"), id="arm without a variant"
        ),
    ],
)
async def test_a_variant_that_goes_without_saying_may_be_said(child: Descriptor) -> None:
    store = await holding(Index.build([child]), AMD, ARM, an_image("linux/arm"))
    asked = [child.platform or AMD64]
    assert [each.digest for each in (await verify(store, TAG, platforms=asked)).children] == [child.digest]


DIFF_ID = str(AMD.digest)
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DISTRIBUTABLE = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"rootfs": None}, "has no rootfs", id="no rootfs"),
        pytest.param({"rootfs": ["x"]}, "has no rootfs", id="rootfs that is a list"),
        pytest.param({"rootfs": {"diff_ids": [DIFF_ID]}}, "is of type None, expected layers", id="no type"),
        pytest.param(
            {"rootfs": {"type": "layers+base"}}, "is of type layers+base, expected layers", id="another type"
        ),
        pytest.param(
            {"rootfs": {"type": "layers"}}, "lists 0 layers (rootfs.diff_ids), its manifest 1", id="none"
        ),
        pytest.param(
            {"rootfs": {"type": "layers", "diff_ids": [DIFF_ID] * 2}}, "lists 2 layers", id="one too many"
        ),
        pytest.param({"rootfs": {"type": "layers", "diff_ids": "x"}}, "no list of digests", id="no list"),
        pytest.param(
            {"rootfs": {"type": "layers", "diff_ids": ["x"]}}, "no list of digests", id="no digests"
        ),
    ],
)
async def test_a_config_that_does_not_list_the_layers_is_a_fault(
    fields: dict[str, object], said: str
) -> None:
    image = an_image("linux/arm64", config_fields=fields)
    store = await holding(an_index(image), image)
    (fault,) = await faults(store)
    assert fault.startswith(f"linux/arm64 {image.digest}: ")
    assert said in fault
    with pytest.raises(MergeRefusedError, match=re.escape(said)):
        await merge(store, [a_record(image, execution=None)], dry_run=True)


def of_layers(*kinds: str, urls: bool = False) -> BuiltImage:
    """One image, whose layers all have the same bytes and are of these types."""
    whole = an_image("linux/arm64")
    image = an_image(
        "linux/arm64", config_fields={"rootfs": {"type": "layers", "diff_ids": [DIFF_ID] * len(kinds)}}
    )
    (layer,) = image.manifest.layers
    more = {"urls": ["https://example.com/layer"]} if urls else {}
    layers = [{**layer.to_oci(), "mediaType": kind, **more} for kind in kinds]
    manifest = Manifest.from_bytes(strict_json.dumps({**image.manifest.document, "layers": layers}))
    assert isinstance(manifest, Image)
    return replace(image, manifest=manifest, blobs={**whole.blobs, **image.blobs})


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("text/html", id="a page"),
        pytest.param("application/json", id="JSON"),
        pytest.param("application/octet-stream", id="anything"),
        pytest.param("application/vnd.in-toto+json", id="a statement"),
        pytest.param("application/vnd.oci.image.config.v1+json", id="a config"),
        pytest.param("application/vnd.oci.image.manifest.v1+json", id="a manifest"),
        pytest.param("application/vnd.oci.empty.v1+json", id="the empty descriptor"),
        pytest.param("application/vnd.oci.image.layer.v1.tar+rar", id="an unknown compression"),
        pytest.param("Application/vnd.oci.image.layer.v1.tar", id="upper case"),
    ],
)
async def test_a_layer_that_no_runtime_unpacks_is_a_fault(kind: str) -> None:
    image = of_layers(DISTRIBUTABLE, kind)
    store = await holding(an_index(image), image)
    (fault,) = await faults(store)
    assert f"its layer {image.manifest.layers[1].digest} is a {kind}, which no runtime unpacks" in fault
    with pytest.raises(MergeRefusedError, match="which no runtime unpacks"):
        await merge(store, [a_record(image, execution=None)], dry_run=True)


@pytest.mark.parametrize(
    "kind",
    [
        *(
            f"application/vnd.oci.image.layer.v1.tar{how}"
            for how in ("", "+gzip", "+zstd", "+gzip+encrypted")
        ),
        *(f"application/vnd.oci.image.layer.nondistributable.v1.tar{how}" for how in ("", "+gzip", "+zstd")),
        *(
            f"application/vnd.docker.image.rootfs.diff.tar{how}"
            for how in ("", ".gzip", ".zstd", "+encrypted")
        ),
        FOREIGN,
        "application/vnd.oci.image.layer.nydus.blob.v1",
        "application/vnd.erofs.layer.v1",
        "application/vnd.wasm.content.layer.v1+wasm",
    ],
)
async def test_a_layer_that_some_runtime_unpacks_is_none(kind: str) -> None:
    image = of_layers(kind)
    store = await holding(an_index(image), image)
    assert len((await verify(store, TAG)).children) == 1


@pytest.mark.parametrize(
    ("kind", "urls", "excused"),
    [
        pytest.param(FOREIGN, True, True, id="foreign, with an address"),
        pytest.param(FOREIGN, False, False, id="foreign, and nowhere"),
        pytest.param(DISTRIBUTABLE, True, False, id="any other, with an address"),
    ],
)
async def test_a_layer_may_be_away_only_if_it_may_not_be_pushed(kind: str, urls: bool, excused: bool) -> None:
    image = of_layers(kind, urls=urls)
    store = await holding(an_index(image), image)
    del store.blobs[image.manifest.layers[0].digest]
    if excused:
        await verify(store, TAG)
        await merge(store, [a_record(image, execution=None)], dry_run=True)
        return
    assert "is not there" in (await faults(store))[0]
    with pytest.raises(MergeRefusedError, match="no longer has it"):
        await merge(store, [a_record(image, execution=None)], dry_run=True)


async def test_optional_platforms_that_are_missing_are_told() -> None:
    plan = a_plan("linux/amd64", optional=["linux/s390x"])
    build = a_build("linux/amd64", plan=plan)
    store = await a_store(build)
    await merge(store, [a_record(build, plan=plan)], plan=plan, tags=[TAG])
    assert (await verify(store, TAG)).missing == ("linux/s390x",)


def without_manifest(store: MemoryStore) -> None:
    del store.manifests[ARM.digest]


def without_config(store: MemoryStore) -> None:
    del store.blobs[ARM.manifest.config.digest]


def without_layer(store: MemoryStore) -> None:
    del store.blobs[ARM.manifest.layers[0].digest]


def with_short_layer(store: MemoryStore) -> None:
    store.blobs[ARM.manifest.layers[0].digest] = b"short"


def with_other_config(store: MemoryStore) -> None:
    store.blobs[ARM.manifest.config.digest] = b"x" * ARM.manifest.config.size


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(without_manifest, f"{ARM.digest}", id="child gone"),
        pytest.param(without_config, f"{ARM.manifest.config.digest}", id="config gone"),
        pytest.param(
            without_layer, f"its blob {ARM.manifest.layers[0].digest} is not there", id="layer gone"
        ),
        pytest.param(with_short_layer, "is not there", id="layer of another size"),
        pytest.param(with_other_config, "the bytes received are", id="config of other bytes"),
    ],
)
async def test_what_is_gone_or_damaged_is_named(damage: Callable[[MemoryStore], None], said: str) -> None:
    store = await holding(an_index(AMD, ARM), AMD, ARM)
    damage(store)
    (fault,) = await faults(store, AMD64, ARM64)
    assert fault.startswith(f"linux/arm64 {ARM.digest}: ")
    assert said in fault


LIAR = an_image("linux/arm64", config_fields={"architecture": "amd64"})
STRANGER = an_attestation(an_image("linux/386"))
V8 = {"os": "linux", "architecture": "arm64", "variant": "v8"}
HELM = replace(ARM.descriptor, media_type="application/vnd.cncf.helm.chart")


@pytest.mark.parametrize(
    ("children", "said"),
    [
        pytest.param([ARM.descriptor], "linux/amd64: missing; found only linux/arm64", id="missing"),
        pytest.param(
            [AMD.descriptor, ARM.descriptor, an_image("linux/386").descriptor],
            "linux/386: not expected; expected only linux/amd64, linux/arm64",
            id="extra",
        ),
        pytest.param(
            [AMD.descriptor, ARM.descriptor, replace(ARM.descriptor, platform_fields=V8)],
            "linux/arm64: expected once, found 2 times",
            id="twice after normalisation",
        ),
        pytest.param(
            [AMD.descriptor, LIAR.descriptor],
            f"linux/arm64 {LIAR.digest}: the index says linux/arm64, but its config says linux/amd64",
            id="lying child",
        ),
        pytest.param(
            [AMD.descriptor, replace(ARM.descriptor, size=1)],
            "its descriptor says size 1, found",
            id="wrong size",
        ),
        pytest.param(
            [AMD.descriptor, ARM.descriptor, STRANGER.descriptor],
            "which the index does not hold",
            id="dangling",
        ),
        pytest.param(
            [AMD.descriptor, ARM.descriptor, an_index(ARM).descriptor],
            "an index inside the index",
            id="nested",
        ),
        pytest.param([AMD.descriptor, ARM.descriptor, HELM], "which no machine runs", id="chart"),
        pytest.param([], "it holds no image at all", id="empty index"),
    ],
)
async def test_a_wrong_index_is_named(children: list[Descriptor], said: str) -> None:
    store = await holding(Index.build(children), AMD, ARM, LIAR, an_image("linux/386"), STRANGER)
    assert any(said in fault for fault in await faults(store, AMD64, ARM64))


@pytest.mark.parametrize("part", ["layer", "config"])
async def test_an_attestations_own_blobs_are_checked(part: str) -> None:
    attestation = an_attestation(ARM)
    store = await holding(an_index(ARM, attestation), ARM, attestation)
    manifest = attestation.manifest
    gone = manifest.config.digest if part == "config" else manifest.layers[0].digest
    del store.blobs[gone]
    assert await faults(store) == (f"attestation {attestation.digest}: its blob {gone} is not there",)


async def test_an_artifact_in_the_index_is_no_image() -> None:
    sbom = an_image("linux/386")
    config = replace(sbom.manifest.config, media_type="application/vnd.example.sbom")
    manifest = replace(sbom.manifest, document={**sbom.manifest.document, "config": config.to_oci()})
    store = await holding(an_index(sbom), sbom)
    store.manifests[sbom.digest] = manifest
    assert "is no image that a machine runs" in (await faults(store))[0]


async def test_every_fault_is_listed_at_once() -> None:
    store = await holding(
        Index.build([LIAR.descriptor, STRANGER.descriptor, AMD.descriptor]), LIAR, AMD, STRANGER
    )
    del store.blobs[AMD.manifest.layers[0].digest]
    found = "\n".join(await faults(store, AMD64, ARM64, Platform("linux", "s390x")))
    for said in ("linux/s390x: missing", "its config says", "does not hold", "its blob"):
        assert said in found


async def test_a_tag_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        await verify(await a_store(), TAG)


async def test_a_registry_that_fails_is_no_fault_of_the_image() -> None:
    store = await holding(an_index(ARM), ARM)
    store.hook = fail_once("get", str(ARM.digest), RegistryUnavailableError("down"))
    with pytest.raises(RegistryUnavailableError):
        await verify(store, TAG)


async def test_hostile_descriptors_cost_one_line_each() -> None:
    gone = [
        replace(blob_of(str(number).encode()), media_type=ARM.manifest.media_type) for number in range(50)
    ]
    store = await holding(Index.build(gone))
    assert len(await faults(store)) == 50
