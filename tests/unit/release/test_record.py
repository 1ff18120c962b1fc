"""The record: a small file from anybody. What is odd is refused with file and field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import ContentError, NotFoundError, RecordError
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.digest import Digest
from anyarch.oci.media_type import MediaType
from anyarch.oci.platforms import Platform
from anyarch.release.record import RECORD_MAX_BYTES, Record, record_from_store
from anyarch.release.record_files import is_record_name, read_records, sort_records
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import an_attestation, an_image, an_index
from tests.releases import REPOSITORY, REVISION, a_build, a_plan, a_record, a_store

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAN = a_plan()
GOOD = a_record(a_build("linux/arm64", plan=PLAN), plan=PLAN)
FILE = "records/linux-arm64.json"

digests = st.binary(max_size=4).map(Digest.of)
words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=40)
counts = st.none() | st.integers(0, 2**63 - 1)
times = st.none() | st.datetimes().map(lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0"))


def descriptors(*media_types: str) -> st.SearchStrategy[Descriptor]:
    return st.builds(
        Descriptor, media_type=st.sampled_from(media_types), digest=digests, size=st.integers(1, 4 * 1024**2)
    )


records = st.builds(
    Record,
    platform=st.sampled_from(["linux/amd64", "linux/arm/v6", "windows/amd64"]).map(Platform.parse),
    image=descriptors(MediaType.OCI_MANIFEST, MediaType.OCI_INDEX, MediaType.DOCKER_MANIFEST),
    config=descriptors(MediaType.OCI_CONFIG, MediaType.DOCKER_CONFIG),
    repository=st.sampled_from([REPOSITORY, "oci:dist"]),
    plan=st.none() | digests,
    revision=st.none() | st.from_regex(r"[0-9a-f]{7,40}", fullmatch=True),
    content_key=st.none() | digests,
    execution=st.sampled_from([None, "native", "emulated"]),
    engine_platform=st.none() | st.just(Platform("linux", "arm64")),
    engine_version=st.none() | words,
    started=times,
    ended=times,
    seconds=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True), st.floats(0, 604800), max_size=5
    ),
    steps=counts,
    cached=counts,
    bytes_pushed=counts,
    run_id=st.none() | words,
    run_attempt=st.none() | st.integers(1, 10_000),
)


@given(records)
def test_a_record_survives_its_file(record: Record) -> None:
    raw = record.to_json()
    again = Record.from_json(raw, subject=FILE)
    assert again == record
    assert again.to_json() == raw
    assert again.source == FILE


def test_the_file_is_small_and_ends_its_line() -> None:
    raw = GOOD.to_json()
    assert raw.endswith(b"}\n")
    assert len(raw) < RECORD_MAX_BYTES / 4
    assert list(json.loads(raw))[:4] == ["schema", "platform", "image", "config"]


def test_unknown_values_are_null() -> None:
    document = json.loads(a_record(an_image()).to_json())
    assert document["plan"] is None
    assert document["engine"] == {"platform": None, "version": None}
    assert document["run"] == {"id": None, "attempt": None}


def test_a_record_that_would_be_too_long_is_not_written() -> None:
    with pytest.raises(RecordError, match="8192 are allowed"):
        a_record(an_image(), run_id="x" * 9000).to_json()


def changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(GOOD.to_json()), **changes}).encode()


def image(**changes: object) -> Mapping[str, object]:
    return {"image": {**json.loads(GOOD.to_json())["image"], **changes}}


def missing(key: str) -> bytes:
    return json.dumps({k: v for k, v in json.loads(GOOD.to_json()).items() if k != key}).encode()


SHORT = GOOD.to_json().replace(b"sha256:", b"sha512:")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(b"", "not valid JSON", id="empty file"),
        pytest.param(b"sha256:abc", "not valid JSON", id="bare digest"),
        pytest.param(GOOD.to_json()[:200], "not valid JSON", id="truncated"),
        pytest.param(GOOD.to_json()[:-1] + b"{}", "not valid JSON", id="something behind it"),
        pytest.param(b"\xff\xfe{}", "not valid JSON", id="not UTF-8"),
        pytest.param(b"null", "expected a JSON object", id="null"),
        pytest.param(b" " * 8193, "more than the 8192 bytes allowed", id="too long"),
        pytest.param(
            b'{"schema": 99}',
            "schema: expected 1, got 99: a newer anyarch made this, and is needed to read it",
            id="of a newer anyarch",
        ),
        pytest.param(b"[" * 8000, "nested too deep", id="nested too deep"),
        pytest.param(b'{"schema": 1, "schema": 1}', "duplicate keys", id="duplicate key"),
        pytest.param(changed(schema=2), "schema: expected 1, got 2: a newer", id="later schema"),
        pytest.param(changed(schema=True), "schema: expected a whole number, got True", id="true for 1"),
        pytest.param(
            changed(platfrom="x"), "platfrom: unknown key; did you mean platform?", id="unknown key"
        ),
        pytest.param(changed(platform=None), "platform: expected a string, got nothing", id="null platform"),
        pytest.param(missing("platform"), "platform: missing; expected a string", id="no platform"),
        pytest.param(changed(platform="linux/arm46"), "platform: platform 'linux/arm46'", id="odd platform"),
        pytest.param(changed(platform="linux/arm64\n"), "control characters", id="line break in platform"),
        pytest.param(missing("image"), "image.digest: missing", id="no image"),
        pytest.param(
            changed(**image(digest="sha256:abc")), "image.digest: 'sha256:abc' is not", id="short digest"
        ),
        pytest.param(changed(**image(digest="")), "image.digest: empty", id="empty digest"),
        pytest.param(SHORT, "is not a digest", id="wrong length for the algorithm"),
        pytest.param(
            changed(**image(size=-1)), "image.size: expected 1 to 4194304, got -1", id="negative size"
        ),
        pytest.param(changed(**image(size=10**30)), "got a very large number", id="enormous size"),
        pytest.param(
            changed(**image(size=1.0)), "image.size: expected a whole number, got 1.0", id="float size"
        ),
        pytest.param(
            changed(**image(size="9")), "image.size: expected a whole number, got '9'", id="string size"
        ),
        pytest.param(
            changed(**image(media_type="text/html")), "text/html is neither", id="media type of no image"
        ),
        pytest.param(changed(**image(urls=["x"])), "image.urls: unknown key", id="more in the descriptor"),
        pytest.param(changed(image=[]), "image: expected a table, got a list", id="list for the image"),
        pytest.param(
            changed(repository="http://r/a"), "repository: 'http://r/a'", id="repository with a scheme"
        ),
        pytest.param(changed(repository="r/a\x1b[2J"), "control characters", id="escape sequence"),
        pytest.param(
            changed(revision="a b"), "revision: 'a b' is not a revision", id="revision with a space"
        ),
        pytest.param(changed(plan="none"), "plan: 'none' is not a digest", id="plan no digest"),
        pytest.param(changed(execution="fast"), "execution: expected native or emulated", id="odd execution"),
        pytest.param(changed(started="yesterday"), "started: 'yesterday' is not a time", id="odd time"),
        pytest.param(changed(started="2026-01-31T12:00:00+01:00"), "is not a time", id="time not in UTC"),
        pytest.param(changed(seconds={"build": -1}), "seconds.build: expected 0 to", id="negative seconds"),
        pytest.param(changed(seconds={"A b": 1}), 'seconds."A b": not the name of a phase', id="odd phase"),
        pytest.param(changed(seconds={f"p{n}": 1 for n in range(40)}), "40 phases", id="many phases"),
        pytest.param(
            GOOD.to_json().replace(b'"seconds": {}', b'"seconds": {"a": 1e999}'),
            "too large a number",
            id="infinity",
        ),
        pytest.param(GOOD.to_json().replace(b'"steps": null', b'"steps": NaN'), "NaN is not JSON", id="NaN"),
        pytest.param(
            changed(run={"id": "1", "attempt": 0}), "run.attempt: expected 1 to 10000", id="attempt 0"
        ),
        pytest.param(changed(run={"id": "x" * 200}), "run.id: 200 characters", id="long run id"),
        pytest.param(
            changed(engine="dagger"), "engine: expected a table, got 'dagger'", id="string for engine"
        ),
    ],
)
def test_known_bad(raw: bytes, said: str) -> None:
    with pytest.raises(RecordError) as caught:
        Record.from_json(raw, subject=FILE)
    assert said in str(caught.value)
    assert all(offender.startswith(FILE) for offender in caught.value.offenders)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(sorted(json.loads(GOOD.to_json()))), json_values)
def test_any_value_in_any_field_is_read_or_refused(key: str, value: object) -> None:
    raw = json.dumps({**json.loads(GOOD.to_json()), key: value}).encode()
    try:
        Record.from_json(raw, subject=FILE).to_json()
    except RecordError as error:
        assert error.offenders  # noqa: PT017  both outcomes are right


@given(st.integers(0, len(GOOD.to_json()) - 1), st.binary(max_size=3))
def test_any_damage_is_read_or_refused(place: int, other: bytes) -> None:
    raw = GOOD.to_json()
    try:
        Record.from_json(raw[:place] + other + raw[place + 1 :], subject=FILE)
    except RecordError as error:
        assert error.offenders  # noqa: PT017  as above


def test_all_bad_files_of_a_folder_are_named() -> None:
    named = {"a.json": b"{", "b.json": GOOD.to_json(), "c.json": changed(platform=1, steps=-1)}
    with pytest.raises(RecordError) as caught:
        read_records(named)
    assert [offender.partition(": ")[0] for offender in caught.value.offenders] == [
        "a.json",
        "c.json",
        "c.json",
    ]


def test_of_a_newer_record_nothing_else_is_said() -> None:
    with pytest.raises(RecordError) as caught:
        Record.from_json(changed(schema=99, invented="later"), subject=FILE)
    assert len(caught.value.offenders) == 1


def test_what_was_not_read_is_named_beside_what_was() -> None:
    found, offenders = sort_records({"a.json": "expected a file", "b.json": GOOD.to_json(), "c.json": b"{"})
    assert [record.source for record in found] == ["b.json"]
    assert [offender.partition(": ")[0] for offender in offenders] == ["a.json", "c.json"]


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        pytest.param("a.json", True, id="in the folder"),
        pytest.param("record-1/a.json", True, id="one level deep"),
        pytest.param("a/b/c.json", False, id="deeper"),
        pytest.param("a.txt", False, id="of another kind"),
        pytest.param(".a.json", False, id="half written"),
        pytest.param("record-1/.a.json", False, id="half written one level deep"),
        pytest.param("a.json/", True, id="a folder that looks like one"),
    ],
)
def test_what_counts_as_a_record(path: str, counts: bool) -> None:
    assert is_record_name(path) is counts


def test_good_files_are_read_in_the_order_of_their_names() -> None:
    other = a_record(a_build("linux/386"))
    found = read_records({"b.json": GOOD.to_json(), "a.json": other.to_json()})
    assert [(record.source, str(record.platform)) for record in found] == [
        ("a.json", "linux/386"),
        ("b.json", "linux/arm64"),
    ]


def test_an_empty_folder_is_an_error() -> None:
    with pytest.raises(RecordError, match="there is no record"):
        read_records({})


@pytest.mark.anyio
async def test_the_record_is_made_from_what_the_store_holds() -> None:
    build = a_build("linux/arm64", plan=PLAN)
    store = await a_store(build)
    record = await record_from_store(
        store,
        build.digest,
        platform=build.platform,
        plan=PLAN.digest,
        revision=REVISION,
        execution="native",
        seconds={"build": 1.5},
    )
    assert record.image == build.manifest.descriptor
    assert record.config == build.manifest.config
    assert (record.repository, record.plan, dict(record.seconds)) == (REPOSITORY, PLAN.digest, {"build": 1.5})
    assert Record.from_json(record.to_json(), subject=FILE) == record
    assert store.writes == []


@pytest.mark.anyio
async def test_the_record_of_an_image_with_attestations_names_the_index_and_the_images_config() -> None:
    build = a_build("linux/arm64")
    attestation = an_attestation(build)
    index = an_index(build, attestation)
    store = await a_store(build, attestation)
    await store.put(index.digest, index)
    record = await record_from_store(store, index.digest, platform=build.platform)
    assert record.image == index.descriptor
    assert record.config == build.manifest.config


@pytest.mark.anyio
async def test_an_image_for_another_platform_gets_no_record() -> None:
    build = a_build("linux/amd64")
    store = await a_store(build)
    with pytest.raises(ContentError, match="expected an image for linux/arm64, found linux/amd64"):
        await record_from_store(store, build.digest, platform=Platform("linux", "arm64"))


@pytest.mark.anyio
async def test_an_image_that_is_not_there_gets_no_record() -> None:
    store = await a_store()
    with pytest.raises(NotFoundError):
        await record_from_store(store, Digest.of(b"x"), platform=Platform("linux", "arm64"))
