"""A journal of what is being written to a registry or layout, on disk before each write.

It informs and decides nothing: the registry is the truth, and a second run converges without any
journal. There is one file for each command and destination, in the folder ``journal`` of the cache; it
holds the last run's lines. No credential can get into it: it names repositories, tags and digests.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.to_thread

from anyarch.cli import journal_lines as lines
from anyarch.cli.journaled import JournaledStore
from anyarch.cli.output import note
from anyarch.engine.native.places import cache_folder
from anyarch.oci.digest import Digest
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.history import rfc3339_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from anyarch.cli.journal_lines import Outcome
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store

FILE_MAX_BYTES: Final = 1024 * 1024
FILES_MAX: Final = 100
_END_MAX_BYTES: Final = 1024
_AT_ONCE_MAX: Final = 8  # runs of one command to one destination, each with a file of its own
_OPENING: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Journal:
    """The journal of one run of a command. Use it as ``with begin(…) as journal``.

    A file that cannot be written is told as a warning, and the run goes on without: ``file`` is None then.
    """

    def __init__(self, file: int | None, tell: Callable[[str], None]) -> None:
        self.stopped = False
        self.file = file
        self._tell = tell
        self._done = lines.Done()
        self._kept_bytes = 0
        self._written, self._synced = 0, 0
        self._syncing = anyio.Lock()

    def over(self, store: Store) -> Store:
        """The store, with each write of an index or a tag written down first."""
        return JournaledStore(store, self)

    def stop(self) -> None:
        """Begin no more writes: an interruption has come."""
        self.stopped = True

    def kept(self) -> str:
        """What an interrupted run leaves behind, for people."""
        states = self._done.states() if self._done.begun else []
        if not states:
            return "interrupted: nothing was written"
        found = "".join(f"\n  {state}" for state in states)
        return f"interrupted: every tag points at something complete; do the same again to finish{found}"

    def first(self, command: str, destination: str, tags: Sequence[str]) -> None:
        """Begin: what is going to be done."""
        self.after(lines.begin(command, destination, tags, rfc3339_now()))

    async def before(self, line: Mapping[str, object]) -> None:
        """Keep a line, and return when it is on disk; lines that come together are synced together."""
        self.after(line)
        number = self._written
        async with self._syncing:
            if self.file is None or self._synced >= number:
                return
            written, file = self._written, self.file
            try:
                await anyio.to_thread.run_sync(os.fsync, file)
            except OSError as error:
                self._give_up(error)
            self._synced = written

    def after(self, line: Mapping[str, object]) -> None:
        """Keep a line; it is in the system's hands when this returns, and survives our death."""
        self._done.take(line)
        self._written += 1
        raw = lines.encoded(line)
        self._kept_bytes += len(raw)
        if self.file is None or (self._kept_bytes > FILE_MAX_BYTES and line["do"] != "end"):
            return
        try:
            os.write(self.file, raw)
        except OSError as error:
            self._give_up(error)

    def close(self, outcome: Outcome) -> None:
        """End it: the closing line."""
        self.after(lines.end(outcome, rfc3339_now()))
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = self.stopped or (kind is not None and issubclass(kind, KeyboardInterrupt))
        self.close("done" if kind is None else "interrupted" if stopped else "failed")

    def _give_up(self, error: OSError) -> None:
        file, self.file = self.file, None
        if file is not None:
            os.close(file)
            self._tell(_without(error))


def begin(
    command: str,
    destination: str,
    tags: Iterable[Tag],
    *,
    dry_run: bool = False,
    tell: Callable[[str], None] = note,
) -> Journal:
    """Begin a journal, and tell what an earlier run of the same command left unfinished there.

    Args:
        command: Which: merge, run, promote, rollback, prune …
        destination: Where it writes: a repository, or ``oci:DIR``.
        tags: What it is to move.
        dry_run: Nothing will be written: no file, nothing told.
        tell: Takes lines for people.
    """
    names = [str(tag) for tag in tags]
    if dry_run:
        return Journal(None, tell)
    if destination.startswith(LAYOUT_PREFIX):
        destination = f"{LAYOUT_PREFIX}{Path(destination.removeprefix(LAYOUT_PREFIX)).absolute()}"
    file: int | None = None
    try:
        folder = cache_folder() / "journal"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stem = f"{command}-{Digest.of(destination.encode(errors='surrogateescape')).hex[:16]}"
        file, found = _take_over(folder, stem)
        _forget_oldest(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody's home is known
        tell(_without(error))
        found = []
    for earlier in found:
        for line in earlier.told(names):
            tell(line)
    journal = Journal(file, tell)
    journal.first(command, destination, names)
    return journal


def _without(error: Exception) -> str:
    why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"warning: no journal is kept ({where}{why}); if this run is interrupted, do the same again"


def _take_over(folder: Path, stem: str) -> tuple[int | None, list[lines.Done]]:
    """A file of our own, and what those say that no living run holds."""
    ours: int | None = None
    found: list[lines.Done] = []
    for number in range(_AT_ONCE_MAX):
        path = folder / f"{stem}{f'.{number}' if number else ''}.jsonl"
        if ours is not None and not path.exists():
            continue
        file = _open(path)
        if file is None:
            continue
        found.append(lines.read(os.pread(file, FILE_MAX_BYTES + _END_MAX_BYTES, 0)))
        if ours is None:
            ours = file
            os.ftruncate(file, 0)
            _sync_folder(folder)
        else:
            path.unlink(missing_ok=True)
            os.close(file)
    if ours is None:
        raise BlockingIOError(0, f"{_AT_ONCE_MAX} others are at work", str(folder / stem))
    return ours, found


def _sync_folder(folder: Path) -> None:
    """Make a new file's name as lasting as what is in it."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _open(path: Path) -> int | None:
    """A journal's file, locked; None if a living run holds it."""
    file = os.open(path, _OPENING, 0o600)
    try:
        _check_regular(file, path)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _check_there(file)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError:
        os.close(file)
        raise
    return file


def _check_regular(file: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(0, "not a regular file", str(path))


def _check_there(file: int) -> None:
    """Refuse a file that another run took away after we had opened it: nobody would ever read it."""
    if not os.fstat(file).st_nlink:
        raise BlockingIOError


def _forget_oldest(folder: Path) -> None:
    """Keep the folder small: one file for each command and destination, of the newest hundred."""
    paths = list(folder.glob("*.jsonl"))
    if len(paths) <= FILES_MAX:
        return
    with suppress(OSError):  # somebody else does the same
        for path in sorted(paths, key=lambda each: each.stat().st_mtime)[: len(paths) - FILES_MAX]:
            path.unlink()
