from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyarch.errors import ContentError, NotFoundError, RegistryUnavailableError
from anyarch.oci.manifest import Index
from anyarch.oci.reference import Repository
from anyarch.registry.client import Options
from anyarch.registry.copy import copy_image
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, an_index, upload
from tests.fake_registry import FakeRegistry, Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

IMAGES = [
    an_image(platform, files={"same": b"layer"}) for platform in ("linux/amd64", "linux/arm64", "linux/386")
]
INDEX = an_index(*IMAGES)


@pytest.fixture
async def source(tmp_path: Path) -> LayoutStore:
    layout = LayoutStore(tmp_path / "source")
    await upload(layout, *IMAGES)
    await layout.put(INDEX.digest, INDEX)
    return layout


def store_in(registry: FakeRegistry) -> RegistryStore:
    return RegistryStore(Repository(registry.host, "team/app"), Options(clock=FakeClock().clock))


async def test_a_layer_that_all_share_travels_once(source: LayoutStore) -> None:
    with FakeRegistry() as registry:
        async with store_in(registry) as target:
            await copy_image(source, target, INDEX.digest)
        assert registry.asked("PUT", "upload") == 1 + len(IMAGES)
        assert registry.asked("PUT", "manifest") == len(IMAGES) + 1


async def test_the_index_comes_last(source: LayoutStore) -> None:
    with FakeRegistry() as registry:
        async with store_in(registry) as target:
            await copy_image(source, target, INDEX.digest)
        assert registry.writes[-1].path.endswith(str(INDEX.digest))
        kinds = [seen.kind for seen in registry.writes]
        assert kinds == sorted(kinds, key=["upload", "manifest"].index)


async def test_interrupted_anywhere_a_second_copy_completes_it(source: LayoutStore) -> None:
    requests = 3 + 4 * 3 + 3 + 2
    for since in range(0, requests, 2):
        with FakeRegistry() as registry:
            registry.faults.append(Fault("reset after", since=since, times=1000))
            async with store_in(registry) as target:
                with pytest.raises(RegistryUnavailableError):
                    await copy_image(source, target, INDEX.digest)
                registry.faults.clear()
                await copy_image(source, target, INDEX.digest)
                assert (await target.get(INDEX.digest)).raw == INDEX.raw
                writes = len(registry.writes)
                await copy_image(source, target, INDEX.digest)
                assert len(registry.writes) == writes


async def test_an_image_alone(source: LayoutStore, tmp_path: Path) -> None:
    target = LayoutStore(tmp_path / "target")
    copied = await copy_image(source, target, IMAGES[0].digest)
    assert copied.raw == IMAGES[0].manifest.raw
    assert await target.head(IMAGES[1].digest) is None


async def test_an_index_of_indexes_is_copied_whole(source: LayoutStore, tmp_path: Path) -> None:
    outer = Index.build([INDEX.descriptor, IMAGES[0].descriptor])
    await source.put(outer.digest, outer)
    target = LayoutStore(tmp_path / "target")
    await copy_image(source, target, outer.digest)
    assert (await target.get(outer.digest)).raw == outer.raw
    assert (await target.get(INDEX.digest)).raw == INDEX.raw


async def test_nesting_has_an_end(source: LayoutStore, tmp_path: Path) -> None:
    inner = INDEX
    for _ in range(5):
        inner = Index.build([inner.descriptor])
        await source.put(inner.digest, inner)
    with pytest.raises(ContentError, match="nested"):
        await copy_image(source, LayoutStore(tmp_path / "target"), inner.digest)
    assert not (tmp_path / "target").exists()


async def test_a_missing_layer_is_one_error_and_no_manifest(source: LayoutStore, tmp_path: Path) -> None:
    layer = IMAGES[0].manifest.layers[0].digest
    (source.path / "blobs" / "sha256" / layer.hex).unlink()
    target = LayoutStore(tmp_path / "target")
    with pytest.raises(NotFoundError, match=str(layer)):
        await copy_image(source, target, INDEX.digest)
    assert await target.head(INDEX.digest) is None
