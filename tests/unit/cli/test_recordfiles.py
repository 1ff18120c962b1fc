from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from anyarch.cli.recordfiles import read_file, read_folder
from anyarch.errors import FileProblemError, RecordError
from anyarch.release import record_files
from anyarch.release.record import RECORD_MAX_BYTES
from anyarch.release.record_files import NO_FILE

if TYPE_CHECKING:
    from pathlib import Path


def test_records_lie_flat_or_one_folder_deep_as_artifacts_arrive(tmp_path: Path) -> None:
    (tmp_path / "linux-amd64.json").write_bytes(b"1")
    (tmp_path / "record-linux-arm64-1").mkdir()
    (tmp_path / "record-linux-arm64-1" / "linux-arm64.json").write_bytes(b"2")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deeper.json").write_bytes(b"3")
    (tmp_path / "notes.txt").write_bytes(b"4")
    (tmp_path / ".linux-386.json").write_bytes(b"half written")
    assert read_folder(tmp_path) == {
        "linux-amd64.json": b"1",
        "record-linux-arm64-1/linux-arm64.json": b"2",
    }


def test_links_pipes_and_folders_are_no_records_and_are_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"canary")
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "link.json").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    assert read_folder(folder) == dict.fromkeys(["folder.json", "link.json", "pipe.json"], NO_FILE)


def test_a_file_that_became_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"canary")
    (tmp_path / "x.json").symlink_to(tmp_path / "secret")
    with pytest.raises(FileProblemError):
        read_file(tmp_path / "x.json")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    assert read_file(tmp_path / "pipe.json") is None


def test_of_a_huge_file_only_so_much_is_read_that_it_is_seen_to_be_too_long(tmp_path: Path) -> None:
    (tmp_path / "huge.json").write_bytes(b"x" * (RECORD_MAX_BYTES * 10))
    assert len(read_folder(tmp_path)["huge.json"]) == RECORD_MAX_BYTES + 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileProblemError, match="none"):
        read_folder(tmp_path / "none")


def test_a_folder_of_far_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_files, "FILES_MAX", 2)
    for number in range(3):
        (tmp_path / f"{number}.json").touch()
    with pytest.raises(RecordError, match="3 files"):
        read_folder(tmp_path)
