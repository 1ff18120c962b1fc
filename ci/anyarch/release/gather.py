"""Reading back what records point at. What is missing or broken is a problem of its child, not the end."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from anyarch.errors import ContentError, NotFoundError
from anyarch.release.child import Child
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.found import find_image, missing_blobs, missing_manifests
from anyarch.release.offenders import is_elsewhere
from anyarch.release.parallel import both, in_parallel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.store import Store
    from anyarch.release.record import Record


async def gather(store: Store, records: Sequence[Record]) -> tuple[Child, ...]:
    """Read manifests and configs, all at the same time, then ask for every layer and attestation.

    A record about another repository is not followed.

    Raises:
        RegistryError: the store does not answer, or lets nobody in.
    """
    children = await read_children(store, records)
    return with_missing(children, await missing_parts(store, children))


async def read_children(store: Store, records: Sequence[Record]) -> tuple[Child, ...]:
    """Manifests and configs only.

    Raises:
        RegistryError: as ``gather``.
    """
    return tuple(await in_parallel([partial(_read_child, store, record) for record in records]))


async def missing_parts(store: Store, children: Sequence[Child]) -> frozenset[Digest]:
    """Layers and attestations that the children name and the store has not.

    Raises:
        RegistryError: as ``gather``.
    """
    images = [child.found for child in children if child.found is not None]
    layers, attestations = await both(
        partial(missing_blobs, store, [layer for image in images for layer in image.blobs]),
        partial(missing_manifests, store, [each for image in images for each in image.attestations]),
    )
    return layers | attestations


def with_missing(children: Sequence[Child], missing: frozenset[Digest]) -> tuple[Child, ...]:
    """The children, those that lack parts with a problem for each part."""
    return tuple(_with_missing(child, missing) for child in children)


async def _read_child(store: Store, record: Record) -> Child:
    if is_elsewhere(record, store.name):
        return Child(record=record)
    try:
        found = await find_image(
            store, record.image.digest, config=record.config, referenced=record.referenced
        )
    except (NotFoundError, ContentError) as error:
        if isinstance(error, NotFoundError) and error.of_repository:
            raise  # no image of it could be there
        return Child(record=record, problems=(error.what,))
    return Child(record=record, found=found, problems=found.flaws)


def _with_missing(child: Child, missing: frozenset[Digest]) -> Child:
    if child.found is None:
        return child
    place = "layout" if child.record.repository.startswith(LAYOUT_PREFIX) else "registry"
    problems = [
        f"expected {what} {part.digest} of {child.found.root.digest}, the {place} no longer has it"
        for what, parts in (("layer", child.found.blobs), ("attestation", child.found.attestations))
        for part in parts
        if part.digest in missing
    ]
    return replace(child, problems=(*child.problems, *dict.fromkeys(problems)))
