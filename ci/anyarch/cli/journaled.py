"""A store whose writes are written down first, and which begins none after an interruption."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from anyarch.cli import journal_lines as lines
from anyarch.cli.interrupt import StoppedError
from anyarch.errors import RegistryError
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Index
from anyarch.oci.reference import Tag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from anyarch.cli.journal_lines import Was
    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.store import Store


class Notes(Protocol):
    """Where writes are written down."""

    stopped: bool

    async def before(self, line: Mapping[str, object]) -> None:
        """Keep a line, and return when it cannot be lost any more."""
        ...

    def after(self, line: Mapping[str, object]) -> None:
        """Keep a line."""
        ...


class JournaledStore:
    """A ``Store`` that tells ``notes`` of each index and tag before and after it is written.

    Images by digest and blobs are not told: nobody sees them before an index or a tag.

    Args:
        store: Where things really are.
        notes: What is told.
    """

    def __init__(self, store: Store, notes: Notes) -> None:
        self._store = store
        self._notes = notes
        self._seen: dict[Tag, Was] = {}

    @property
    def name(self) -> str:
        """The repository as a user writes it."""
        return self._store.name

    @property
    def wrapped(self) -> Store:
        """The store itself, for questions that only its own kind answers."""
        return self._store

    async def head(self, target: Digest | Tag) -> Descriptor | None:
        """Media type, digest and size of a manifest, or None if there is no such manifest."""
        found = await self._store.head(target)
        if isinstance(target, Tag):
            self._seen[target] = found.digest if found else "new"
        return found

    async def get(self, target: Digest | Tag) -> Manifest:
        """A manifest, its bytes verified against the digest asked for."""
        found = await self._store.get(target)
        if isinstance(target, Tag):
            self._seen[target] = found.digest
        return found

    async def put(self, target: Digest | Tag, manifest: Manifest) -> None:
        """Write a manifest; an index or a tag only after it was written down."""
        if isinstance(target, Digest) and not isinstance(manifest, Index):
            await self._store.put(target, manifest)
            return
        was = self._seen.get(target, "unknown") if isinstance(target, Tag) else "new"
        await self._before(target, lines.write(target, manifest.digest, was))
        with self._noting(target):
            await self._store.put(target, manifest)
        if isinstance(target, Tag):
            self._seen[target] = manifest.digest

    async def delete(self, digest: Digest) -> bool:
        """Remove a manifest, after that was written down."""
        await self._before(digest, lines.delete(digest))
        with self._noting(digest):
            return await self._store.delete(digest)

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether a blob of this digest is there."""
        return await self._store.has_blob(blob)

    async def get_blob(self, blob: Descriptor, *, max_bytes: int) -> bytes:
        """A small blob (a config), verified."""
        return await self._store.get_blob(blob, max_bytes=max_bytes)

    def stream_blob(self, blob: Descriptor) -> AsyncIterator[bytes]:
        """A blob of any size in chunks."""
        return self._store.stream_blob(blob)

    async def copy_blob(self, blob: Descriptor, source: Store) -> bool:
        """Bring a blob here from ``source``; False if it was here already."""
        return await self._store.copy_blob(blob, source)

    async def tags(self) -> list[str]:
        """Every tag, sorted."""
        return await self._store.tags()

    async def aclose(self) -> None:
        """Release connections."""
        await self._store.aclose()

    @contextmanager
    def _noting(self, target: Digest | Tag) -> Iterator[None]:
        """Note that a write was confirmed, or was refused for certain."""
        try:
            yield
        except RegistryError as error:
            if error.is_refusal:
                self._notes.after(lines.refused(target))
            raise
        self._notes.after(lines.done(target))

    async def _before(self, target: Digest | Tag, line: Mapping[str, object]) -> None:
        """Write a line down; once we are to stop, begin nothing.

        Writes are shielded from cancellation, so that one under way is finished. One that was only being
        written down learns here that it was cancelled meanwhile.
        """
        in_time = not self._notes.stopped
        if in_time:
            await self._notes.before(line)
        if not self._notes.stopped:
            return
        if in_time:
            self._notes.after(lines.left(target))
        raise StoppedError
