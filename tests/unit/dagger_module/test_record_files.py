"""The module reads a folder of records by the rule of the command: the same names, the same offenders."""

from __future__ import annotations

from fnmatch import fnmatch
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from anyarch.cli.recordfiles import read_folder
from anyarch.release.record import RECORD_MAX_BYTES
from anyarch.release.record_files import NO_FILE, TOO_LONG
from pipeline.release import record_files

if TYPE_CHECKING:
    from pathlib import Path

    import dagger

pytestmark = pytest.mark.anyio


class Folder:
    """As an engine shows a folder: patterns know no hidden names, and folders end in a slash."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def glob(self, pattern: str) -> list[str]:
        names = (
            (str(each.relative_to(self._path)), "/" if each.is_dir() else "")
            for each in self._path.rglob("*")
        )
        return [
            name + slash
            for name, slash in names
            if name.count("/") == pattern.count("/") and fnmatch(name, pattern)
        ]

    def file(self, name: str) -> SimpleNamespace:
        async def size() -> int:
            return (self._path / name).stat().st_size

        async def contents() -> str:
            return (self._path / name).read_text()

        return SimpleNamespace(size=size, contents=contents)


async def test_the_module_reads_the_files_that_the_command_reads(tmp_path: Path) -> None:
    for name in ("a.json", "record-1/b.json", "a/b/c.json", "notes.txt", ".d.json", "record-1/.e.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    read = await record_files(cast("dagger.Directory", Folder(tmp_path)))
    assert read == read_folder(tmp_path)
    assert list(read) == ["a.json", "record-1/b.json"]


async def test_what_is_no_file_or_too_long_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "huge.json").write_text(" " * (RECORD_MAX_BYTES + 1))
    read = await record_files(cast("dagger.Directory", Folder(tmp_path)))
    assert read == {"folder.json/": NO_FILE, "huge.json": TOO_LONG}
