"""Copy images and indexes, with everything they name, from one store to another."""  # noqa: A005  imported by its full name only

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import ContentError, NotFoundError
from anyarch.oci.manifest import DESCRIPTORS_MAX, Image, Index, Manifest
from anyarch.oci.write import Write
from anyarch.registry.kind import as_registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
    from typing import TypeVar

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.store import Store
    from anyarch.oci.write import Action

    T = TypeVar("T")

_WRITES_AT_ONCE: Final = 4
_LOOKS_AT_ONCE: Final = 16
_DEPTH_MAX: Final = 3  # an index of indexes is rare, deeper nesting is an attack


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a target lacks of some images and indexes.

    ``levels`` are all their manifests by digest, those asked for first; ``lacking`` those to write.
    ``blobs`` are those that the lacking images name, the largest first; some may be there.
    """

    source: Store
    target: Store
    levels: tuple[Mapping[Digest, Manifest], ...]
    lacking: frozenset[Digest]
    blobs: tuple[Descriptor, ...]

    @property
    def manifests(self) -> dict[Digest, Manifest]:
        """All of them: images, then indexes, the innermost first."""
        found = {digest: each for level in reversed(self.levels) for digest, each in level.items()}
        return dict(sorted(found.items(), key=lambda item: isinstance(item[1], Index)))

    @property
    def to_put(self) -> dict[Digest, Manifest]:
        """Those of them that the target lacks."""
        return {digest: each for digest, each in self.manifests.items() if digest in self.lacking}

    def write_of(self, digest: Digest, part: Descriptor | Manifest) -> Write:
        """The write that brings a part."""
        registries = as_registry(self.source), as_registry(self.target)
        origins = {None if each is None else each.client.origin for each in registries}
        action: Action = "mount" if len(origins) == 1 and None not in origins else "copy"
        return Write(
            action="put" if isinstance(part, Manifest) else action,
            what=digest,
            where=f"{self.target.name}@{digest}",
            size=part.size,
            source=self.source.name,
        )


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
    load = await survey(source, target, [digest])
    await ship(load)
    return load.levels[0][digest]


async def survey(source: Store, target: Store, digests: Sequence[Digest]) -> Load:
    """Find out what the target lacks; nothing is written. Manifests that it has are read there.

    Raises:
        ContentError: indexes nested too deep.
        RegistryError: a manifest is in neither store, or one does not answer.
    """
    lacking: set[Digest] = set()
    levels: list[dict[Digest, Manifest]] = []
    wanted = list(dict.fromkeys(digests))
    while wanted:
        if len(levels) > _DEPTH_MAX or len(wanted) > DESCRIPTORS_MAX:
            raise ContentError(f"{source.name}@{digests[0]}: an index nested too deep or too wide")
        found: dict[Digest, Manifest] = {}

        async def fetch(digest: Digest, found: dict[Digest, Manifest] = found) -> None:
            try:
                found[digest] = await target.get(digest)
            except NotFoundError:
                found[digest] = await source.get(digest)
                lacking.add(digest)

        await each_of(wanted, fetch)
        levels.append({digest: found[digest] for digest in wanted})
        wanted = _children(found.values())
    blobs = {
        blob.digest: blob
        for level in levels
        for digest, manifest in level.items()
        if isinstance(manifest, Image) and digest in lacking
        for blob in (*manifest.layers, manifest.config)
        if not blob.lives_elsewhere
    }
    return Load(
        source=source,
        target=target,
        levels=tuple(levels),
        lacking=frozenset(lacking),
        blobs=tuple(sorted(blobs.values(), key=lambda blob: (-blob.size, blob.digest))),
    )


async def pending(load: Load) -> list[Write]:
    """The writes that ``ship`` would make, in order.

    Raises:
        RegistryError: the target does not answer.
    """
    absent: set[Digest] = set()

    async def look(blob: Descriptor) -> None:
        if not await load.target.has_blob(blob):
            absent.add(blob.digest)

    await each_of(load.blobs, look)
    return _writes(load, absent | load.lacking)


async def ship(load: Load, *, on_write: Callable[[Write], None] = lambda _: None) -> list[Write]:
    """Write what is lacking. A blob that has arrived meanwhile is not sent.

    Args:
        load: What ``survey`` found.
        on_write: Told of every write when it is done.

    Returns:
        The writes, in the order of ``pending``.

    Raises:
        RegistryError: something is missing at the source, or a store refuses.
    """
    done: set[Digest] = set()

    async def bring(blob: Descriptor) -> None:
        if await load.target.copy_blob(blob, load.source):
            done.add(blob.digest)
            on_write(load.write_of(blob.digest, blob))

    async def write(item: tuple[Digest, Manifest]) -> None:
        digest, manifest = item
        with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
            await load.target.put(digest, manifest)
        done.add(digest)
        on_write(load.write_of(digest, manifest))

    await each_of(load.blobs, bring, at_once=_WRITES_AT_ONCE)
    items = load.to_put.items()
    images = [item for item in items if isinstance(item[1], Image)]
    await each_of(images, write, at_once=_WRITES_AT_ONCE)
    for item in items:
        if isinstance(item[1], Index):
            await write(item)
    return _writes(load, done)


async def each_of(
    items: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int = _LOOKS_AT_ONCE
) -> None:
    """Do ``work`` for every item, a few at once; the first failure ends the others."""
    places = anyio.Semaphore(at_once)

    async def one(item: T) -> None:
        async with places:
            await work(item)

    try:
        async with anyio.create_task_group() as group:
            for item in items:
                group.start_soon(one, item)
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def _writes(load: Load, digests: Collection[Digest]) -> list[Write]:
    """The writes of some parts, in the order in which they happen."""
    blobs = [load.write_of(blob.digest, blob) for blob in load.blobs if blob.digest in digests]
    put = [load.write_of(digest, each) for digest, each in load.to_put.items() if digest in digests]
    return [*blobs, *put]


def _children(level: Iterable[Manifest]) -> list[Digest]:
    listed = (manifest.manifests for manifest in level if isinstance(manifest, Index))
    return list(dict.fromkeys(child.digest for children in listed for child in children))


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure itself: callers catch our errors, not groups of them."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
