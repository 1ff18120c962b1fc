"""The files of an OCI layout: opened without following links, written so that a crash leaves no half.

Names come from digests only, and every directory on the way is opened with ``O_NOFOLLOW``.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final

from anyarch.errors import ContentError, FileProblemError, NotFoundError
from anyarch.oci import strict_json
from anyarch.registry.layout_listing import blobs_in
from anyarch.registry.layout_lock import LOCK_FILE, locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anyarch.oci.digest import Digest
    from anyarch.oci.inventory import Held

_LAYOUT_FILE: Final = "oci-layout"
_LAYOUT_VERSION: Final = "1.0.0"
_LAYOUT_MAX_BYTES: Final = 64 * 1024
_TEMPORARY_PREFIX: Final = ".anyarch-"
_TEMPORARY_STALE_SECONDS: Final = 24 * 3600.0  # no write takes that long: its process was killed
# A link may lead out of a stranger's folder; a pipe or device may never end.
_PLAIN: Final = "only plain files and folders are read in a layout: write it again, or copy it with cp -rL"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: a named pipe in a stranger's layout must not hold us.
_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATING: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NewFile:
    """A file being written: nobody sees it before ``commit``, and nothing is left without it."""

    def __init__(self, directory: int, name: str) -> None:
        self._directory = directory
        self._name = name
        self._temporary = f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        descriptor = os.open(self._temporary, _CREATING, 0o666, dir_fd=directory)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb")

    def write(self, chunk: bytes) -> None:
        """Append."""
        with _problems_named(self._name):
            self._file.write(chunk)

    def commit(self) -> None:
        """Sync, and put the file in its place."""
        with _problems_named(self._name):
            self._file.flush()
            os.fsync(self._file.fileno())
            os.rename(self._temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            os.fsync(self._directory)

    def discard(self) -> None:
        """Drop what was not committed."""
        with suppress(OSError):  # closing flushes, which a full disk refuses once more
            self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._temporary, dir_fd=self._directory)


class LayoutFiles:
    """The files of one layout.

    Args:
        path: Its directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the directory a layout, if it is none yet.

        Raises:
            ContentError: it is a layout of another version, or not to be trusted.
            FileProblemError: it cannot be written.
        """
        if self.exists():
            return
        with _problems_named(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
        self.write(_LAYOUT_FILE, strict_json.dumps({"imageLayoutVersion": _LAYOUT_VERSION}))

    def exists(self) -> bool:
        """Whether there is a layout that we can read.

        Raises:
            ContentError: there is one of another version, or it is not to be trusted.
        """
        raw = self.read(_LAYOUT_FILE, _LAYOUT_MAX_BYTES)
        if raw is None:
            return False
        subject = str(self.path / _LAYOUT_FILE)
        document = strict_json.loads_object(raw, subject=subject, max_bytes=_LAYOUT_MAX_BYTES)
        version = document.get("imageLayoutVersion")
        if version != _LAYOUT_VERSION:
            raise ContentError(
                f"{subject}: layout version {str(version)[:40]!r}, but only {_LAYOUT_VERSION} is known"
            )
        return True

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """A file at the top of the layout, or None if it is not there."""
        with ExitStack() as stack:
            root = self._enter(stack)
            file = None if root is None else self._open(stack, root, name)
            return None if file is None else _read_up_to(file, max_bytes, str(self.path / name))

    def write(self, name: str, content: bytes) -> None:
        """Replace a file at the top of the layout."""
        with ExitStack() as stack, _problems_named(str(self.path / name)):
            root = self._enter(stack)
            if root is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            new = NewFile(root, name)
            stack.callback(new.discard)
            new.write(content)
            new.commit()

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob, or None if it is not there."""
        with ExitStack() as stack:
            folder = self._enter(stack, "blobs", digest.algorithm)
            file = None if folder is None else self._open(stack, folder, digest.hex)
            return None if file is None else os.fstat(file.fileno()).st_size

    @contextmanager
    def open_blob(self, digest: Digest) -> Iterator[IO[bytes]]:
        """A blob, to be read and verified.

        Raises:
            NotFoundError: it is not there.
        """
        with ExitStack() as stack:
            folder = self._enter(stack, "blobs", digest.algorithm)
            file = None if folder is None else self._open(stack, folder, digest.hex)
            if file is None:
                raise NotFoundError(f"oci:{self.path}@{digest}: there is no such blob")
            yield file

    def read_blob(self, digest: Digest, max_bytes: int) -> bytes:
        """A small blob, not verified yet."""
        with self.open_blob(digest) as file:
            return _read_up_to(file, max_bytes, f"oci:{self.path}@{digest}")

    @contextmanager
    def new_blob(self, digest: Digest) -> Iterator[NewFile]:
        """A blob to be written; it appears with ``commit``."""
        with ExitStack() as stack:
            with _problems_named(str(self.path)):
                folder = self._enter(stack, "blobs", digest.algorithm, create=True)
                if folder is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                new = NewFile(folder, digest.hex)
            stack.callback(new.discard)
            yield new

    def stored(self) -> list[Held]:
        """Every blob; a file whose name is no digest is none."""
        with ExitStack() as stack, _problems_named(f"{self.path}: blobs"):
            folders = {name: self._enter(stack, "blobs", name) for name in ("sha256", "sha512")}
            return [
                held for name, each in folders.items() if each is not None for held in blobs_in(each, name)
            ]

    def remove(self, digest: Digest) -> bool:
        """Delete a blob's file; False if there is none."""
        with ExitStack() as stack, _problems_named(f"{self.path}: {digest}"):
            folder = self._enter(stack, "blobs", digest.algorithm)
            if folder is None:
                return False
            try:
                os.unlink(digest.hex, dir_fd=folder)
            except FileNotFoundError:
                return False
            os.fsync(folder)
            return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers of ``index.json`` out.

        Raises:
            RegistryUnavailableError: another process keeps it for longer than 30 s.
        """
        with ExitStack() as stack:
            with _problems_named(str(self.path)):
                root = self._enter(stack)
                if root is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                stack.enter_context(locked(root, str(self.path / LOCK_FILE)))
            for folder in (root, self._enter(stack, "blobs", "sha256")):
                if folder is not None:
                    _remove_stale(folder)
            yield

    def _enter(self, stack: ExitStack, *parts: str, create: bool = False) -> int | None:
        """Open a directory of the layout step by step; None if it is not there."""
        with _problems_named(str(self.path.joinpath(*parts))):
            try:
                directory = os.open(self.path, _DIRECTORY)
                stack.callback(os.close, directory)
                for part in parts:
                    if create:
                        with suppress(FileExistsError):
                            os.mkdir(part, dir_fd=directory)
                    directory = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                    stack.callback(os.close, directory)
            except FileNotFoundError:
                return None
            return directory

    def _open(self, stack: ExitStack, directory: int, name: str) -> IO[bytes] | None:
        with _problems_named(f"{self.path}: {name}"):
            try:
                descriptor = os.open(name, _READING, dir_fd=directory)
            except FileNotFoundError:
                return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ContentError(f"{self.path}: {name} is not a regular file", hint=_PLAIN)
        return stack.enter_context(os.fdopen(descriptor, "rb"))


def _read_up_to(file: IO[bytes], max_bytes: int, subject: str) -> bytes:
    content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ContentError(f"{subject}: longer than the {max_bytes} bytes allowed")
    return content


def _remove_stale(directory: int) -> None:
    """What killed processes left."""
    for name in os.listdir(directory):
        if name.startswith(_TEMPORARY_PREFIX):
            with suppress(OSError):
                written_at = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
                if time.time() - written_at > _TEMPORARY_STALE_SECONDS:
                    os.unlink(name, dir_fd=directory)


@contextmanager
def _problems_named(subject: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            what = f"{subject}: a symbolic link, or not what a layout has there"
            raise ContentError(what, hint=_PLAIN) from error
        raise FileProblemError(f"{subject}: {error.strerror}") from error
