"""A ``Store`` in memory that writes down every call, for unit tests of what stands on a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import anyio
import anyio.lowlevel
from anyarch.errors import ContentError, NotFoundError, RegistryError
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Image, Index
from anyarch.oci.reference import Tag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.store import Store

CHUNK_BYTES = 64 * 1024
WRITES = frozenset({"put", "copy_blob", "delete"})


@dataclass
class MemoryStore:
    """One repository in memory.

    Args:
        name: How messages call it.
        hook: Called before each call with its name and subject: to fail, to count, to meddle.
    """

    name: str = "registry.example.com/shop/api"
    hook: Callable[[str, str], None] | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    tagged: dict[Tag, Digest] = field(default_factory=dict)

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] in WRITES]

    async def head(self, target: Digest | Tag) -> Descriptor | None:
        await self._called("head", target)
        manifest = self._find(target)
        return None if manifest is None else manifest.descriptor

    async def get(self, target: Digest | Tag) -> Manifest:
        await self._called("get", target)
        manifest = self._find(target)
        if manifest is None:
            raise NotFoundError(f"{self.name} has no manifest {target}")
        if isinstance(target, Digest):
            target.check(manifest.raw, subject=f"{self.name}@{target}")
        return manifest

    async def put(self, target: Digest | Tag, manifest: Manifest) -> None:
        await self._called("put", target)
        missing = [digest for digest in _parts(manifest) if digest not in {*self.manifests, *self.blobs}]
        if missing:
            raise NotFoundError(f"{self.name} has no {missing[0]}, which {manifest.digest} names")
        if isinstance(target, Digest):
            target.check(manifest.raw, subject=f"{self.name}@{target}")
        self.plant(target, manifest)

    async def delete(self, digest: Digest) -> bool:
        await self._called("delete", digest)
        self.tagged = {tag: target for tag, target in self.tagged.items() if target != digest}
        return self.manifests.pop(digest, None) is not None

    def plant(self, target: Digest | Tag, manifest: Manifest) -> None:
        """Write unchecked: what a careless registry takes, or what lost its parts later."""
        digest = manifest.digest if isinstance(target, Tag) else target
        self.manifests[digest] = manifest
        if isinstance(target, Tag):
            self.tagged[target] = digest

    async def has_blob(self, blob: Descriptor) -> bool:
        await self._called("has_blob", blob.digest)
        content = self.blobs.get(blob.digest)
        return content is not None and len(content) == blob.size

    async def get_blob(self, blob: Descriptor, *, max_bytes: int) -> bytes:
        await self._called("get_blob", blob.digest)
        if blob.size > max_bytes:
            raise ContentError(f"{self.name}@{blob.digest}: longer than {max_bytes} bytes")
        return self._content(blob)

    async def stream_blob(self, blob: Descriptor) -> AsyncIterator[bytes]:
        await self._called("stream_blob", blob.digest)
        content = self._content(blob)
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]

    async def copy_blob(self, blob: Descriptor, source: Store) -> bool:
        await self._called("copy_blob", blob.digest)
        if blob.digest in self.blobs:
            return False
        content = b"".join([chunk async for chunk in source.stream_blob(blob)])
        blob.digest.check(content, subject=f"{self.name}@{blob.digest}")
        self.blobs[blob.digest] = content
        return True

    async def tags(self) -> list[str]:
        await self._called("tags", "")
        return sorted(str(tag) for tag in self.tagged)

    async def aclose(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _find(self, target: Digest | Tag) -> Manifest | None:
        digest = self.tagged.get(target) if isinstance(target, Tag) else target
        return None if digest is None else self.manifests.get(digest)

    def _content(self, blob: Descriptor) -> bytes:
        content = self.blobs.get(blob.digest)
        if content is None:
            raise NotFoundError(f"{self.name} has no blob {blob.digest}")
        if len(content) != blob.size:
            raise ContentError(f"{self.name}@{blob.digest}: expected {blob.size} bytes, found {len(content)}")
        blob.digest.check(content, subject=f"{self.name}@{blob.digest}")
        return content

    async def _called(self, name: str, subject: object) -> None:
        await anyio.lowlevel.checkpoint()  # as a request would: others run, and cancellation arrives
        self.calls.append((name, str(subject)))
        if self.hook is not None:
            self.hook(name, str(subject))
        await anyio.lowlevel.checkpoint()  # the answer is on its way: who is cancelled now has begun


def _parts(manifest: Manifest) -> list[Digest]:
    """What a registry wants to have before the manifest."""
    if isinstance(manifest, Index):
        return [child.digest for child in manifest.manifests]
    assert isinstance(manifest, Image)
    layers = [layer for layer in manifest.layers if not layer.lives_elsewhere]
    return [part.digest for part in (manifest.config, *layers)]


def fail_once(name: str, subject: str, error: RegistryError) -> Callable[[str, str], None]:
    """A hook: the first such call raises ``error``, before anything happened."""
    failed: list[bool] = []

    def hook(called: str, about: str) -> None:
        if not failed and called == name and about == subject:
            failed.append(True)
            raise error

    return hook
