"""Bare references: images that no record tells of. What merge must know is read from where they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from anyarch.errors import ContentError, NotFoundError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Index
from anyarch.oci.media_type import is_image, is_index
from anyarch.release import marks
from anyarch.release.found import Referenced, check_data, find_image
from anyarch.release.parallel import in_parallel
from anyarch.release.plan import parse_revision
from anyarch.release.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.manifest import Image
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.release.found import FoundImage
    from anyarch.release.record import Execution


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An image, or all those of an index: where it is, and ``name`` as the user wrote it."""

    store: Store
    target: Digest | Tag
    name: str


def check_once(names: Sequence[str]) -> None:
    """See that no reference is given twice, as no record may be.

    Raises:
        UsageError: one is.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"{', '.join(twice)} is given twice", hint="an image goes into the index once: name it once"
        )


async def read_references(references: Sequence[Reference]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """A record for every image that the references name, and a sentence for each that cannot be one.

    Raises:
        RegistryError: a store does not answer, or lets nobody in.
    """
    read = await in_parallel([partial(_read, reference) for reference in references])
    records = [record for found, _ in read for record in found]
    pairs = zip(references, read, strict=True)
    problems = [
        word if word.startswith(each.name) else f"{each.name}: {word}"
        for each, (_, said) in pairs
        for word in said
    ]
    return tuple(records), tuple(problems)


async def _read(reference: Reference) -> tuple[list[Record], list[str]]:
    try:
        root = await reference.store.get(reference.target)
        if not isinstance(root, Index):
            asked = reference.target if isinstance(reference.target, Digest) else root.digest
            alone = Referenced(descriptor=replace(root.descriptor, digest=asked))
            return [await _record(reference, alone)], []
        wanted, problems = _listed(root)
    except (NotFoundError, ContentError) as error:
        if isinstance(error, NotFoundError) and error.of_repository:
            raise  # no image of it could be there
        return [], [error.what]
    found = await in_parallel([partial(_try, reference, each) for each in wanted])
    records = [each for each in found if isinstance(each, Record)]
    return records, [*problems, *(each for each in found if isinstance(each, str))]


def _listed(index: Index) -> tuple[list[Referenced], list[str]]:
    """The images of an index, and what is wrong with the list."""
    images = [each for each in index.images if is_image(each.media_type)]
    problems = [_stranger(each) for each in index.manifests if not is_image(each.media_type)]
    attested = {each.digest for each in images}
    problems += [
        f"the attestation {each.digest} is about {each.attested or 'nothing'}, which the index does not list"
        for each in index.attestations
        if each.attested not in attested
    ]
    if not images:
        problems.append("it lists no image")
    for each in index.manifests:
        check_data(each)
    return [
        Referenced(
            descriptor=image,
            attestations=tuple(each for each in index.attestations if each.attested == image.digest),
            index=index,
        )
        for image in images
    ], problems


def _stranger(descriptor: Descriptor) -> str:
    if is_index(descriptor.media_type):
        return f"{descriptor.digest} is an index inside an index; only images belong there"
    return (
        f"{descriptor.digest} is a {descriptor.media_type}, which no machine runs; such things are referrers"
    )


async def _try(reference: Reference, referenced: Referenced) -> Record | str:
    try:
        return await _record(reference, referenced)
    except (NotFoundError, ContentError) as error:
        return error.what


async def _record(reference: Reference, referenced: Referenced) -> Record:
    """The record that a build would have left, as far as the image itself tells."""
    found = await find_image(reference.store, referenced.descriptor.digest, referenced=referenced)
    return Record(
        platform=found.platform,
        image=found.root,
        config=found.manifest.config,
        repository=reference.store.name,
        plan=_plan(found.manifest),
        revision=_revision(found.manifest),
        execution=_execution(found),
        source=reference.name,
        referenced=replace(referenced, place=reference.store.name),
    )


def _plan(manifest: Image) -> Digest | None:
    try:
        return Digest.parse(manifest.annotations.get(marks.PLAN, ""))
    except UsageError:
        return None


def _revision(manifest: Image) -> str | None:
    try:
        return parse_revision(manifest.annotations.get(marks.REVISION, ""))
    except UsageError:
        return None


def _execution(found: FoundImage) -> Execution | None:
    said = found.manifest.annotations.get(marks.EXECUTION)
    return cast("Execution", said) if said in {"native", "emulated"} else None
