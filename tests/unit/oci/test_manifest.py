"""Manifests: bytes kept, kinds told apart, hostile documents refused."""

from __future__ import annotations

import json

import pytest
from anyarch.errors import ContentError
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import MANIFEST_MAX_BYTES, Image, ImageConfig, Index, Manifest
from anyarch.oci.media_type import MediaType
from anyarch.oci.platforms import Platform
from hypothesis import given
from hypothesis import strategies as st

DIGEST = str(Digest.of(b"x"))


def blob(media_type: str = "application/octet-stream", **fields: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 1, **fields}


def image(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": blob(MediaType.OCI_CONFIG),
        "layers": [blob()],
    }
    return {key: value for key, value in (fields | changes).items() if value is not None}


def index(**changes: object) -> dict[str, object]:
    child = blob(MediaType.OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"})
    fields: dict[str, object] = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": [child]}
    return {key: value for key, value in (fields | changes).items() if value is not None}


def read(document: object, announced: str = "") -> Manifest:
    return Manifest.from_bytes(json.dumps(document).encode(), media_type=announced)


def test_the_bytes_are_kept_as_they_came() -> None:
    raw = (
        b'{"schemaVersion": 2 ,\n "config":'
        + json.dumps(blob(MediaType.OCI_CONFIG)).encode()
        + b',"layers":[],"x":1}'
    )
    manifest = Manifest.from_bytes(raw, media_type=MediaType.OCI_MANIFEST)
    assert isinstance(manifest, Image)
    assert manifest.raw is raw
    assert manifest.digest == Digest.of(raw)
    assert manifest.size == len(raw)


def test_an_image_and_an_index_are_told_apart_without_a_media_type() -> None:
    assert isinstance(read(image(mediaType=None)), Image)
    assert isinstance(read(index(mediaType=None)), Index)


def test_a_content_type_with_parameters_is_understood() -> None:
    assert isinstance(read(index(), f"{MediaType.OCI_INDEX}; charset=utf-8"), Index)


def test_unknown_fields_of_a_descriptor_survive_a_round_trip() -> None:
    fields = blob(
        platform={"architecture": "amd64", "os": "linux", "new.field": "kept"},
        annotations={"a": "b"},
        urls=["https://example.com"],
        artifactType="x/y",
        data="eA==",
    )
    assert Descriptor.from_oci(fields, subject="test").to_oci() == fields


def test_an_attestation_is_recognised_by_annotation_or_platform() -> None:
    marks = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": DIGEST}
    by_annotation = Descriptor.from_oci(blob(annotations=marks), subject="test")
    by_platform = Descriptor.from_oci(
        blob(platform={"os": "unknown", "architecture": "unknown"}), subject="test"
    )
    assert by_annotation.is_attestation
    assert by_annotation.attested == Digest.parse(DIGEST)
    assert by_platform.is_attestation
    assert by_platform.attested is None


child = st.builds(
    lambda content, platform: Descriptor(
        media_type=MediaType.OCI_MANIFEST,
        digest=Digest.of(content),
        size=len(content),
        platform=Platform.parse(platform),
    ),
    st.binary(),
    st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm/v6"]),
)


@given(st.lists(child, max_size=5), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3))
def test_an_index_reads_back_as_what_was_built(children: list[Descriptor], notes: dict[str, str]) -> None:
    built = Index.build(children, annotations=notes)
    again = Manifest.from_bytes(built.raw, media_type=built.media_type)
    assert isinstance(again, Index)
    assert list(again.manifests) == children
    assert again.annotations == notes
    assert Index.build(again.manifests, annotations=again.annotations).raw == built.raw


def test_equal_annotations_in_another_order_give_equal_bytes() -> None:
    assert Index.build([], annotations={"a": "1", "b": "2"}) == Index.build(
        [], annotations={"b": "2", "a": "1"}
    )


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param(image(manifests=[]), "both manifests and layers", id="image and index at once"),
        pytest.param(index(config=blob()), "both manifests and layers", id="an index with a config"),
        pytest.param(image(mediaType=MediaType.OCI_INDEX), "not what", id="an image that says index"),
        pytest.param(index(mediaType=MediaType.OCI_MANIFEST), "not what", id="an index that says image"),
        pytest.param(image(mediaType="text/plain"), "neither an image nor an index", id="a type of neither"),
        pytest.param(image(mediaType=7), "not a string", id="a media type that is a number"),
        pytest.param(image(schemaVersion=1), "schema 1", id="schema 1"),
        pytest.param(image(schemaVersion=3), "not what", id="a schema of the future"),
        pytest.param(
            image(schemaVersion=2.0), "not what", id="a schema that readers in Go take for no number"
        ),
        pytest.param({"schemaVersion": 2}, "no media type", id="nothing in it"),
        pytest.param([], "expected a JSON object", id="a list"),
    ],
)
def test_a_document_that_is_no_manifest_is_refused(document: object, says: str) -> None:
    with pytest.raises(ContentError, match=says):
        read(document)


@pytest.mark.parametrize(
    ("manifests", "says"),
    [
        pytest.param("x", "not a list", id="no list"),
        pytest.param(["x"], "must be an object", id="a string for a descriptor"),
        pytest.param([blob(digest="sha256:1")], "is not a digest", id="a bad digest"),
        pytest.param([blob(digest=None)], "is not a digest", id="no digest"),
        pytest.param([blob(size=-1)], "size is -1", id="a negative size"),
        pytest.param([blob(size=True)], "size is True", id="a size that is a truth value"),
        pytest.param([blob(size=1.5)], "size is 1.5", id="half a byte"),
        pytest.param([blob("")], "no mediaType", id="no media type"),
        pytest.param([blob(platform="linux/amd64")], "platform must be an object", id="platform as text"),
        pytest.param([blob(platform={"os": "linux"})], "needs os and architecture", id="half a platform"),
        pytest.param([blob(annotations={"a": 1})], "strings to strings", id="an annotation that is a number"),
        pytest.param([blob()] * 1001, "more than the 1000 allowed", id="too many"),
    ],
)
def test_broken_children_are_refused(manifests: object, says: str) -> None:
    found = read(index(manifests=manifests))
    assert isinstance(found, Index)
    with pytest.raises(ContentError, match=says):
        _ = found.manifests


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        pytest.param(b"", "not valid JSON", id="empty"),
        pytest.param(b'{"schemaVersion": 2', "not valid JSON", id="cut off"),
        pytest.param(b'{"schemaVersion": 2} x', "not valid JSON", id="something after it"),
        pytest.param(b'{"a": 1, "a": 2}', r"duplicate keys \['a'\]", id="a key twice"),
        pytest.param(b'{"a": {"b": 1, "b": 2}}', r"duplicate keys \['b'\]", id="a key twice, deeper"),
        pytest.param(b'{"a": NaN}', "NaN is not JSON", id="NaN"),
        pytest.param(b'{"a": "\xff"}', "not valid JSON", id="not UTF-8"),
        pytest.param(b'{"a":' + b"[" * 200_000, "too deep", id="very deep"),
        pytest.param(b" " * (MANIFEST_MAX_BYTES + 1), "more than the", id="too long"),
    ],
)
def test_hostile_bytes_are_refused(raw: bytes, says: str) -> None:
    with pytest.raises(ContentError, match=says):
        Manifest.from_bytes(raw)


LOOK_ALIKES = [
    pytest.param(index(Manifests=[]), "'Manifests'.*'manifests'", id="another list of images"),
    pytest.param(index() | {"manife\u017fts": []}, "'manifests'", id="another list, with a long s"),
    pytest.param(index(MediaType=""), "'mediaType'", id="another media type"),
    pytest.param(index(SUBJECT={}), "'subject'", id="another subject"),
    pytest.param(image(Config={}), "'config'", id="another config"),
    pytest.param(image(Layers=[]), "'layers'", id="other layers"),
    pytest.param(index(manifests=[blob(Size=2)]), "'size'", id="another size of a child"),
    pytest.param(
        index(manifests=[blob(), blob() | {"dige\u017ft": ""}]), "'digest'", id="another digest of a child"
    ),
    pytest.param(index(manifests=[blob(platform={"OS": ""})]), "'os'", id="another system of a child"),
    pytest.param(index(manifests=[blob(Platform={})]), "'platform'", id="another platform of a child"),
    pytest.param(image(config=blob(Data="")), "'data'", id="other content of a config"),
    pytest.param(image(layers=[blob(URLs=[])]), "'urls'", id="other places of a layer"),
    pytest.param(image(subject=blob(MediaType="")), "'mediaType'", id="another media type of a subject"),
]


@pytest.mark.parametrize(("document", "says"), LOOK_ALIKES)
def test_a_name_that_readers_in_go_take_for_a_field_is_refused(document: object, says: str) -> None:
    with pytest.raises(ContentError, match=says):
        read(document)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        pytest.param({"Architecture": "arm64"}, "'architecture'", id="another architecture"),
        pytest.param({"OS.version": "1"}, "'os.version'", id="another version"),
        pytest.param({"rootfs": {"Diff_Ids": []}}, "'diff_ids'", id="other layers"),
        pytest.param({"history": [{}, {"Empty_Layer": True}]}, "'empty_layer'", id="another history"),
        pytest.param({"Config": {}}, "'config'", id="other settings"),
        pytest.param({"config": {"user": "root"}}, "'User'", id="another user"),
        pytest.param({"config": {"ENV": []}}, "'Env'", id="another environment"),
        pytest.param({"config": {"Healthcheck": {"test": []}}}, "'Test'", id="another health check"),
    ],
)
def test_so_is_one_in_a_config(config: dict[str, object], says: str) -> None:
    raw = json.dumps({"os": "linux", "architecture": "amd64", **config})
    with pytest.raises(ContentError, match=says):
        ImageConfig.from_bytes(raw.encode(), subject="config")


def test_what_tools_write_besides_and_the_keys_of_maps_are_free() -> None:
    names = {"mediatype": "a", "Digest": "b", "USER": "c"}
    read(index(annotations=names, manifests=[blob(annotations=names, x=1, platform={"features": ["sse4"]})]))
    read(image(annotations=names, layers=[blob(annotations=names)], blobs=[], x={"Digest": ""}))
    settings: dict[str, object] = {
        "Hostname": "",
        "Image": "sha256:0",
        "Labels": names,
        "Volumes": {"/user": {}},
        "ExposedPorts": {"80/tcp": {}},
        "OnBuild": None,
        "Shell": ["sh"],
        "x": {"user": 1},
    }
    config = {
        "architecture": "amd64",
        "os": "linux",
        "os.version": "1",
        "os.features": [],
        "variant": "v1",
        "id": "x",
        "parent": "y",
        "comment": "",
        "docker_version": "27.0",
        "container": "z",
        "Size": 1,
        "config": settings,
        "container_config": settings,
        "moby.buildkit.buildinfo.v1": "e30=",
        "history": [{"created_by": "RUN", "empty_layer": True, "x": 1}],
        "rootfs": {"type": "layers"},
    }
    ImageConfig.from_bytes(json.dumps(config).encode(), subject="config")


def test_an_announcement_that_differs_is_refused() -> None:
    with pytest.raises(ContentError, match="announced as"):
        read(index(), MediaType.DOCKER_LIST)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["schemaVersion", "mediaType", "manifests", "layers", "config"]), inner
            )
        ),
    )
)
def test_any_json_is_a_manifest_or_one_clear_error(document: object) -> None:
    try:
        manifest = read(document)
        _ = manifest.manifests if isinstance(manifest, Index) else manifest.annotations
    except ContentError:
        pass


def test_a_config_tells_platform_and_labels() -> None:
    raw = json.dumps(
        {"os": "linux", "architecture": "arm", "variant": "v6", "config": {"Labels": {"a": "b", "c": 1}}}
    )
    config = ImageConfig.from_bytes(raw.encode(), subject="config")
    assert config.platform == Platform.parse("linux/arm/v6")
    assert config.labels == {"a": "b"}


def test_a_config_without_a_platform_is_refused_when_asked() -> None:
    with pytest.raises(ContentError, match="needs os and architecture"):
        _ = ImageConfig.from_bytes(b"{}", subject="config").platform
