"""Hostile layouts, records, plans and configuration files, given to the commands that read them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from anyarch import errors
from anyarch.oci.reference import Tag
from anyarch.registry.layout import LayoutStore

from tests.builders import an_image, an_index, upload
from tests.contract.test_bad_input import ESCAPE, call
from tests.fake_dagger import a_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyarch.oci.digest import Digest

IMAGE: Final = an_image()
INDEX: Final = an_index(IMAGE)
(LAYER,) = IMAGE.manifest.layers
CONTENT: Final = errors.ContentError.exit_code
NOT_WHOLE: Final = errors.VerifyFailedError.exit_code
NOT_FOUND: Final = errors.NotFoundError.exit_code
MIB: Final = 1024 * 1024


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good layout ``dist`` with the tag v1."""

    async def fill() -> None:
        store = LayoutStore(tmp_path / "dist")
        await upload(store, IMAGE)
        await store.put(INDEX.digest, INDEX)
        await store.put(Tag("v1"), INDEX)

    anyio.run(fill)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blob(digest: Digest) -> Path:
    return Path("dist", "blobs", "sha256", digest.hex)


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    if path.is_dir():
        path.rename("away")
    else:
        path.unlink()
    make(path)


def linked(path: Path) -> Callable[[], None]:
    def spoil() -> None:
        path.rename("elsewhere")
        path.symlink_to(Path("elsewhere").absolute())

    return spoil


def named(tag: str) -> None:
    """Give v1 another name in index.json."""
    path = Path("dist/index.json")
    path.write_text(path.read_text().replace('"v1"', json.dumps(tag)))


LAYOUTS: Final[dict[str, tuple[Callable[[], object], int]]] = {
    "a blob that is a link out of it": (linked(blob(INDEX.digest)), CONTENT),
    "a folder of blobs that is a link out of it": (linked(Path("dist/blobs/sha256")), CONTENT),
    "index.json that is a link": (linked(Path("dist/index.json")), CONTENT),
    "a manifest that is a pipe": (lambda: replaced(blob(INDEX.digest), os.mkfifo), CONTENT),
    "a layer that is a pipe": (lambda: replaced(blob(LAYER.digest), os.mkfifo), CONTENT),
    "index.json that is a pipe": (lambda: replaced(Path("dist/index.json"), os.mkfifo), CONTENT),
    "index.json that is a folder": (lambda: replaced(Path("dist/index.json"), Path.mkdir), CONTENT),
    "index.json that is a device": (
        lambda: replaced(Path("dist/index.json"), lambda path: path.symlink_to("/dev/zero")),
        CONTENT,
    ),
    "a huge index.json": (lambda: Path("dist/index.json").write_bytes(b" " * 64 * MIB), CONTENT),
    "an index.json of a million entries": (
        lambda: Path("dist/index.json").write_text(
            '{"schemaVersion":2,"manifests":[' + "{}," * 10**6 + "{}]}"
        ),
        CONTENT,
    ),
    "a deep index.json": (lambda: Path("dist/index.json").write_text("[" * 10**6), CONTENT),
    "tags that look like lines of ours": (lambda: named(ESCAPE), NOT_FOUND),
    "a layer that is not there": (lambda: blob(LAYER.digest).unlink(), NOT_WHOLE),
    "a manifest that is not there": (lambda: blob(IMAGE.digest).unlink(), NOT_WHOLE),
    "an index that is not there": (lambda: blob(INDEX.digest).unlink(), NOT_FOUND),
    "a manifest of another digest": (lambda: blob(IMAGE.digest).write_bytes(b"{}"), NOT_WHOLE),
    "an index of another digest": (lambda: blob(INDEX.digest).write_bytes(b"{}"), CONTENT),
    "a layer of another length": (lambda: blob(LAYER.digest).write_bytes(b"x"), NOT_WHOLE),
    "a layout of another version": (
        lambda: Path("dist/oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}'),
        CONTENT,
    ),
    "no layout at all": (lambda: Path("dist/oci-layout").unlink(), NOT_FOUND),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.usefixtures("work")
def test_a_layout_is_a_strangers_folder(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, code = LAYOUTS[name]
    spoil()
    assert call(capsys, "verify", "oci:dist:v1").code == code
    assert call(capsys, "promote", "oci:dist:v1", "--tag", "next").code == code
    call(capsys, "diff", "oci:dist:v1", "oci:dist:v1")
    call(capsys, "history", "oci:dist:v1")
    call(capsys, "rollback", "oci:dist:v1")
    call(capsys, "prune", "oci:dist", "--older-than", "1h", "--dry-run")


GOOD_RECORD: Final = json.dumps(a_record(IMAGE, "oci:dist"))
FILES: Final[dict[str, bytes]] = {
    "nothing": b"",
    "no JSON": b"<html>",
    "a byte order mark": b"\xef\xbb\xbf" + GOOD_RECORD.encode(),
    "UTF-16": GOOD_RECORD.encode("utf-16"),
    "NUL": b"\0" * 100,
    "half a surrogate pair": GOOD_RECORD.replace("linux", "\\ud800").encode(),
    "control characters": GOOD_RECORD.replace("linux", json.dumps(ESCAPE)[1:-1]).encode(),
    "a key twice": GOOD_RECORD.replace("{", '{"schema": 1, ', 1).encode(),
    "deep": b"[" * 8000,
    "huge": b" " * 64 * MIB,
    "a huge number": GOOD_RECORD.replace('"schema": 1', '"schema": ' + "9" * 5000).encode(),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("work")
def test_records_plans_and_configurations(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("records").mkdir()
    Path("records/linux-amd64.json").write_bytes(FILES[name])
    Path("plan.json").write_bytes(FILES[name])
    merge = ("merge", "--records", "records", "--to", "oci:dist", "--tag", "v1")
    assert call(capsys, *merge).code == errors.RecordError.exit_code
    assert call(capsys, *merge, "--plan", "plan.json").code == errors.PlanError.exit_code
    Path("Dockerfile").write_text("FROM scratch\n")
    Path("anyarch.toml").write_bytes(FILES[name])
    said = call(capsys, "plan", ".")
    assert said.code in {0, errors.ConfigError.exit_code}
    assert (said.code == 0) == (name == "nothing")


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device", "not there"])
@pytest.mark.usefixtures("work")
def test_files_that_are_none(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("records").mkdir()
    for path in (Path("records/linux-amd64.json"), Path("plan.json"), Path("anyarch.toml")):
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a folder":
            path.mkdir()
        elif kind == "a device":
            path.symlink_to("/dev/zero")
    Path("Dockerfile").write_text("FROM scratch\n")
    merge = ("merge", "--records", "records", "--to", "oci:dist", "--tag", "v1")
    assert call(capsys, *merge).code
    assert call(capsys, *merge, "--plan", "plan.json").code
    assert (call(capsys, "plan", ".").code == 0) == (kind == "not there")
