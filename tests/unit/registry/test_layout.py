from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, cast

import anyio
import pytest
from anyarch.errors import (
    AnyarchError,
    ContentError,
    FileProblemError,
    NotFoundError,
    RegistryUnavailableError,
)
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Tag
from anyarch.registry.layout import LayoutStore

from tests.builders import BlobSource, an_image, an_index, blob_of, upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.store import Store

pytestmark = pytest.mark.anyio

IMAGE = an_image()
V1 = Tag("v1")


@pytest.fixture
async def layout(tmp_path: Path) -> LayoutStore:
    store = LayoutStore(tmp_path / "dist")
    await upload(store, IMAGE)
    await store.put(V1, IMAGE.manifest)
    return store


def entries(layout: LayoutStore) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((layout.path / "index.json").read_text())["manifests"]
    return found


def blob_path(layout: LayoutStore, digest: Digest) -> Path:
    return layout.path / "blobs" / digest.algorithm / digest.hex


async def test_the_folder_is_what_the_specification_says(layout: LayoutStore) -> None:
    assert json.loads((layout.path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert entries(layout) == [
        {
            "mediaType": IMAGE.manifest.media_type,
            "digest": str(IMAGE.digest),
            "size": IMAGE.manifest.size,
            "annotations": {"org.opencontainers.image.ref.name": "v1"},
        }
    ]
    files = {str(path.relative_to(layout.path)) for path in layout.path.rglob("*") if path.is_file()}
    blobs = {f"blobs/sha256/{digest.hex}" for digest in (*IMAGE.blobs, IMAGE.digest)}
    assert files == {"oci-layout", "index.json"} | blobs


async def test_skopeo_reads_it(layout: LayoutStore, tmp_path: Path) -> None:
    other = an_image("linux/386")
    await upload(layout, other)
    index = an_index(IMAGE, other)
    await layout.put(Tag("both"), index)
    skopeo = shutil.which("skopeo") or pytest.fail("apt-get install skopeo")
    source = f"oci:{layout.path}:both"
    raw = await anyio.run_process([skopeo, "inspect", "--raw", source])
    assert raw.stdout == index.raw
    target = f"dir:{tmp_path / 'out'}"
    await anyio.run_process([skopeo, "copy", "--quiet", "--all", "--preserve-digests", source, target])


async def test_a_layout_that_skopeo_wrote_is_read(layout: LayoutStore, tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo") or pytest.fail("apt-get install skopeo")
    target = f"oci:{tmp_path / 'theirs'}:v2"
    await anyio.run_process([skopeo, "copy", "--quiet", f"oci:{layout.path}:v1", target])
    theirs = LayoutStore(tmp_path / "theirs")
    assert await theirs.tags() == ["v2"]
    assert (await theirs.get(Tag("v2"))).digest == IMAGE.digest
    await theirs.put(V1, IMAGE.manifest)
    assert await theirs.tags() == ["v1", "v2"]


async def test_entries_and_fields_of_others_stay(layout: LayoutStore) -> None:
    path = layout.path / "index.json"
    document = json.loads(path.read_text())
    theirs = {**document["manifests"][0], "annotations": {"their.own": "entry"}, "x-field": [1]}
    document = {**document, "x-unknown": {"kept": True}, "manifests": [theirs, *document["manifests"]]}
    path.write_text(json.dumps(document))
    await layout.put(Tag("v2"), IMAGE.manifest)
    after = json.loads(path.read_text())
    assert after["x-unknown"] == {"kept": True}
    assert after["manifests"][0] == theirs
    assert await layout.tags() == ["v1", "v2"]


async def test_an_unchanged_tag_is_not_written_again(layout: LayoutStore) -> None:
    before = (layout.path / "index.json").stat().st_ino
    await layout.put(V1, IMAGE.manifest)
    assert (layout.path / "index.json").stat().st_ino == before


async def test_a_reader_of_the_old_index_keeps_the_old_one(layout: LayoutStore) -> None:
    """A changed file is a new file put in its place, never the old one written over."""
    with (layout.path / "index.json").open("rb") as old:
        before = (layout.path / "index.json").read_bytes()
        await layout.put(Tag("v2"), IMAGE.manifest)
        assert old.read() == before


async def test_many_writers_lose_no_tag(layout: LayoutStore) -> None:
    async with anyio.create_task_group() as group:
        for number in range(20):
            store = LayoutStore(layout.path)
            group.start_soon(store.put, Tag(f"t{number}"), IMAGE.manifest)
    assert len(await layout.tags()) == 21


async def test_a_lock_file_that_is_not_ours_is_not_removed(layout: LayoutStore) -> None:
    from anyarch.registry.layout_files import LayoutFiles

    lock = layout.path / "index.json.lock"
    with LayoutFiles(layout.path).lock():
        lock.unlink()
        lock.write_text("of another tool, which removed ours")
    assert lock.exists()


async def test_a_lock_on_a_file_that_is_gone_is_none(
    layout: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder removes it: who had opened it before and gets the lock then must look again."""
    from anyarch.registry.layout_files import LayoutFiles

    lock, inodes, real = layout.path / "index.json.lock", list[int](), fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        if not inodes:
            lock.unlink()  # its holder is done between our opening and our locking
        inodes.append(os.fstat(descriptor).st_ino)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with LayoutFiles(layout.path).lock():
        assert len(inodes) == 2
        assert lock.stat().st_ino == inodes[-1]


async def test_what_a_killed_writer_left_of_its_lock_is_taken_over_and_removed(layout: LayoutStore) -> None:
    lock = layout.path / "index.json.lock"
    lock.write_text("")
    await layout.put(Tag("v2"), IMAGE.manifest)
    assert not lock.exists()


async def test_a_lock_that_is_never_given_back_is_an_error(
    layout: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyarch.registry.layout_files import LayoutFiles

    monkeypatch.setattr("anyarch.registry.layout_lock._SECONDS_MAX", 0.2)
    done = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with LayoutFiles(layout.path).lock():
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        with pytest.raises(RegistryUnavailableError, match="held by another process"):
            await layout.put(Tag("v2"), IMAGE.manifest)
    finally:
        done.set()
        thread.join()


async def test_a_copy_that_breaks_leaves_nothing_behind(layout: LayoutStore) -> None:
    class Breaking(BlobSource):
        async def stream_blob(self, _: Descriptor) -> AsyncIterator[bytes]:
            yield b"half"
            raise RegistryUnavailableError("gone")

    before = sorted(layout.path.rglob("*"))
    with pytest.raises(RegistryUnavailableError):
        await layout.copy_blob(blob_of(b"half and half"), cast("Store", Breaking({})))
    assert sorted(layout.path.rglob("*")) == before


async def test_what_a_killed_process_left_is_removed_after_a_day(layout: LayoutStore) -> None:
    old, young = layout.path / ".anyarch-old", layout.path / "blobs" / "sha256" / ".anyarch-young"
    deep = layout.path / "blobs" / "sha256" / ".anyarch-deep"
    for path in (old, young, deep):
        path.write_text("half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    os.utime(deep, (yesterday, yesterday))
    await layout.put(Tag("v2"), IMAGE.manifest)
    assert (old.exists(), deep.exists(), young.exists()) == (False, False, True)


def replace_by_link(path: Path) -> None:
    moved = path.with_name(f"{path.name}.moved")
    path.rename(moved)
    path.symlink_to(moved)


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "index.json", "oci-layout"])
async def test_symbolic_links_are_refused(layout: LayoutStore, name: str) -> None:
    replace_by_link(layout.path / name)
    with pytest.raises(ContentError, match="symbolic link") as refused:
        await layout.get(V1)
    assert "only plain files and folders" in refused.value.hint
    with pytest.raises(AnyarchError):
        await layout.put(Tag("v2"), IMAGE.manifest)


async def test_a_blob_that_is_a_link_is_refused(layout: LayoutStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    digest = IMAGE.manifest.config.digest
    blob_path(layout, digest).unlink()
    blob_path(layout, digest).symlink_to(tmp_path / "secret")
    for read in (layout.has_blob, lambda blob: layout.get_blob(blob, max_bytes=10_000)):
        with pytest.raises(ContentError, match="symbolic link"):
            await read(IMAGE.manifest.config)


async def test_a_named_pipe_does_not_hold_us(layout: LayoutStore) -> None:
    path = blob_path(layout, IMAGE.digest)
    path.unlink()
    os.mkfifo(path)
    with anyio.fail_after(5):
        with pytest.raises(ContentError, match="not a regular file") as refused:
            await layout.get(IMAGE.digest)
    assert "only plain files and folders" in refused.value.hint


async def test_altered_bytes_are_refused(layout: LayoutStore) -> None:
    path = blob_path(layout, IMAGE.digest)
    path.write_bytes(path.read_bytes().replace(b"layers", b"Layers"))
    for target in (V1, IMAGE.digest):
        with pytest.raises(ContentError, match=str(IMAGE.digest)):
            await layout.get(target)


async def test_a_blob_of_the_wrong_length_is_brought_again(layout: LayoutStore) -> None:
    config = IMAGE.manifest.config
    blob_path(layout, config.digest).write_bytes(b"cut off")
    assert not await layout.has_blob(config)
    assert await layout.copy_blob(config, cast("Store", BlobSource(IMAGE.blobs)))
    assert await layout.get_blob(config, max_bytes=10_000) == IMAGE.blobs[config.digest]


def write_index(text: str) -> Callable[[Path], object]:
    return lambda path: (path / "index.json").write_text(text)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(write_index("{"), id="index.json cut off"),
        pytest.param(write_index("[]"), id="index.json is a list"),
        pytest.param(write_index('{"schemaVersion": 2}'), id="no manifests"),
        pytest.param(write_index('{"schemaVersion": 1, "manifests": []}'), id="another schema"),
        pytest.param(write_index('{"schemaVersion": 2, "manifests": [{}]}'), id="no descriptor"),
        pytest.param(
            write_index(
                '{"schemaVersion": 2, "manifests": '
                '[{"mediaType": "a/b", "size": 1, "digest": "sha256:../../x"}]}'
            ),
            id="a path for a digest",
        ),
        pytest.param(write_index(" " * (5 * 1024 * 1024)), id="index.json too long"),
        pytest.param(
            lambda path: (path / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}'),
            id="another version",
        ),
        pytest.param(lambda path: (path / "oci-layout").write_text("x"), id="oci-layout is no JSON"),
    ],
)
async def test_hostile_layouts_are_refused(layout: LayoutStore, spoil: Callable[[Path], object]) -> None:
    spoil(layout.path)
    for operation in (lambda: layout.get(V1), layout.tags, lambda: layout.put(Tag("v2"), IMAGE.manifest)):
        with pytest.raises(ContentError, match=str(layout.path)):
            await operation()


async def test_an_entry_of_another_size_than_its_manifest_is_refused(layout: LayoutStore) -> None:
    path = layout.path / "index.json"
    path.write_text(path.read_text().replace(f'"size": {IMAGE.manifest.size}', '"size": 1'))
    with pytest.raises(ContentError, match=f"index.json says 1 bytes, found {IMAGE.manifest.size}"):
        await layout.get(V1)
    assert (await layout.get(IMAGE.digest)).raw == IMAGE.manifest.raw


async def test_a_tag_that_points_at_two_things_is_refused(layout: LayoutStore) -> None:
    other = an_image("linux/arm64")
    await upload(layout, other)
    path = layout.path / "index.json"
    document = json.loads(path.read_text())
    document["manifests"].append({**document["manifests"][0], "digest": str(other.digest)})
    path.write_text(json.dumps(document))
    with pytest.raises(ContentError, match="points at"):
        await layout.get(V1)
    await layout.put(V1, IMAGE.manifest)
    assert (await layout.get(V1)).digest == IMAGE.digest


async def test_a_document_that_is_no_manifest_is_refused(layout: LayoutStore) -> None:
    config = IMAGE.manifest.config.digest
    with pytest.raises(ContentError):
        await layout.get(config)


async def test_reading_makes_no_folder(tmp_path: Path) -> None:
    layout = LayoutStore(tmp_path / "absent")
    assert await layout.tags() == []
    assert await layout.head(V1) is None
    with pytest.raises(NotFoundError):
        await layout.get(IMAGE.digest)
    assert not layout.path.exists()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((FileProblemError, ContentError), match="file"):
            await upload(LayoutStore(path), IMAGE)


async def test_digests_of_the_other_kind(layout: LayoutStore) -> None:
    digest = Digest.of(IMAGE.manifest.raw, algorithm="sha512")
    await layout.put(digest, IMAGE.manifest)
    found = await layout.head(digest)
    assert found is not None
    assert found.digest == digest


async def test_a_name_that_is_a_whole_reference_is_found(layout: LayoutStore) -> None:
    path = layout.path / "index.json"
    path.write_text(path.read_text().replace('"v1"', '"docker.io/library/app:v1"'))
    assert (await layout.get(Tag("docker.io/library/app:v1"))).raw == IMAGE.manifest.raw


async def test_a_tag_that_is_not_there_is_told_with_those_that_are(layout: LayoutStore) -> None:
    await layout.put(V1, IMAGE.manifest)
    with pytest.raises(NotFoundError, match="no such tag") as caught:
        await layout.get(Tag("v9"))
    assert caught.value.hint == "it has v1"


async def test_a_folder_that_is_no_layout_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(NotFoundError, match="no file oci-layout") as caught:
        await LayoutStore(tmp_path).get(V1)
    assert "--to oci:DIR" in caught.value.hint
