"""What is attached to a manifest: signatures, attestations, bills of materials; how it is listed, and kept.

A registry of OCI 1.1 lists referrers by itself; for any other, and for a layout, clients keep the list, as
an index under the tag ``sha256-…``.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from anyarch.errors import ContentError, NotFoundError
from anyarch.oci.manifest import Image, Index
from anyarch.oci.reference import Tag
from anyarch.registry.kind import as_registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.store import Store

_ALGORITHM_MAX_CHARACTERS: Final = 32
_HEX_MAX_CHARACTERS: Final = 64


class Referrers:
    """The referrers in one store. Whether it lists them by itself is found out once.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._registry = as_registry(store)

    async def of(self, subject: Digest) -> Sequence[Descriptor]:
        """What refers to a manifest, which need not be there itself.

        Raises:
            ContentError: the list cannot be read.
            RegistryError: the store does not answer.
        """
        if self._registry is not None:
            from anyarch.registry.referrers import list_referrers  # noqa: PLC0415  layouts need no client

            found = await list_referrers(self._registry, subject)
            if found is not None:
                return found
            self._registry = None
        return (await self._kept(subject)).manifests

    async def unlisted(self, subject: Digest, referrers: Mapping[Digest, Manifest]) -> Index | None:
        """The list as it must be written so that it has some referrers; None if nothing is to be written.

        Args:
            subject: What they refer to.
            referrers: Manifests that are there, or will be before the list is written.

        Raises:
            RegistryError: as ``of``.
        """
        listed = {each.digest for each in await self.of(subject)}
        fresh = [described(digest, referrers[digest]) for digest in sorted(referrers) if digest not in listed]
        if self._registry is not None or not fresh:
            return None
        kept = await self._kept(subject)
        return Index.build([*kept.manifests, *fresh], annotations=kept.annotations)

    async def _kept(self, subject: Digest) -> Index:
        tag = fallback_tag(subject)
        try:
            found = await self.store.get(tag)
        except NotFoundError:
            return Index.build([])
        if not isinstance(found, Index):
            raise ContentError(f"{self.store.name}:{tag}: expected a list of referrers, found an image")
        return found


def fallback_tag(subject: Digest) -> Tag:
    """The tag under which clients keep the list of a manifest's referrers."""
    algorithm, hexadecimal = subject.algorithm[:_ALGORITHM_MAX_CHARACTERS], subject.hex[:_HEX_MAX_CHARACTERS]
    return Tag(f"{algorithm}-{hexadecimal}")


def described(digest: Digest, referrer: Manifest) -> Descriptor:
    """A referrer as lists describe it: with its kind and its annotations."""
    kind = referrer.artifact_type
    if not kind and isinstance(referrer, Image):
        kind = referrer.config.media_type
    return replace(
        referrer.descriptor,
        digest=digest,
        annotations=referrer.annotations,
        extra={"artifactType": kind} if kind else {},
    )
