"""Verifying a release: everything is read again, nothing is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.platforms import Platform
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store


@dataclass(frozen=True, kw_only=True)
class VerifiedChild:
    """One platform of what was verified. ``execution`` is None where the image does not say."""

    platform: Platform
    digest: Digest
    total_bytes: int
    execution: str | None
    attestations: int


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a tag or digest holds, every byte of metadata checked."""

    repository: str
    target: Digest | Tag
    digest: Digest
    media_type: str
    children: tuple[VerifiedChild, ...]


async def verify(store: Store, target: Digest | Tag, *, platforms: Sequence[Platform] = ()) -> Verification:
    """Read an index, or a single image, with all that belongs to it.

    Args:
        store: Where it is.
        target: A tag or a digest.
        platforms: The exact set that it must hold; none: any set.

    Raises:
        VerifyFailedError: something is not as it should be; every fault is listed.
        RegistryError: the store does not answer, or has no such target.
    """
    raise NotImplementedError
