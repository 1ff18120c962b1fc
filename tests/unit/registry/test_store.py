"""Where registries differ or misbehave without failing."""

from __future__ import annotations

import gzip

import anyio
import pytest
from anyarch.errors import (
    ContentError,
    ImmutableTagError,
    NotFoundError,
    RegistryError,
    RegistryProtocolError,
    RegistryUnavailableError,
    UsageError,
)
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import MANIFEST_MAX_BYTES
from anyarch.oci.media_type import MediaType
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.layout import LayoutStore
from anyarch.registry.requests import Request
from anyarch.registry.store import RegistryStore
from anyarch.registry.stores import open_store
from anyarch.registry.urls import Origin, Url
from anyarch.registry.wire import Wire

from tests.builders import an_image, an_index, blob_of, upload
from tests.fake_registry import FakeRegistry, Fault
from tests.fake_repositories import Repository as Held
from tests.unit.registry.clocks import FakeClock

pytestmark = pytest.mark.anyio

IMAGE = an_image()
OTHER = an_image("linux/arm64")
V1 = Tag("v1")


def store_in(registry: FakeRegistry, path: str = "team/app", clock: FakeClock | None = None) -> RegistryStore:
    options = Options(clock=(clock or FakeClock()).clock)
    return RegistryStore(Repository(registry.host, path), options)


def hold(registry: FakeRegistry, raw: bytes, media_type: str, reference: str = "v1") -> None:
    """Put bytes into the registry that it would refuse."""
    digest = str(Digest.of(raw))
    held = registry.repositories.by_name.setdefault("team/app", Held())
    held.manifests[digest] = (media_type, raw)
    held.tags[reference] = digest


@pytest.mark.parametrize("switch", ["head_digest", "head_manifests"])
async def test_a_registry_with_a_poor_head_is_asked_by_get(switch: str) -> None:
    with FakeRegistry() as registry:
        setattr(registry.switches, switch, False)
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            await store.put(V1, IMAGE.manifest)
            assert await store.head(V1) == IMAGE.manifest.descriptor
            assert await store.head(Tag("absent")) is None


async def test_what_we_wrote_just_now_may_take_a_moment() -> None:
    clock = FakeClock()
    with FakeRegistry(lag=2) as registry:
        async with store_in(registry, clock=clock) as store:
            await upload(store, IMAGE)
            assert (await store.get(IMAGE.digest)).raw == IMAGE.manifest.raw
            assert await store.head(Tag("never-written")) is None
            assert len(clock.slept) == 2


async def test_what_somebody_else_wrote_gets_no_second_look() -> None:
    clock = FakeClock()
    with FakeRegistry(lag=2) as registry:
        async with store_in(registry) as writer, store_in(registry, clock=clock) as reader:
            await upload(writer, IMAGE)
            assert await reader.head(IMAGE.digest) is None
    assert clock.slept == []


async def test_a_missing_child_is_known_at_once_though_others_are_fresh() -> None:
    clock = FakeClock()
    with FakeRegistry() as registry:
        async with store_in(registry, clock=clock) as store:
            await upload(store, IMAGE)
            with pytest.raises(NotFoundError):
                await store.put(V1, an_index(IMAGE, OTHER))
    assert clock.slept == []


async def test_an_index_waits_for_children_written_just_now() -> None:
    clock = FakeClock()
    with FakeRegistry() as registry:
        async with store_in(registry, clock=clock) as store:
            await upload(store, IMAGE)
            registry.faults.append(Fault("status", 400, method="PUT", code="MANIFEST_BLOB_UNKNOWN"))
            registry.faults.append(Fault("status", 404, method="PUT", code="MANIFEST_UNKNOWN"))
            await store.put(V1, an_index(IMAGE))
    assert len(clock.slept) == 1


async def test_an_immutable_tag_that_says_the_same_is_success() -> None:
    with FakeRegistry(immutable_tags=True) as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            await store.put(V1, IMAGE.manifest)
            await store.put(V1, IMAGE.manifest)


async def test_a_lost_answer_on_an_immutable_tag_is_success() -> None:
    with FakeRegistry(immutable_tags=True) as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            registry.faults.append(Fault("reset after", method="PUT"))
            await store.put(V1, IMAGE.manifest)


async def test_an_immutable_tag_that_says_something_else_is_an_error() -> None:
    with FakeRegistry(immutable_tags=True) as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE, OTHER)
            await store.put(V1, IMAGE.manifest)
            with pytest.raises(ImmutableTagError, match=f"exists as {IMAGE.digest}") as refused:
                await store.put(V1, OTHER.manifest)
            assert (await store.get(V1)).digest == IMAGE.digest
    assert refused.value.exit_code == 24


async def test_a_tag_that_the_registry_finds_invalid_is_not_called_immutable() -> None:
    with FakeRegistry() as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            registry.faults.append(Fault("status", 400, method="PUT", code="TAG_INVALID"))
            with pytest.raises(RegistryProtocolError, match="TAG_INVALID"):
                await store.put(V1, IMAGE.manifest)


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_tags_come_page_by_page(page: int) -> None:
    with FakeRegistry(tags_page=page) as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            for name in ("a", "b", "c"):
                await store.put(Tag(name), IMAGE.manifest)
            assert await store.tags() == ["a", "b", "c"]


async def test_the_next_page_of_tags_is_never_elsewhere() -> None:
    with (
        FakeRegistry() as stranger,
        FakeRegistry(tags_page=1, tags_link=f"{stranger.origin}/v2/x") as registry,
    ):
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            for name in ("a", "b"):
                await store.put(Tag(name), IMAGE.manifest)
            with pytest.raises(RegistryProtocolError, match="elsewhere"):
                await store.tags()
        assert stranger.seen == []


@pytest.mark.parametrize(
    ("link", "asked", "said"),
    [
        pytest.param("/v2/team/app/tags/list?n=1", 2, "goes round in circles", id="back to the first page"),
        pytest.param(
            "/v2/team/app/tags/list?n=1&last=&{number}", 5, "more than 5 pages", id="always another"
        ),
    ],
)
async def test_pages_of_tags_that_never_end_are_cut_off(
    monkeypatch: pytest.MonkeyPatch, link: str, asked: int, said: str
) -> None:
    monkeypatch.setattr("anyarch.registry.tags._PAGES_MAX", 5)
    with FakeRegistry(tags_page=1, tags_link=link) as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            for name in ("a", "b"):
                await store.put(Tag(name), IMAGE.manifest)
            with pytest.raises(RegistryProtocolError, match=said):
                await store.tags()
        assert registry.asked("GET", "tags") == asked


async def test_a_tag_longer_than_any_is_refused_before_a_million_of_them_fill_the_memory() -> None:
    with FakeRegistry() as registry:
        registry.repositories.by_name["team/app"] = Held(tags={"x" * 129: "sha256:0"})
        async with store_in(registry) as store:
            with pytest.raises(RegistryProtocolError, match="a tag of more than 128 characters"):
                await store.tags()


async def test_a_link_that_cannot_be_read_is_not_the_end_of_the_list() -> None:
    with FakeRegistry(tags_page=1, tags_link="/v2/team/app/tags/list>; rel=next <") as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            for name in ("a", "b"):
                await store.put(Tag(name), IMAGE.manifest)
            with pytest.raises(RegistryProtocolError, match="Link header is malformed"):
                await store.tags()


@pytest.mark.parametrize(
    ("raw", "media_type", "error"),
    [
        pytest.param(
            b" " * (MANIFEST_MAX_BYTES + 1), MediaType.OCI_INDEX, RegistryProtocolError, id="too long"
        ),
        pytest.param(b"<html>", "text/html", ContentError, id="a page for people"),
        pytest.param(
            an_index(IMAGE).raw, MediaType.OCI_MANIFEST, ContentError, id="announced as another kind"
        ),
        pytest.param(
            b'{"schemaVersion": 2, "schemaVersion": 2}', MediaType.OCI_INDEX, ContentError, id="twice"
        ),
        pytest.param(b"[" * 100_000, MediaType.OCI_INDEX, ContentError, id="deep"),
        pytest.param(gzip.compress(an_index(IMAGE).raw), MediaType.OCI_INDEX, ContentError, id="compressed"),
    ],
)
async def test_hostile_manifests_are_refused(raw: bytes, media_type: str, error: type[RegistryError]) -> None:
    with FakeRegistry() as registry:
        hold(registry, raw, str(media_type))
        async with store_in(registry) as store:
            with pytest.raises(error) as refused:
                await store.get(V1)
            assert registry.host in str(refused.value)


async def test_other_bytes_than_asked_for_are_refused() -> None:
    with FakeRegistry() as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE, OTHER)
            held = registry.repositories.by_name["team/app"].manifests
            held[str(IMAGE.digest)] = held[str(OTHER.digest)]
            with pytest.raises(ContentError, match=str(IMAGE.digest)):
                await store.get(IMAGE.digest)


async def test_a_body_that_never_ends_is_cut_off_while_it_is_read() -> None:
    """The limit does not wait for Content-Length, which may be absent or a lie."""
    with FakeRegistry() as registry:
        hold(registry, b"x" * (64 * 1024 * 1024), str(MediaType.OCI_INDEX))
        async with store_in(registry) as store:
            with pytest.raises(RegistryProtocolError, match="longer than 4194304 bytes"):
                await store.get(V1)


async def test_blobs_are_mounted_within_a_registry() -> None:
    with FakeRegistry() as registry:
        async with store_in(registry, "team/base") as source, store_in(registry) as store:
            await upload(source, IMAGE)
            uploads = registry.asked("PUT", "upload")
            assert await store.copy_blob(IMAGE.manifest.config, source)
            assert registry.asked("PUT", "upload") == uploads
            assert await store.has_blob(IMAGE.manifest.config)


async def test_where_mounting_does_not_work_the_bytes_travel() -> None:
    with FakeRegistry(mounts=False) as registry:
        async with store_in(registry, "team/base") as source, store_in(registry) as store:
            await upload(source, IMAGE)
            assert await store.copy_blob(IMAGE.manifest.config, source)
            registry.faults.append(Fault("status", 403, method="POST", code="DENIED"))
            assert await store.copy_blob(IMAGE.manifest.layers[0], source)
            assert await store.has_blob(IMAGE.manifest.layers[0])


async def test_with_a_token_a_mount_asks_for_both_repositories() -> None:
    from anyarch.registry.credential import Credential

    from tests.fake_registry import PASSWORD, USERNAME

    with FakeRegistry(auth="bearer") as registry:
        options = Options(credential=Credential(USERNAME, PASSWORD))
        async with (
            RegistryStore(Repository(registry.host, "team/base"), options) as source,
            RegistryStore(Repository(registry.host, "team/app"), options) as store,
        ):
            await upload(source, IMAGE)
            await store.copy_blob(IMAGE.manifest.config, source)
        queries = [seen.query for seen in registry.seen if seen.kind == "token"]
    assert any("team%2Fbase%3Apull" in query and "team%2Fapp%3Apull%2Cpush" in query for query in queries)


@pytest.mark.parametrize("ranges", [True, False], ids=["with ranges", "without ranges"])
async def test_a_download_that_breaks_is_picked_up(ranges: bool) -> None:
    content = bytes(range(256)) * 8192
    with FakeRegistry(ranges=ranges) as registry:
        registry.repositories.by_name["team/app"] = Held(blobs={str(Digest.of(content)): content})
        registry.faults.append(Fault("truncated", method="GET", times=3))
        async with store_in(registry) as store:
            assert await store.get_blob(blob_of(content), max_bytes=len(content)) == content
        asked = [seen.headers.get("Range") for seen in registry.seen]
    assert len(asked) == 4
    assert asked[0] is None
    assert all(asked[1:])


async def test_a_download_has_six_tries_and_one_deadline_however_it_fails() -> None:
    """It breaks, is refused for a while, is picked up, breaks …: not six tries of six tries each."""
    content = bytes(range(256)) * 8192
    clock = FakeClock()
    with FakeRegistry() as registry:
        registry.repositories.by_name["team/app"] = Held(blobs={str(Digest.of(content)): content})
        for _ in range(20):
            registry.faults += [
                Fault("truncated", method="GET"),
                Fault("status", 503, {"Retry-After": "25"}, method="GET"),
            ]
        options = Options(clock=clock.clock)
        async with RegistryStore(Repository(registry.host, "team/app"), options) as store:
            with pytest.raises(
                RegistryUnavailableError, match=r"status 503 .*after \d+ of \d+ bytes; 6 tries"
            ):
                await store.get_blob(blob_of(content), max_bytes=len(content))
        assert len(registry.seen) == 6
    assert sum(clock.slept) <= 120.0


async def test_a_resume_that_brings_other_bytes_is_refused() -> None:
    content = bytes(range(256)) * 2048
    with FakeRegistry(range_shift=5) as registry:
        registry.repositories.by_name["team/app"] = Held(blobs={str(Digest.of(content)): content})
        registry.faults.append(Fault("truncated", method="GET"))
        async with store_in(registry) as store:
            with pytest.raises(RegistryProtocolError, match="another range"):
                await store.get_blob(blob_of(content), max_bytes=len(content))


async def test_a_blob_that_is_not_its_digest_is_refused_before_its_last_chunk() -> None:
    content = b"x" * 300_000
    blob = blob_of(content)
    got = bytearray()

    async def read(store: RegistryStore) -> None:
        async for chunk in store.stream_blob(blob):
            got.extend(chunk)

    with FakeRegistry() as registry:
        registry.repositories.by_name["team/app"] = Held(blobs={str(blob.digest): content[:-1] + b"y"})
        async with store_in(registry) as store:
            with pytest.raises(ContentError, match=str(blob.digest)):
                await read(store)
    assert len(got) < len(content)


async def test_redirects_that_go_round_in_circles_end() -> None:
    with FakeRegistry() as registry:
        location = f"{registry.origin}/v2/team/app/manifests/v1"
        registry.faults.append(Fault("status", 307, {"Location": location}, times=100))
        async with store_in(registry) as store:
            with pytest.raises(RegistryProtocolError, match="redirects"):
                await store.get(V1)
        assert len(registry.seen) == 6


async def test_a_write_is_never_redirected() -> None:
    with FakeRegistry() as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            registry.faults.append(
                Fault("status", 307, {"Location": "/v2/other/app/manifests/v1"}, method="PUT", code="X")
            )
            with pytest.raises(RegistryProtocolError):
                await store.put(V1, IMAGE.manifest)
        assert not any("/other/" in seen.path for seen in registry.seen)


async def test_connections_are_kept() -> None:
    with FakeRegistry(auth="basic") as registry:
        from anyarch.registry.credential import Credential

        from tests.fake_registry import PASSWORD, USERNAME

        options = Options(credential=Credential(USERNAME, PASSWORD))
        async with RegistryStore(Repository(registry.host, "team/app"), options) as store:
            await upload(store, IMAGE)
            for _ in range(3):
                await store.get(IMAGE.digest)
                await store.head(Tag("absent"))
        assert registry.connections == 1


async def test_requests_are_counted_and_shown() -> None:
    shown: list[tuple[str, int]] = []
    with FakeRegistry() as registry:
        store = open_store(
            f"{registry.host}/team/app",
            observer=lambda request, status: shown.append((request.method, status)),
        )
        assert isinstance(store, RegistryStore)
        async with store:
            await upload(store, IMAGE)
            counter = store.requests
            assert counter.total == len(registry.seen) == len(shown)
            assert counter.writes == len(registry.writes) == 5
            assert counter.counts["PUT", "manifest", 201] == 1
            assert counter.by_method() == {"HEAD": 2, "POST": 2, "PUT": 3}


def test_a_destination_is_a_repository_or_a_layout_opened_anywhere() -> None:
    """Nothing is contacted yet, so no event loop is needed."""
    assert isinstance(open_store("oci:dist"), LayoutStore)
    assert open_store("oci:dist").name == "oci:dist"
    assert open_store("registry.example.com/team/app").name == "registry.example.com/team/app"
    for wrong in ("oci:", "registry.example.com/team/app:v1", "https://registry.example.com/x", ""):
        with pytest.raises(UsageError):
            open_store(wrong)


async def test_copies_within_a_host_never_wait_for_one_another() -> None:
    """Uploads hold places at the gate while their bytes come through the same gate, with resumes."""
    contents = [bytes([number]) * 700_000 for number in range(8)]
    with FakeRegistry(mounts=False) as registry:
        blobs = {str(Digest.of(content)): content for content in contents}
        registry.repositories.by_name["team/base"] = Held(blobs=blobs)
        registry.faults.append(Fault("truncated", method="GET", times=8))
        async with store_in(registry, "team/base") as source, store_in(registry) as store:
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    for content in contents:
                        group.start_soon(store.copy_blob, blob_of(content), source)
        assert registry.repositories.by_name["team/app"].blobs == blobs


async def test_plain_http_where_tls_is_expected_says_so() -> None:
    with FakeRegistry() as registry:
        clock = FakeClock()
        wire = Wire(lambda _request, _status: None, clock=clock.clock)
        _, _, port = registry.host.partition(":")
        url = Url(Origin("https", "127.0.0.1", int(port)), "/v2/team/app/tags/list")
        with pytest.raises(RegistryUnavailableError, match="does not speak TLS") as failed:
            async with wire.open(Request(method="GET", url=url, kind="tags")):
                pass
        await wire.aclose()
    assert f"--insecure-registry 127.0.0.1:{port}" in failed.value.hint
