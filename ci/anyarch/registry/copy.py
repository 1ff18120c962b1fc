"""Copy an image or index, with everything it names, from one store to another."""  # noqa: A005  imported by its full name only

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import ContentError
from anyarch.oci.manifest import DESCRIPTORS_MAX, Image, Index, Manifest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import TypeVar

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.store import Store

    T = TypeVar("T")

_AT_ONCE: Final = 4
_DEPTH_MAX: Final = 3  # an index of indexes is rare, deeper nesting is an attack


async def copy_image(source: Store, target: Store, digest: Digest) -> Manifest:
    """Bring a manifest to another store: blobs first, then images, then the indexes that list them.

    What is there already is not written again, so that an interrupted copy is simply repeated.

    Args:
        source: Where it is.
        target: Where it should be too. No tag is written.
        digest: The image or index.

    Raises:
        RegistryError: something is missing at the source, or a store refuses.
    """
    levels = await _walk(source, digest)
    images = {each.digest: each for level in levels for each in level if isinstance(each, Image)}
    missing: dict[Digest, Image] = {}

    async def look(image: Image) -> None:
        if await target.head(image.digest) is None:
            missing[image.digest] = image

    await _each(images.values(), look)
    blobs = {
        blob.digest: blob
        for image in missing.values()
        for blob in (*image.layers, image.config)
        if not _stays_away(blob)
    }

    async def bring(blob: Descriptor) -> None:
        await target.copy_blob(blob, source)

    async def write(manifest: Manifest) -> None:
        if manifest.digest in missing or await target.head(manifest.digest) is None:
            await target.put(manifest.digest, manifest)

    await _each(blobs.values(), bring)
    await _each(missing.values(), write)
    for level in reversed(levels):
        await _each([each for each in level if isinstance(each, Index)], write)
    return levels[0][0]


async def _walk(source: Store, digest: Digest) -> list[list[Manifest]]:
    """The manifest and all that it lists, level by level."""
    levels = [[await source.get(digest)]]
    while children := _children(levels[-1]):
        if len(levels) > _DEPTH_MAX or len(children) > DESCRIPTORS_MAX:
            raise ContentError(f"{source.name}@{digest}: an index nested too deep or too wide")
        found: dict[Digest, Manifest] = {}

        async def fetch(child: Descriptor, found: dict[Digest, Manifest] = found) -> None:
            found[child.digest] = await source.get(child.digest)

        await _each(children, fetch)
        levels.append([found[child.digest] for child in children])
    return levels


def _children(level: Iterable[Manifest]) -> list[Descriptor]:
    listed = {
        child.digest: child
        for manifest in level
        if isinstance(manifest, Index)
        for child in manifest.manifests
    }
    return list(listed.values())


def _stays_away(blob: Descriptor) -> bool:
    """Layers that their owner forbids to push; registries accept manifests without them."""
    return "nondistributable" in blob.media_type or ".foreign." in blob.media_type


async def _each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do ``work`` for every item, a few at once; the first failure ends the others."""
    places = anyio.Semaphore(_AT_ONCE)

    async def one(item: T) -> None:
        async with places:
            await work(item)

    try:
        async with anyio.create_task_group() as group:
            for item in items:
                group.start_soon(one, item)
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure itself: callers catch our errors, not groups of them."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
