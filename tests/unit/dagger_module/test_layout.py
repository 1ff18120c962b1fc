from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import ContentError
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.registry.stores import open_store
from anyarch.release.found import find_image
from pipeline.layout import correct, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BLOB = f"blobs/sha256/{'a' * 64}"


def an_archive(path: Path, entries: Mapping[str, bytes | None]) -> Path:
    """A tar of these entries; None makes a symbolic link to /etc/passwd."""
    with tarfile.open(path, "w") as tar:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))
    return path


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_the_layout_is_kept_and_dockers_own_file_is_not(tmp_path: Path) -> None:
    entries = {"oci-layout": b"{}", "index.json": b"[]", "manifest.json": b"[]", BLOB: b"bytes"}
    unpack(an_archive(tmp_path / "image.tar", entries), tmp_path / "out")
    assert files_below(tmp_path / "out") == {"oci-layout", "index.json", BLOB}
    assert (tmp_path / "out" / BLOB).read_bytes() == b"bytes"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../escaped", id="above"),
        pytest.param("/tmp/anyarch-escaped", id="absolute"),  # noqa: S108
        pytest.param("blobs/sha256/../../../escaped", id="through a folder"),
        pytest.param(f"{BLOB}/x", id="below a blob"),
    ],
)
def test_nothing_lands_outside(tmp_path: Path, name: str) -> None:
    unpack(an_archive(tmp_path / "image.tar", {"index.json": b"[]", name: b"x"}), tmp_path / "a" / "out")
    assert files_below(tmp_path) == {"image.tar", "a/out/index.json"}


def test_a_link_is_not_followed_and_not_made(tmp_path: Path) -> None:
    unpack(an_archive(tmp_path / "image.tar", {"index.json": b"[]", BLOB: None}), tmp_path / "out")
    assert files_below(tmp_path / "out") == {"index.json"}


def test_an_archive_with_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="no OCI layout"):
        unpack(an_archive(tmp_path / "image.tar", {"manifest.json": b"[]"}), tmp_path / "out")


def a_layout(folder: Path, config: Mapping[str, object]) -> Digest:
    """A layout with one image of one layer, as an engine writes it; its manifest's digest."""

    def blob(raw: bytes) -> dict[str, object]:
        digest = Digest.of(raw)
        (folder / "blobs/sha256" / digest.hex).write_bytes(raw)
        return {"digest": str(digest), "size": len(raw)}

    (folder / "blobs/sha256").mkdir(parents=True)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            **blob(json.dumps(config).encode()),
        },
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob(b"a layer")}],
    }
    child = {"mediaType": manifest["mediaType"], **blob(json.dumps(manifest).encode())}
    index = {"schemaVersion": 2, "manifests": [child]}
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_text(json.dumps(index))
    return Digest.parse(str(child["digest"]))


@pytest.mark.anyio
async def test_a_mistaken_platform_is_corrected_and_nothing_else_changes(tmp_path: Path) -> None:
    settings = {"Volumes": {"/data": {}}, "StopSignal": "SIGINT", "Env": ["A=b"]}
    mistaken = {"architecture": "amd64", "os": "linux", "variant": "v3", "config": settings, "history": []}
    before = a_layout(tmp_path / "layout", mistaken)
    correct(tmp_path / "layout", Platform("linux", "arm", "v6"))
    index = json.loads((tmp_path / "layout/index.json").read_bytes())
    (child,) = index["manifests"]
    async with open_store(f"oci:{tmp_path}/layout") as store:  # verifies every digest and size
        found = await find_image(store, Digest.parse(child["digest"]))
        assert found.root.digest != before
        assert found.platform == Platform("linux", "arm", "v6")
        (layer,) = found.manifest.layers
        assert await store.has_blob(layer)
        config = json.loads(await store.get_blob(found.manifest.config, max_bytes=4096))
    assert config == {
        "architecture": "arm",
        "os": "linux",
        "variant": "v6",
        "config": settings,
        "history": [],
    }
    assert len(list((tmp_path / "layout/blobs/sha256").iterdir())) == 3
