from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import ContentError
from pipeline.layout import unpack

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
