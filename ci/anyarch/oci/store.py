"""What merge and verify need of a place that keeps manifests and blobs.

Two things implement it: a registry's repository and an OCI layout directory (room ``registry``). Code
that takes a ``Store`` does not know which one it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.reference import Tag


class Store(Protocol):
    """One repository of manifests and blobs. Every call has a deadline of its own.

    All methods raise a ``RegistryError`` of ``anyarch.errors`` and nothing else: ``NotFoundError`` where
    the thing asked for is not there, ``ContentError`` where bytes are not what their name says.
    """

    @property
    def name(self) -> str:
        """The repository as a user writes it: ``host/path`` or ``oci:DIR``."""
        ...

    async def head(self, target: Digest | Tag) -> Descriptor | None:
        """Media type, digest and size of a manifest, or None if there is no such manifest."""
        ...

    async def get(self, target: Digest | Tag) -> Manifest:
        """A manifest, its bytes verified against the digest asked for."""
        ...

    async def put(self, target: Digest | Tag, manifest: Manifest) -> None:
        """Write a manifest under its digest or a tag; writing what is already there is no error."""
        ...

    async def delete(self, digest: Digest) -> bool:
        """Remove a manifest; False if it was not there. Whatever it names stays.

        Nothing is checked: tags that point at it go with it, indexes that name it are left broken. In a
        layout every file is named by its digest alone, so that this removes blobs as well.
        """
        ...

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether a blob of this digest is there, and of this size where the store tells."""
        ...

    async def get_blob(self, blob: Descriptor, *, max_bytes: int) -> bytes:
        """A small blob (a config), verified; longer than ``max_bytes`` is a ``ContentError``."""
        ...

    def stream_blob(self, blob: Descriptor) -> AsyncIterator[bytes]:
        """A blob of any size in chunks; the last chunk comes only after size and digest held."""
        ...

    async def copy_blob(self, blob: Descriptor, source: Store) -> bool:
        """Bring a blob here from ``source`` (mounted where possible); False if it was here already."""
        ...

    async def tags(self) -> list[str]:
        """Every tag, sorted."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...
