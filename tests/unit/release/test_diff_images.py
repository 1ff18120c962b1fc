"""Two images compared from end to end, out of a store in memory."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.output import as_json
from anyarch.errors import ContentError, NotFoundError, RegistryUnavailableError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Index
from anyarch.oci.platforms import Platform
from anyarch.release.diff.ignore import Ignore
from anyarch.release.diff.images import DiffOptions, ImageAt, diff_images
from anyarch.release.diff.limits import Limits
from anyarch.release.diff.text import lines
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import BuiltImage
from tests.layers import (
    COMPRESSIONS,
    archive,
    folder,
    hard_link,
    image_of,
    member,
    plain,
    plant,
    symlink,
)
from tests.memory_store import MemoryStore
from tests.unit.release.test_schemas import validator

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyarch.oci.manifest import Manifest
    from anyarch.release.diff.model import ImagesDiff

BASE = archive(
    folder("etc"), member("etc/os", b"debian"), folder("usr/bin"), member("usr/bin/x", b"x", mode=0o755)
)


def index_of(*images: BuiltImage) -> Index:
    return Index.build([image.descriptor for image in images])


def at(store: MemoryStore, manifest: Manifest | BuiltImage, name: str) -> ImageAt:
    found = manifest.manifest if isinstance(manifest, BuiltImage) else manifest
    store.plant(found.digest, found)
    return ImageAt(store=store, target=found.digest, name=name)


async def diff(
    a: BuiltImage | Index, b: BuiltImage | Index, options: DiffOptions | None = None, *parts: BuiltImage
) -> ImagesDiff:
    store = MemoryStore()
    for image in [a, b, *parts]:
        if isinstance(image, BuiltImage):
            plant(store, image)
    return await diff_images(at(store, a, "old"), at(store, b, "new"), options)


async def told(a: BuiltImage, b: BuiltImage, options: DiffOptions | None = None) -> list[str]:
    """The report's lines about differences, without the platform."""
    found = [line for line in lines(await diff(a, b, options)) if line.startswith("linux/amd64  ")]
    return [line.removeprefix("linux/amd64  ") for line in found]


def changed(*members: tuple[tarfile.TarInfo, bytes]) -> BuiltImage:
    return image_of(BASE, archive(*members))


# --- what is reported


@pytest.mark.parametrize(
    ("members", "line"),
    [
        pytest.param([member("usr/bin/x", b"x", mode=0o4755)], "/usr/bin/x  mode 0755 → 4755", id="mode"),
        pytest.param(
            [member("usr/bin/x", b"x", mode=0o755, owner=(5, 6))], "/usr/bin/x  owner 0:0 → 5:6", id="owner"
        ),
        pytest.param(
            [member("etc/os", b"alpine")],
            "/etc/os  content sha256:81d93757457f → sha256:54c5b3dd459d",
            id="content",
        ),
        pytest.param([symlink("etc/os", "x")], "/etc/os  type file → symbolic link", id="type"),
        pytest.param(
            [member("usr/bin/x", b"x", mode=0o755, pax={"SCHILY.xattr.security.capability": "\1"})],
            "/usr/bin/x  xattr security.capability (none) → 01",
            id="capabilities",
        ),
        pytest.param([folder("etc", mode=0o700)], "/etc  mode 0755 → 0700", id="mode of a directory"),
        pytest.param([folder("./", mode=0o700)], "/  mode 0755 → 0700", id="mode of the root"),
        pytest.param([member("new")], "/new  only in B: file", id="a new file"),
        pytest.param(
            [member("opt/a/b"), member("opt/c")],
            "/opt  only in B: directory with 3 paths",
            id="a new directory",
        ),
        pytest.param(
            [member("usr/.wh.bin")], "/usr/bin  only in A: directory with 1 path", id="a hidden directory"
        ),
        pytest.param([hard_link("etc/os2", "etc/os")], "/etc/os2  only in B: file", id="a hard link"),
        pytest.param(
            [member("a\x1b[2Jb")], "/a\\x1b[2Jb  only in B: file", id="a name with control characters"
        ),
    ],
)
@pytest.mark.anyio
async def test_a_path_that_differs_is_named(members: list[tuple[tarfile.TarInfo, bytes]], line: str) -> None:
    assert await told(image_of(BASE), changed(*members)) == [f"file  {line}"]


@pytest.mark.anyio
async def test_link_targets_and_device_numbers_count() -> None:
    a, b = (
        image_of(archive(symlink("s", to), member("d", type=tarfile.CHRTYPE, device=device)))
        for to, device in (("x", (1, 3)), ("y", (1, 5)))
    )
    assert await told(a, b) == ["file  /d  device 1:3 → 1:5", "file  /s  target x → y"]


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([], id="an empty layer"),
        pytest.param([member("etc/os", b"debian", mtime=99)], id="a newer file of the same content"),
        pytest.param([member("x"), hard_link("y", "x"), member(".wh.z")], id="what the next layer hides"),
    ],
)
@pytest.mark.anyio
async def test_what_does_not_change_the_tree_is_no_difference(
    members: list[tuple[tarfile.TarInfo, bytes]],
) -> None:
    hiding = archive(member(".wh.x"), member(".wh.y"))
    assert await told(image_of(BASE), image_of(BASE, archive(*members), hiding)) == ["same"]


@pytest.mark.anyio
async def test_the_mode_of_a_symbolic_link_means_nothing() -> None:
    a, b = (image_of(archive(symlink("s", "x", mode=mode))) for mode in (0o777, 0o755))
    assert await told(a, b) == ["same"]


@pytest.mark.anyio
async def test_times_count_when_asked_for() -> None:
    a, b = (image_of(archive(member("d/f", mtime=mtime))) for mtime in (1, 2.5))
    assert await told(a, b) == ["same"]
    assert await told(a, b, DiffOptions(timestamps=True)) == ["file  /d/f  mtime 1 → 2.5"]


@pytest.mark.anyio
async def test_a_directory_without_an_entry_has_no_time_to_differ() -> None:
    a, b = image_of(archive(member("d/f"))), image_of(archive(folder("d", mtime=7), member("d/f")))
    assert await told(a, b, DiffOptions(timestamps=True)) == ["same"]


@pytest.mark.anyio
async def test_settings_come_before_files() -> None:
    a, b = image_of(BASE, settings={"Env": ["PATH=/bin"]}), image_of(archive(), settings={"Cmd": ["x"]})
    assert await told(a, b) == [
        'config.cmd: (none) → ["x"]',
        'config.env  PATH: "/bin" → (none)',
        "file  /etc  only in A: directory with 1 path",
        "file  /usr  only in A: directory with 2 paths",
    ]


@pytest.mark.anyio
async def test_what_is_ignored_is_not_compared() -> None:
    a = image_of(BASE, settings={"Labels": {"rev": "1", "name": "x"}})
    b = image_of(
        BASE,
        archive(member("var/log/x"), member("a/b.pyc"), folder("a")),
        settings={"Labels": {"rev": "2", "name": "x"}},
    )
    ignore = Ignore.parse(("/var", "*.pyc", "/a", "config.labels.rev"))
    assert await told(a, b, DiffOptions(ignore=ignore)) == ["same"]


@pytest.mark.anyio
async def test_a_long_report_ends_with_a_count_unless_all_is_asked_for() -> None:
    found = await diff(image_of(archive()), image_of(archive(*(member(f"{n:03}") for n in range(163)))))
    short, whole = list(lines(found)), list(lines(found, everything=True))
    assert short[-2:] == [
        "linux/amd64  … and 123 more (--all shows them)",
        "163 differences on 1 of 1 platform",
    ]
    assert len(short) == 2 + 40 + 2
    assert whole[-2] == "linux/amd64  file  /162  only in B: file"


@pytest.mark.anyio
async def test_json_holds_everything() -> None:
    document = json.loads(
        as_json((await diff(image_of(BASE), changed(member("etc/os", b"x"), member("opt/y")))).to_fields())
    )
    assert (document["a"], document["b"], document["same"]) == ("old", "new", False)
    validator("diff").validate(document)
    (platform,) = document["platforms"]
    assert platform["paths"] == 8
    assert platform["differences"] == [
        {
            "area": "file",
            "name": "/etc/os",
            "changes": [
                {"what": "size", "a": "6", "b": "1"},
                {"what": "content", "a": f"{Digest.of(b'debian')}", "b": f"{Digest.of(b'x')}"},
            ],
        },
        {"area": "file", "name": "/opt", "only_in": "B", "kind": "directory"},
        {"area": "file", "name": "/opt/y", "only_in": "B", "kind": "file"},
    ]


# --- platforms


@pytest.mark.anyio
async def test_every_platform_of_two_indexes_is_compared() -> None:
    amd64, other = image_of(BASE), changed(member("x"))
    arm64, riscv = image_of(BASE, platform="linux/arm64"), image_of(BASE, platform="linux/riscv64")
    found = await diff(
        index_of(amd64, arm64), index_of(riscv, arm64, other), None, amd64, other, arm64, riscv
    )
    assert list(lines(found))[2:] == [
        "linux/amd64  file  /x  only in B: file",
        "linux/arm64  same  (the same digest)",
        "linux/riscv64  only in B",
        "2 differences on 2 of 3 platforms",
    ]


@pytest.mark.anyio
async def test_a_plain_image_is_compared_with_its_platform_of_an_index() -> None:
    image, recompressed = image_of(BASE), image_of(BASE, compress=COMPRESSIONS["gzip"])
    found = await diff(image, index_of(recompressed), None, recompressed)
    assert found.same
    assert [str(each.platform) for each in found.platforms] == ["linux/amd64"]


@pytest.mark.anyio
async def test_only_the_platforms_asked_for_are_compared() -> None:
    amd64, arm64 = image_of(BASE), image_of(BASE, platform="linux/arm64")
    options = DiffOptions(platforms=(Platform.parse("linux/amd64"),))
    assert (await diff(index_of(amd64, arm64), index_of(amd64), options, amd64, arm64)).same
    missing = replace(options, platforms=(Platform.parse("linux/s390x"),))
    with pytest.raises(UsageError, match="neither image is for linux/s390x"):
        await diff(index_of(amd64, arm64), index_of(amd64), missing, amd64, arm64)


# --- how much is read


def read_layers(store: MemoryStore) -> list[str]:
    return [digest for call, digest in store.calls if call == "stream_blob"]


@pytest.mark.anyio
async def test_layers_that_both_have_at_the_base_are_read_once() -> None:
    store, top = MemoryStore(), archive(member("a"))
    a, b = image_of(BASE, top), image_of(BASE, archive(member("etc/.wh.os")))
    plant(store, a)
    plant(store, b)
    found = await diff_images(at(store, a, "a"), at(store, b, "b"))
    assert [each.name for each in found.platforms[0].differences] == ["/a", "/etc/os"]
    assert read_layers(store).count(str(Digest.of(BASE))) == 1
    assert len(read_layers(store)) == 3


@pytest.mark.anyio
async def test_equal_layers_are_not_read_and_equal_manifests_not_even_opened() -> None:
    store = MemoryStore()
    a, b = image_of(BASE), image_of(BASE, settings={"User": "x"})
    plant(store, a)
    plant(store, b)
    found = await diff_images(at(store, a, "a"), at(store, b, "b"))
    assert [each.area for each in found.platforms[0].differences] == ["config.user"]
    assert read_layers(store) == []
    index = index_of(a)
    store.calls.clear()
    assert (await diff_images(at(store, index, "a"), at(store, index, "b"))).same
    assert {digest for _, digest in store.calls} == {str(index.digest)}


@pytest.mark.anyio
async def test_the_same_layer_in_another_place_is_not_taken_for_the_same_tree() -> None:
    top = archive(member("etc/os", b"other"))
    assert await told(image_of(BASE, top), image_of(top, BASE)) != ["same"]


# --- images that lie


def lying(*diff_ids: str, layers: tuple[bytes, ...] = (BASE,), rootfs: object = None) -> BuiltImage:
    return image_of(*layers, fields={"rootfs": rootfs or {"type": "layers", "diff_ids": list(diff_ids)}})


OTHER_DIGEST = str(Digest.of(b"other"))


@pytest.mark.parametrize(
    ("image", "word"),
    [
        pytest.param(lying(OTHER_DIGEST), "the diff_id is", id="another layer's diff_id"),
        pytest.param(lying(), "1 layers, but the config lists 0", id="no diff_id"),
        pytest.param(lying("sha256:abc"), "is not a digest", id="a diff_id that is no digest"),
        pytest.param(lying(rootfs={"diff_ids": "x"}), "not a list", id="diff_ids that are no list"),
        pytest.param(image_of(b"not a tar" * 100), "checksum", id="a layer that is no archive"),
        pytest.param(image_of(archive(member("../x"))), "leaves the root", id="a layer that climbs out"),
        pytest.param(
            image_of(BASE, compress=lambda raw: COMPRESSIONS["gzip"](raw)[:-9]),
            "too early",
            id="half a layer",
        ),
    ],
)
@pytest.mark.parametrize("swap", [False, True], ids=["as A", "as B"])
@pytest.mark.anyio
async def test_an_image_that_lies_is_refused_on_either_side(image: BuiltImage, word: str, swap: bool) -> None:
    good = image_of(BASE, archive(member("x")))
    name = "new" if swap else "old"
    with pytest.raises(ContentError, match=f"^{name}: .*{word}"):
        await (diff(good, image) if swap else diff(image, good))


@pytest.mark.anyio
async def test_a_base_layer_that_one_config_lies_about_is_read_to_find_out_which() -> None:
    with pytest.raises(ContentError, match=r"^new: layer 1 .*the diff_id is"):
        await diff(image_of(BASE), lying(OTHER_DIGEST))


@pytest.mark.anyio
async def test_an_index_with_a_platform_twice_is_refused() -> None:
    one, two = image_of(BASE), changed(member("x"))
    with pytest.raises(ContentError, match="old: two images for linux/amd64"):
        await diff(index_of(one, two), one, None, two)


@pytest.mark.anyio
async def test_an_index_in_an_index_is_refused() -> None:
    inner = index_of(image_of(BASE))
    outer = Index.build([inner.descriptor.with_platform(Platform.parse("linux/amd64"))])
    with pytest.raises(ContentError, match="which is no image"):
        await diff(outer, image_of(BASE))


@pytest.mark.anyio
async def test_something_that_is_no_container_image_is_refused() -> None:
    document = json.loads(image_of(BASE).manifest.raw)
    document["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
    artifact = BuiltImage(
        type(image_of(BASE).manifest).from_bytes(json.dumps(document).encode()),  # type: ignore[arg-type]
        Platform.parse("linux/amd64"),
        image_of(BASE).blobs,
        {},
    )
    with pytest.raises(ContentError, match="is no container image"):
        await diff(artifact, image_of(BASE))


@pytest.mark.anyio
async def test_limits_are_per_image_and_count_the_shared_base_for_both() -> None:
    a, b = changed(member("x")), changed(member("y"))
    enough = len(BASE) + len(archive(member("x")))
    assert not (await diff(a, b, DiffOptions(limits=Limits(content_bytes=enough)))).same
    for one, other in ((a, image_of(BASE)), (image_of(BASE), b)):
        with pytest.raises(ContentError, match="larger than"):
            await diff(one, other, DiffOptions(limits=Limits(content_bytes=enough - 1)))


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(RegistryUnavailableError("the registry is down"), id="while reading"),
        pytest.param(NotFoundError("no such blob"), id="a layer that is gone"),
    ],
)
@pytest.mark.anyio
async def test_a_stores_failure_is_told_as_it_is(failure: Exception) -> None:
    def hook(call: str, _: str) -> None:
        if call == "stream_blob":
            raise failure

    store = MemoryStore(hook=hook)
    a, b = image_of(BASE), changed(member("x"))
    plant(store, a)
    plant(store, b)
    with pytest.raises(type(failure)) as caught:
        await diff_images(at(store, a, "a"), at(store, b, "b"))
    assert caught.value is failure


@pytest.mark.anyio
async def test_a_comparison_that_is_cancelled_ends_at_once() -> None:
    class Stuck(MemoryStore):
        async def stream_blob(self, blob: object):  # type: ignore[no-untyped-def]  # noqa: ANN202, ARG002
            yield BASE[:700]
            await anyio.sleep_forever()

    store = Stuck()
    a, b = image_of(BASE), changed(member("x"))
    plant(store, a)
    plant(store, b)
    with anyio.move_on_after(0.05) as scope:
        await diff_images(at(store, a, "a"), at(store, b, "b"))
    assert scope.cancelled_caught


# --- properties
# Not asynchronous themselves: Hypothesis ends an example by an exception, which must not end a task.

_NAMES = st.sampled_from(["a", "b", ".wh.a", ".wh..wh..opq"])
_MEMBERS = st.one_of(
    st.builds(member, st.builds("{}/{}".format, st.sampled_from("de"), _NAMES), st.binary(max_size=3)),
    st.builds(folder, st.sampled_from("de"), mode=st.sampled_from([0o700, 0o755])),
    st.builds(symlink, st.sampled_from(["s", "d/s"]), st.sampled_from("xy")),
)
_LAYERS = st.lists(_MEMBERS, max_size=5, unique_by=lambda each: each[0].name)


@given(st.data())
def test_an_image_equals_itself_packed_in_another_way(data: st.DataObject) -> None:
    layers = data.draw(st.lists(_LAYERS, min_size=1, max_size=3))
    compress: Callable[[bytes], bytes] = data.draw(st.sampled_from(list(COMPRESSIONS.values())))
    shuffled = [archive(*data.draw(st.permutations(each)), format=tarfile.GNU_FORMAT) for each in layers]
    a = image_of(*(archive(*each) for each in layers), compress=plain)
    b = image_of(*shuffled, archive(), compress=compress)
    assert anyio.run(diff, a, b).same


@given(_LAYERS, _LAYERS)
def test_both_directions_find_the_same(
    one: list[tuple[tarfile.TarInfo, bytes]], two: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    a, b = (image_of(BASE, archive(*each)) for each in (one, two))
    there, back = anyio.run(diff, a, b), anyio.run(diff, b, a)
    mirrored = [
        (
            each.name,
            each.only_in and {"A": "B", "B": "A"}[each.only_in],
            [(c.what, c.b, c.a) for c in each.changes],
        )
        for each in back.platforms[0].differences
    ]
    assert mirrored == [
        (each.name, each.only_in and each.only_in.value, [(c.what, c.a, c.b) for c in each.changes])
        for each in there.platforms[0].differences
    ]
