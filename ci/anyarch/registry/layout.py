"""An OCI layout directory, as a ``Store``.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md

Every file is written beside its place, synced and renamed; ``index.json`` changes under a lock. A layout
is a stranger's folder: no symbolic link inside it is followed, and no byte is believed unverified.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

import anyio.to_thread

from anyarch.errors import ContentError, NotFoundError
from anyarch.oci.digest import Digest
from anyarch.oci.inventory import Inventory
from anyarch.oci.manifest import MANIFEST_MAX_BYTES, Image, Index, Manifest
from anyarch.registry.layout_files import LayoutFiles
from anyarch.registry.layout_index import LayoutIndex
from anyarch.registry.verified import Verifier, too_long

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path
    from typing import TypeVar

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store

    T = TypeVar("T")

_ALTERED: Final = "a file of the layout was altered: write it again"
_CHUNK_BYTES: Final = 1024 * 1024


class LayoutStore:
    """One layout directory; it comes into being with the first write.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = LayoutFiles(path)
        self._index = LayoutIndex(self._files)

    @property
    def name(self) -> str:
        """``oci:DIR``."""
        return f"oci:{self.path}"

    async def head(self, target: Digest | Tag) -> Descriptor | None:
        """Media type, digest and size of a manifest, or None if there is no such manifest."""
        try:
            found = await self.get(target)
        except NotFoundError:
            return None
        digest = target if isinstance(target, Digest) else found.digest
        return replace(found.descriptor, digest=digest)

    async def get(self, target: Digest | Tag) -> Manifest:
        """A manifest, its bytes verified against the digest asked for."""
        return await _in_thread(lambda: self._get(target))

    async def put(self, target: Digest | Tag, manifest: Manifest) -> None:
        """Write a manifest under its digest or a tag; writing what is already there is no error."""
        await _in_thread(lambda: self._put(target, manifest))

    async def delete(self, digest: Digest) -> bool:
        """Remove a manifest or blob, and the tags that point at it; False if it was not there."""
        return await _in_thread(lambda: self._delete(digest))

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether a blob of this digest and size is there."""
        return await _in_thread(lambda: self._files.size(blob.digest)) == blob.size

    async def get_blob(self, blob: Descriptor, *, max_bytes: int) -> bytes:
        """A small blob (a config), verified; longer than ``max_bytes`` is a ``ContentError``."""
        if blob.size > max_bytes:
            raise too_long(blob, max_bytes, self.name)
        return b"".join([chunk async for chunk in self.stream_blob(blob)])

    async def stream_blob(self, blob: Descriptor) -> AsyncGenerator[bytes]:
        """A blob of any size in chunks; the last chunk comes only after size and digest held."""
        verifier = Verifier(blob, subject=f"{self.name}@{blob.digest}")
        with self._files.open_blob(blob.digest) as file:
            while chunk := await _in_thread(lambda: file.read(_CHUNK_BYTES)):
                verifier.take(chunk)
                yield chunk
        verifier.finish()

    async def copy_blob(self, blob: Descriptor, source: Store) -> bool:
        """Bring a blob here from ``source``; False if it was here already."""
        if await self.has_blob(blob):
            return False
        await _in_thread(self._files.prepare)
        verifier = Verifier(blob, subject=f"{source.name}@{blob.digest}")
        with self._files.new_blob(blob.digest) as new:
            async for chunk in source.stream_blob(blob):
                verifier.take(chunk)
                await anyio.to_thread.run_sync(new.write, chunk)
            verifier.finish()
            await _in_thread(new.commit)
        return True

    async def tags(self) -> list[str]:
        """Every tag, sorted; none if there is no layout yet."""
        return await _in_thread(self._index.tags)

    async def inventory(self) -> Inventory:
        """Every file under ``blobs``; what ``index.json`` names without a tag stays, too."""
        return await _in_thread(self._inventory)

    async def aclose(self) -> None:
        """Nothing is kept open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _get(self, target: Digest | Tag) -> Manifest:
        if isinstance(target, Digest):
            entry, digest, announced, subject = None, target, "", f"{self.name}@{target}"
        else:
            entry = self._index.entry(target)
            digest, announced, subject = entry.digest, entry.media_type, f"{self.name}:{target}"
        raw = self._files.read_blob(digest, MANIFEST_MAX_BYTES)
        if entry is not None and entry.size != len(raw):
            raise ContentError(
                f"{subject}: index.json says {entry.size} bytes, found {len(raw)}", hint=_ALTERED
            )
        digest.check(raw, subject=subject, hint=_ALTERED)
        return Manifest.from_bytes(raw, media_type=announced, subject=subject)

    def _put(self, target: Digest | Tag, manifest: Manifest) -> None:
        if isinstance(target, Digest):
            target.check(manifest.raw, subject=f"{self.name}@{target}")
        self._require_parts(manifest)
        self._files.prepare()
        digest = target if isinstance(target, Digest) else manifest.digest
        if self._files.size(digest) != manifest.size:
            with self._files.new_blob(digest) as new:
                new.write(manifest.raw)
                new.commit()
        if not isinstance(target, Digest):
            self._index.point(target, manifest.descriptor)

    def _delete(self, digest: Digest) -> bool:
        self._index.drop(digest)  # first: a tag never points at a file that is gone
        return self._files.remove(digest)

    def _inventory(self) -> Inventory:
        targets = self._index.targets()
        if targets is None:  # no layout, or one that lost its index: nobody can tell what is needed
            return Inventory(held=(), roots={}, blobs=True)
        roots = dict.fromkeys(targets, "index.json names it")
        return Inventory(held=tuple(self._files.stored()), roots=roots, blobs=True)

    def _require_parts(self, manifest: Manifest) -> None:
        """Refuse a manifest before what it names is here, as a registry does."""
        parts = manifest.manifests if isinstance(manifest, Index) else ()
        if isinstance(manifest, Image):
            parts = (manifest.config, *(layer for layer in manifest.layers if not layer.lives_elsewhere))
        for part in parts:
            size = self._files.size(part.digest)
            if size is None:
                raise NotFoundError(f"{self.name}: {manifest.digest} names {part.digest}, which is not here")
            if size != part.size:
                raise ContentError(f"{self.name}@{part.digest} has {size} bytes instead of {part.size}")


async def _in_thread(work: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(work)
