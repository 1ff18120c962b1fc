"""Several stores read as one: the destination first, then the places that images are to come from."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, TypeVar

from anyarch.errors import NotFoundError, UsageError
from anyarch.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store

T = TypeVar("T")


class View:
    """What the destination will hold once the images of the other places have come; nothing is written.

    Only what has a digest is looked for elsewhere: tags are the destination's own.

    Args:
        destination: Whose name, tags and writes these are.
        sources: Further places, asked in turn.
    """

    def __init__(self, destination: Store, sources: Sequence[Store]) -> None:
        self._destination = destination
        self._all = (destination, *sources)

    @property
    def name(self) -> str:
        """The destination's."""
        return self._destination.name

    async def head(self, target: Digest | Tag) -> Descriptor | None:
        """Media type, digest and size of a manifest, or None if there is no such manifest."""
        for store in self._places(target):
            if found := await store.head(target):
                return found
        return None

    async def get(self, target: Digest | Tag) -> Manifest:
        """A manifest, its bytes verified against the digest asked for."""
        return await self._first(self._places(target), lambda store: store.get(target), str(target))

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether one of the places has a blob."""
        for store in self._all:
            if await store.has_blob(blob):
                return True
        return False

    async def get_blob(self, blob: Descriptor, *, max_bytes: int) -> bytes:
        """A small blob (a config), verified; longer than ``max_bytes`` is a ``ContentError``."""
        return await self._first(
            self._all, lambda store: store.get_blob(blob, max_bytes=max_bytes), str(blob.digest)
        )

    def stream_blob(self, blob: Descriptor) -> AsyncIterator[bytes]:
        """Nobody needs the bytes of what has not come yet."""
        self._refuse(f"stream {blob.digest}")

    async def tags(self) -> list[str]:
        """Every tag of the destination, sorted."""
        return await self._destination.tags()

    async def put(self, target: Digest | Tag, manifest: Manifest) -> None:
        """Refuse."""
        self._refuse(f"put {manifest.digest} as {target}")

    async def delete(self, digest: Digest) -> bool:
        """Refuse."""
        self._refuse(f"delete {digest}")

    async def copy_blob(self, blob: Descriptor, source: Store) -> bool:
        """Refuse."""
        self._refuse(f"copy {blob.digest} from {source.name}")

    async def aclose(self) -> None:
        """Nothing of its own is open."""

    def _places(self, target: Digest | Tag) -> Sequence[Store]:
        return self._all if isinstance(target, Digest) else (self._destination,)

    async def _first(self, stores: Sequence[Store], ask: Callable[[Store], Awaitable[T]], subject: str) -> T:
        *early, final = stores
        for store in early:
            with suppress(NotFoundError):
                return await ask(store)
        try:
            return await ask(final)
        except NotFoundError as error:
            if not early:
                raise
            places = ", ".join(store.name for store in stores)
            raise NotFoundError(f"{subject} is in none of {places}") from error

    def _refuse(self, what: str) -> NoReturn:
        raise UsageError(f"{self.name} is only looked at: it was asked to {what}")
