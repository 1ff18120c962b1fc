from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest
from anyarch.engine.native import room
from anyarch.engine.native.record import Record, write
from anyarch.engine.native.room import Room
from anyarch.engine.urls import parse_engine_url

if TYPE_CHECKING:
    from pathlib import Path

FULL = 'level=error msg="failed to write exit code 1 to /state/exitCode: no space left on device"\n'
MIB = 1024**2


@dataclass
class Disk:
    f_bavail: int
    f_frsize: int = MIB


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state of the engine ``a``, which runs, on a disk with room."""
    monkeypatch.setattr(room, "RUNTIME", tmp_path / "run")
    monkeypatch.setattr(os, "statvfs", lambda _: Disk(5000))
    state = tmp_path / "state"
    for folder in (state, tmp_path / "run" / "a"):
        folder.mkdir(parents=True)
    (state / "engine.log").write_text(FULL)
    fields = dict.fromkeys(Record.__struct_fields__, "")
    numbers = {"pid": 1, "ticks": 1, "started": 1.0, "native": (), "emulated": (), "entries": ()}
    record = msgspec.convert({**fields, **numbers, "state": str(state)}, Record)
    write(tmp_path / "run" / "a" / "engine.json", record)
    return state


def of(tmp_path: Path, name: str = "a") -> Room | None:
    return Room.of(parse_engine_url(f"unix://{tmp_path}/run/{name}/engine.sock"))


def test_only_what_the_log_says_from_now_on_counts(state: Path, tmp_path: Path) -> None:
    found = of(tmp_path)
    assert found is not None
    assert found.lack() == ""
    with (state / "engine.log").open("a") as log:
        log.write(FULL)
    assert found.lack() == f"{state}/engine.log says: no space left on device"


def test_a_log_that_was_begun_anew_is_read_from_its_beginning(state: Path, tmp_path: Path) -> None:
    (state / "engine.log").write_text("of the engine before" * 100)
    found = of(tmp_path)
    (state / "engine.log").write_text(FULL)
    assert found is not None
    assert "no space left" in found.lack()


def test_a_disk_with_next_to_nothing_free_is_full(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = of(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: Disk(7))
    assert found is not None
    assert found.lack() == f"7 MiB are free in {state}"


def test_a_state_that_is_gone_says_nothing(state: Path, tmp_path: Path) -> None:
    found = of(tmp_path)
    (state / "engine.log").unlink()
    assert found is not None
    assert found.lack() == ""


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize(
    "url",
    [
        pytest.param("tcp://arm.example.com:1234", id="another machine's"),
        pytest.param("unix:///var/run/dagger/engine.sock", id="somebody else's socket"),
        pytest.param("", id="none"),
    ],
)
def test_of_an_engine_that_is_not_native_nothing_is_known(url: str) -> None:
    assert Room.of(parse_engine_url(url) if url else None) is None


@pytest.mark.usefixtures("state")
def test_of_an_engine_that_is_down_nothing_is_known(tmp_path: Path) -> None:
    assert of(tmp_path, "b") is None
