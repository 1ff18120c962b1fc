"""Verifying a release: everything is read again, nothing is believed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from anyarch.errors import ContentError, NotFoundError, VerifyFailedError
from anyarch.oci.manifest import Image, ImageConfig, Index
from anyarch.oci.media_type import is_image, is_index
from anyarch.oci.reference import Tag
from anyarch.release import marks
from anyarch.release.found import (
    check_data,
    check_document,
    check_parts,
    missing_blobs,
    read_config,
    same_platform,
)
from anyarch.release.parallel import in_parallel
from anyarch.release.rootfs import flaws

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.platforms import Platform
    from anyarch.oci.store import Store


@dataclass(frozen=True, kw_only=True)
class VerifiedChild:
    """One platform. ``execution`` is None where the image does not say, ``total_bytes`` is compressed."""

    platform: Platform
    digest: Digest
    total_bytes: int
    execution: str | None
    attestations: int


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a tag or digest holds, all of it read."""

    repository: str
    target: Digest | Tag
    digest: Digest
    media_type: str
    children: tuple[VerifiedChild, ...]
    missing: tuple[str, ...] = ()


@dataclass
class _Entry:
    """A child of the index while it is read. ``blobs`` are those whose presence is still to be asked for."""

    descriptor: Descriptor
    faults: list[str] = field(default_factory=list)
    manifest: Image | None = None
    platform: Platform | None = None

    @property
    def blobs(self) -> list[Descriptor]:
        """Layers, and for an attestation its config too: nobody reads that one."""
        if self.manifest is None:
            return []
        layers = [layer for layer in self.manifest.layers if not layer.lives_elsewhere]
        return [*layers, self.manifest.config] if self.descriptor.is_attestation else layers

    @property
    def name(self) -> str:
        """Platform and digest, for messages."""
        kind = "attestation" if self.descriptor.is_attestation else self.platform or self.descriptor.platform
        return f"{kind or 'child'} {self.descriptor.digest}"


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
    root = await store.get(target)
    descriptors = root.manifests if isinstance(root, Index) else (root.descriptor,)
    entries = await in_parallel([partial(_read, store, each, root) for each in descriptors])
    missing = await missing_blobs(store, [blob for entry in entries for blob in entry.blobs])
    faults = _set_faults(entries, platforms)
    if isinstance(root, Index):
        _check_choosable(entries, asked=bool(platforms))
    for entry in entries:
        faults += [f"{entry.name}: {fault}" for fault in entry.faults]
        gone = [blob.digest for blob in entry.blobs if blob.digest in missing]
        faults += [f"{entry.name}: its blob {digest} is not there" for digest in dict.fromkeys(gone)]
    if faults:
        raise VerifyFailedError(
            f"{_reference(store, target)} is not what it should be",
            offenders=faults,
            hint="do not deploy it; merge again from good records, or roll the tag back",
            digest=str(root.digest),
        )
    return Verification(
        repository=store.name,
        target=target,
        digest=root.digest,
        media_type=str(root.media_type),
        children=_children(entries),
        missing=tuple(word for word in root.annotations.get(marks.MISSING, "").split(",") if word),
    )


async def _read(store: Store, descriptor: Descriptor, root: Manifest) -> _Entry:
    entry = _Entry(descriptor)
    if is_index(descriptor.media_type):
        entry.faults.append("is an index inside the index; many clients cannot pull that")
        return entry
    if not is_image(descriptor.media_type):
        entry.faults.append(f"is a {descriptor.media_type}, which no machine runs; such things are referrers")
        return entry
    try:
        manifest = root if descriptor.digest == root.digest else await store.get(descriptor.digest)
        check_data(descriptor)
        check_document(manifest, descriptor)
        if isinstance(manifest, Image):
            check_parts(manifest)
            entry.manifest = manifest
            if not descriptor.is_attestation:
                config = await read_config(store, manifest)
                _check_platform(entry, config)
                entry.faults += flaws(manifest, config)
    except (NotFoundError, ContentError) as error:
        entry.faults.append(error.what)
    return entry


def _check_platform(entry: _Entry, config: ImageConfig) -> None:
    """Hold the descriptor's platform against the config's.

    Older tools write no variant into the config; then the descriptor's is the only one.
    """
    said, real = entry.descriptor.platform, config.platform
    entry.platform = said or real
    if said is None:
        return
    silent = not config.document.get("variant") and said.architecture == real.architecture
    if not same_platform(said, real) and not (silent and said.os == real.os):
        entry.faults.append(f"the index says {said}, but its config says {real}")


def _check_choosable(entries: Sequence[_Entry], *, asked: bool) -> None:
    """Hold the platforms of an index against the words in which clients look for them.

    One image alone that names none, and that nobody asks for by its platform, is found by most.
    """
    images = [entry for entry in entries if not entry.descriptor.is_attestation]
    for entry in images:
        said, words = entry.descriptor.platform, entry.descriptor.platform_fields or {}
        if said is None and entry.manifest is not None and (asked or len(images) > 1):
            entry.faults.append(
                "the index names no platform for it: regctl and oras cannot choose it, skopeo takes any such"
            )
        elif said is not None and not entry.descriptor.is_choosable:
            spelled = "/".join(
                str(words[each]) for each in ("os", "architecture", "variant") if words.get(each)
            )
            entry.faults.append(
                f"the index spells it {spelled}: clients that look for {said}, such as skopeo, do not find it"
            )


def _set_faults(entries: Sequence[_Entry], platforms: Sequence[Platform]) -> list[str]:
    """Missing, extra and double platforms; attestations about nothing."""
    images = [entry for entry in entries if not entry.descriptor.is_attestation]
    found = [platform for entry in images if (platform := entry.platform or entry.descriptor.platform)]
    faults = [
        f"{platform}: expected once, found {count} times; a machine takes the first one only"
        for platform, count in Counter(found).items()
        if count > 1
    ]
    if not images:
        faults.append("it holds no image at all")
    if platforms:
        faults += [
            f"{wanted}: missing; found only {', '.join(map(str, found)) or 'nothing'}"
            for wanted in dict.fromkeys(platforms)
            if not any(same_platform(wanted, each) for each in found)
        ]
        faults += [
            f"{each}: not expected; expected only {', '.join(map(str, platforms))}"
            for each in dict.fromkeys(found)
            if not any(same_platform(wanted, each) for wanted in platforms)
        ]
    return faults + _dangling(entries, {entry.descriptor.digest for entry in images})


def _dangling(entries: Sequence[_Entry], images: set[Digest]) -> list[str]:
    return [
        f"{entry.name}: is about {entry.descriptor.attested or 'nothing'}, which the index does not hold"
        for entry in entries
        if entry.descriptor.is_attestation and entry.descriptor.attested not in images
    ]


def _children(entries: Sequence[_Entry]) -> tuple[VerifiedChild, ...]:
    attested = Counter(entry.descriptor.attested for entry in entries if entry.descriptor.is_attestation)
    return tuple(
        VerifiedChild(
            platform=entry.platform,
            digest=entry.descriptor.digest,
            total_bytes=entry.manifest.config.size + sum(layer.size for layer in entry.manifest.layers),
            execution=entry.manifest.annotations.get(marks.EXECUTION),
            attestations=attested[entry.descriptor.digest],
        )
        for entry in entries
        if entry.platform is not None and entry.manifest is not None
    )


def _reference(store: Store, target: Digest | Tag) -> str:
    return f"{store.name}{':' if isinstance(target, Tag) else '@'}{target}"
