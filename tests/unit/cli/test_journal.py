"""The journal: on disk before each write, told by the next run, and never in a release's way."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyarch.cli import journal, journal_lines
from anyarch.cli.interrupt import StoppedError
from anyarch.errors import DeniedError, ImmutableTagError, RegistryError, RegistryUnavailableError
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Tag
from anyarch.release.history import history_tag
from anyarch.release.publish import merge
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import an_image
from tests.memory_store import fail_once
from tests.releases import REPOSITORY, three_builds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anyarch.cli.journal import Journal
    from anyarch.cli.journal_lines import Was

LATEST, FIXED, STABLE = Tag("latest"), Tag("1.4.2"), Tag("stable")
OLD = an_image(files={"app": b"older"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYARCH_CACHE", str(tmp_path))
    return tmp_path / "journal"


def begun(tags: Sequence[Tag] = (FIXED, LATEST), *, command: str = "merge") -> tuple[Journal, list[str]]:
    """A journal, and what was told as it began."""
    told: list[str] = []
    return journal.begin(command, REPOSITORY, tags, tell=told.append), told


def kill(opened: Journal) -> None:
    """What the system does with a killed process: its files are closed, and nothing more is written."""
    assert opened.file is not None
    os.close(opened.file)


def count(folder: Path) -> int:
    return len(list(folder.iterdir()))


def found_in(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.iterdir()
    return [json.loads(line) for line in path.read_text().splitlines()]


async def publish(opened: Journal) -> Digest:
    store, records = await three_builds()
    store.plant(LATEST, OLD.manifest)
    return (await merge(opened.over(store), records, tags=[FIXED, LATEST])).digest


@pytest.mark.anyio
async def test_every_index_and_tag_is_on_disk_before_it_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, records = await three_builds()
    store.plant(LATEST, OLD.manifest)
    real, synced, late = os.fsync, set[str](), list[str]()

    def fsync(file: int) -> None:
        real(file)
        if folder.exists():
            synced.update(line["target"] for line in found_in(folder) if line["do"] == "write")

    monkeypatch.setattr(os, "fsync", fsync)
    store.hook = lambda name, subject: (
        late.append(subject) if name == "put" and subject not in synced else None
    )
    opened, _ = begun()
    with opened:
        release = await merge(opened.over(store), records, tags=[FIXED, LATEST])
    assert late == []
    writes = {line["target"]: line for line in found_in(folder) if line["do"] == "write"}
    assert [(name, line["was"]) for name, line in writes.items()] == [
        (str(release.digest), "new"),
        ("1.4.2", "new"),
        ("latest", str(OLD.digest)),
        (str(history_tag(LATEST)), "unknown"),
    ]
    assert [line["do"] for line in found_in(folder)].count("done") == len(writes)
    assert found_in(folder)[-1]["outcome"] == "done"


@pytest.mark.anyio
async def test_tags_that_move_together_are_synced_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = 0

    def fsync(_: int) -> None:
        nonlocal syncs
        syncs += 1

    monkeypatch.setattr(os, "fsync", fsync)
    opened, _ = begun()
    with opened:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(opened.before, journal_lines.delete(Digest.of(bytes([number]))))
    assert syncs <= 3
    assert len(found_in(folder)) == 22


@pytest.mark.anyio
async def test_after_a_kill_the_next_run_tells_what_was_done_and_what_it_finishes(folder: Path) -> None:
    opened, told = begun([FIXED, LATEST, STABLE])
    assert told == []
    index = Digest.of(b"index")
    new: Was = "new"
    for target in (index, FIXED):
        await opened.before(journal_lines.write(target, index, new))
        opened.after(journal_lines.done(target))
    await opened.before(journal_lines.write(LATEST, index, OLD.digest))
    kill(opened)
    again, told = begun([FIXED, LATEST])
    with again:
        head, *lines = told
        assert head.startswith(f"an earlier anyarch merge to {REPOSITORY}, begun 2")
        assert head.endswith("did not end: it was killed, or the machine stopped")
        assert [line.strip() for line in lines] == [
            f"written: {index}, 1.4.2 (new)",
            f"begun, and not confirmed: latest (was {OLD.digest})",
            "as they were: stable",
            "this run looks at everything again and finishes: 1.4.2, latest",
            "it does not move stable, which is not among its tags",
        ]
    _, told = begun()
    assert told == [], "it is told once"
    assert count(folder) == 1


def test_a_run_that_is_still_at_work_is_not_told_as_killed(folder: Path) -> None:
    first, _ = begun()
    second, told = begun()
    assert told == []
    assert count(folder) == 2
    first.close("done")
    kill(second)
    third, told = begun()
    with third:
        assert told[0].endswith("it was killed, or the machine stopped")
    assert count(folder) == 1


@pytest.mark.parametrize(
    ("command", "destination"),
    [
        pytest.param("promote", REPOSITORY, id="another command"),
        pytest.param("merge", f"{REPOSITORY}2", id="another repository"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_each_command_and_destination_has_its_own(command: str, destination: str) -> None:
    opened, _ = begun()
    kill(opened)
    told: list[str] = []
    with journal.begin(command, destination, [LATEST], tell=told.append):
        assert told == []


@pytest.mark.usefixtures("folder")
@pytest.mark.anyio
async def test_what_ended_by_an_error_is_told_if_it_had_written() -> None:
    store, records = await three_builds()
    for name, subject in (("get", str(records[0].image.digest)), ("put", "latest")):
        store.hook = fail_once(name, subject, RegistryUnavailableError("gone"))
        opened, told = begun()
        assert told == []
        with opened, pytest.raises(RegistryUnavailableError):  # noqa: PT012  the journal must see it too
            try:
                await merge(opened.over(store), records, tags=[FIXED, LATEST])
            except RegistryUnavailableError as error:
                opened.__exit__(type(error))
                raise
    _, told = begun()
    assert told[0].endswith("was stopped by an error")
    assert "1.4.2 (new)" in told[1]


def told_after(tag: Tag, error: RegistryError) -> list[str]:
    """What the next run, which moves other tags, tells after a merge that could not write one."""

    async def merged(opened: Journal) -> None:
        store, records = await three_builds()
        store.plant(LATEST, OLD.manifest)
        store.hook = fail_once("put", str(tag), error)
        await merge(opened.over(store), records, tags=[FIXED, LATEST])

    opened, _ = begun()
    with pytest.raises(type(error)), opened:
        anyio.run(merged, opened)
    again, told = begun([STABLE])
    again.close("done")
    return told


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ImmutableTagError("it is there"), id="an immutable tag"),
        pytest.param(DeniedError("not allowed"), id="denied"),
    ],
)
def test_a_tag_that_was_refused_before_any_moved_is_no_news_for_the_next_run(error: RegistryError) -> None:
    assert told_after(FIXED, error) == []


@pytest.mark.usefixtures("folder")
def test_a_tag_that_was_refused_after_others_had_moved_is_told_as_refused() -> None:
    _, *lines = told_after(LATEST, ImmutableTagError("it is there"))
    written, *others = (line.strip() for line in lines)
    assert written.endswith("1.4.2 (new)")
    assert others == ["refused: latest", "this run looks at everything again"]


@pytest.mark.usefixtures("folder")
@pytest.mark.anyio
async def test_once_stopped_no_write_begins() -> None:
    store, records = await three_builds()
    opened, _ = begun()

    def stop(name: str, subject: str) -> None:
        if (name, subject) == ("put", "1.4.2"):
            opened.stop()

    store.hook = stop
    with pytest.raises(StoppedError):
        await merge(opened.over(store), records, tags=[FIXED, LATEST])
    assert store.tagged.keys() == {FIXED}
    assert opened.kept().splitlines()[1:] == [
        f"  written: {next(iter(store.tagged.values()))}, 1.4.2 (new)",
        "  as they were: latest",
    ]


@pytest.mark.anyio
@pytest.mark.usefixtures("folder")
async def test_what_was_deleted_is_told_as_that() -> None:
    store, records = await three_builds()
    gone, left = records[0].image.digest, records[1].image.digest
    opened = journal.begin("prune", REPOSITORY, [])
    assert await opened.over(store).delete(gone)
    await opened.before(journal_lines.delete(left))
    kill(opened)
    told: list[str] = []
    with journal.begin("prune", REPOSITORY, [], tell=told.append):
        assert told[1:] == [
            f"  deleted: {gone}",
            f"  begun, and not confirmed: {left}",
            "  this run looks at everything again and finishes what is left",
        ]


# Nothing about it may be in the way of a release.


def spoiled(folder: Path, how: str) -> None:
    if how == "a file in place of the folder":
        folder.write_text("")
        return
    folder.mkdir()
    path = folder / f"merge-{Digest.of(REPOSITORY.encode()).hex[:16]}.jsonl"
    if how == "a link":
        (folder / "elsewhere").write_text("precious")
        path.symlink_to(folder / "elsewhere")
    elif how == "a named pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("how", ["a file in place of the folder", "a link", "a named pipe", "a folder"])
@pytest.mark.anyio
async def test_a_journal_that_cannot_be_written_is_a_warning_and_no_more(folder: Path, how: str) -> None:
    spoiled(folder, how)
    opened, (warning,) = begun()
    with opened, anyio.fail_after(5):
        await publish(opened)
    assert warning.startswith("warning: no journal is kept (")
    assert str(folder) in warning
    if how == "a link":
        assert (folder / "elsewhere").read_text() == "precious"


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.usefixtures("folder")
@pytest.mark.anyio
async def test_a_disk_that_fills_up_is_told_once(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    opened, told = begun()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with opened:
        await publish(opened)
    assert [line.count("No space left on device") for line in told] == [1]


def test_a_dry_run_keeps_none(folder: Path) -> None:
    with journal.begin("merge", REPOSITORY, [LATEST], dry_run=True):
        assert not folder.exists()


def test_a_file_is_the_users_own_and_of_bounded_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FILE_MAX_BYTES", 2000)
    opened, _ = begun()
    with opened:
        for number in range(100):
            opened.after(journal_lines.done(Digest.of(bytes([number]))))
    (path,) = folder.iterdir()
    assert path.stat().st_size < 2200
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert found_in(folder)[-1]["do"] == "end"


def test_a_file_that_was_taken_away_after_it_was_opened_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs begin at once: one removes what it has read of a third while the other is opening it."""
    kill(begun()[0])
    (path,) = folder.iterdir()
    real = fcntl.flock

    def flock(file: int, how: int) -> None:
        path.unlink(missing_ok=True)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    opened, _ = begun()
    monkeypatch.undo()
    monkeypatch.setenv("ANYARCH_CACHE", str(folder.parent))
    kill(opened)
    assert begun()[1], "it is found by the next"


def test_old_files_are_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FILES_MAX", 3)
    for number in range(6):
        with journal.begin("merge", f"registry.example.com/r{number}", [LATEST]):
            pass
    assert count(folder) <= 4


@pytest.mark.usefixtures("folder")
def test_a_layout_is_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kill(journal.begin("merge", "oci:dist", [LATEST]))
    told: list[str] = []
    with journal.begin("merge", f"oci:{tmp_path}/dist", [LATEST], tell=told.append):
        assert told


LINES = st.binary(max_size=80) | st.sampled_from(
    [
        b'{"do":"begin","command":"merge","destination":"\\u001b[31m","tags":["\\u001b","x"],"when":7}',
        b'{"do":"begin","command":"merge","destination":"r","tags":{"a":1},"when":"now"}',
        b'{"do":"write","target":"latest","was":"sha256:beef"}',
        b'{"do":"write","target":["latest"]}',
        b'{"do":"write","target":"x\\u001b","was":"new"}',
        b'{"do":"end","outcome":"magic"}',
        b'{"do":[],"do":1}',
        b"[" * 5000,
    ]
)


@given(st.lists(LINES, max_size=6))
def test_whatever_stands_in_a_journal_it_is_read_and_shows_no_control_character(found: list[bytes]) -> None:
    for line in journal_lines.read(b"\n".join(found)).told(["latest", "x"]):
        assert line.isprintable()
