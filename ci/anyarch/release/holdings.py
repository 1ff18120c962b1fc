"""What tags hold before they move: none loses a platform unless the smaller set was asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from anyarch.errors import ContentError, NotFoundError
from anyarch.oci.manifest import Index
from anyarch.release.found import same_platform
from anyarch.release.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from anyarch.oci.digest import Digest
    from anyarch.oci.platforms import Platform
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store


class Holdings:
    """The platforms of what tags point at, each index read once.

    What is no index, is gone or cannot be read holds nothing that could be lost.

    Args:
        store: Where the tags are.
        guarded: Whether tags may lose no platform; without it nothing is read.
    """

    def __init__(self, store: Store, *, guarded: bool) -> None:
        self._store = store
        self._guarded = guarded
        self._platforms: dict[Digest, tuple[Platform, ...]] = {}

    async def read(self, digests: Iterable[Digest | None]) -> None:
        """Read those that are not known yet, all at the same time.

        Raises:
            RegistryError: the store does not answer, or lets nobody in.
        """
        wanted = {each for each in digests if each is not None} - self._platforms.keys()
        if self._guarded and wanted:
            await in_parallel([partial(self._read, digest) for digest in sorted(wanted)])

    def losses(self, tags: Mapping[Tag, Digest | None], left: Collection[Platform]) -> list[str]:
        """A sentence for each tag that would lose platforms.

        Args:
            tags: The tags that are to move, and what each points at.
            left: The platforms that it is to have then.
        """
        offenders = []
        for tag, digest in tags.items():
            held = self._platforms.get(digest, ()) if digest else ()
            lost = [each for each in held if not any(same_platform(each, one) for one in left)]
            if lost:
                names = ", ".join(dict.fromkeys(map(str, lost)))
                offenders.append(f"{tag}: would lose {names}, which {digest} has")
        return offenders

    async def _read(self, digest: Digest) -> None:
        try:
            found = await self._store.get(digest)
            images = found.images if isinstance(found, Index) else ()
        except (NotFoundError, ContentError):
            images = ()
        named = [each.platform for each in images]
        self._platforms[digest] = tuple(each for each in named if each and each.os != "unknown")
