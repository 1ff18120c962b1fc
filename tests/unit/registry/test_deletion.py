"""Deleting manifests: what registries refuse, and what a layout loses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import DeletionUnsupportedError, DeniedError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.deletion import other_way
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, an_index, upload
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

IMAGE = an_image()
OTHER = an_image("linux/arm64")


def store_in(registry: FakeRegistry) -> RegistryStore:
    options = Options(clock=FakeClock().clock, credential=Credential(USERNAME, PASSWORD))
    return RegistryStore(Repository(registry.host, "team/app"), options)


async def test_a_registry_that_deletes_nothing_says_so_at_once() -> None:
    with FakeRegistry(deletes=False) as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            with pytest.raises(DeletionUnsupportedError, match="deletes no manifests") as caught:
                await store.delete(IMAGE.digest)
            assert "storage.delete.enabled" in caught.value.hint
            assert registry.asked("DELETE", "manifest") == 1
            assert await store.head(IMAGE.digest) is not None


async def test_a_missing_permission_is_not_taken_for_a_missing_feature() -> None:
    with FakeRegistry() as registry:
        registry.faults.append(Fault("status", status=403, code="DENIED", method="DELETE"))
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            with pytest.raises(DeniedError):
                await store.delete(IMAGE.digest)


async def test_the_token_for_deleting_is_asked_for() -> None:
    with FakeRegistry(auth="bearer") as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            assert await store.delete(IMAGE.digest)
    assert any("delete" in seen.query for seen in registry.seen if seen.kind == "token")


async def test_an_answer_that_was_lost_is_asked_for_again() -> None:
    with FakeRegistry() as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            registry.faults.append(Fault("reset after", method="DELETE"))
            assert not await store.delete(IMAGE.digest), "the first try deleted it"
            assert await store.head(IMAGE.digest) is None


@pytest.mark.parametrize(
    ("host", "way"),
    [
        pytest.param("ghcr.io", "packages/container", id="GitHub"),
        pytest.param("docker.io", "hub.docker.com", id="Docker Hub"),
        pytest.param("registry.example.com", "operator", id="any other"),
    ],
)
def test_the_way_that_a_service_has_instead_is_named(host: str, way: str) -> None:
    assert way in other_way(host)


async def test_a_layout_loses_the_file_and_every_entry_that_points_at_it(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "dist")
    await upload(store, IMAGE, OTHER)
    index = an_index(IMAGE, OTHER)
    await store.put(Tag("v1"), index)
    await store.put(Tag("v2"), OTHER.manifest)
    path = tmp_path / "dist" / "index.json"
    document = json.loads(path.read_bytes())
    document["manifests"].append(index.descriptor.to_oci())  # without a tag
    path.write_text(json.dumps({**document, "x-unknown": 1}))
    assert await store.delete(index.digest)
    left = json.loads(path.read_bytes())
    assert [entry["digest"] for entry in left["manifests"]] == [str(OTHER.digest)]
    assert left["x-unknown"] == 1
    assert not (tmp_path / "dist" / "blobs" / "sha256" / index.digest.hex).exists()


async def test_nothing_is_written_to_delete_what_a_layout_does_not_hold(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "dist")
    assert not await store.delete(IMAGE.digest)
    assert not (tmp_path / "dist").exists()
    await upload(store, OTHER)
    await store.put(Tag("v1"), OTHER.manifest)
    before = (tmp_path / "dist" / "index.json").stat().st_mtime_ns
    assert not await store.delete(IMAGE.digest)
    assert (tmp_path / "dist" / "index.json").stat().st_mtime_ns == before


async def test_a_link_in_a_layout_is_removed_and_not_followed(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "dist")
    await upload(store, IMAGE)
    elsewhere = tmp_path / "precious"
    elsewhere.write_text("mine")
    link = tmp_path / "dist" / "blobs" / "sha256" / OTHER.digest.hex
    link.symlink_to(elsewhere)
    assert await store.delete(OTHER.digest)
    assert elsewhere.read_text() == "mine"
