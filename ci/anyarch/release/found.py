"""One image as a store holds it: manifest, config, and the attestations that came along."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from anyarch.errors import ContentError, NotFoundError
from anyarch.oci.manifest import CONFIG_MAX_BYTES, Image, ImageConfig, Index
from anyarch.oci.media_type import CONFIG_TYPES
from anyarch.release.parallel import both, in_parallel
from anyarch.release.rootfs import flaws

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.platforms import Platform
    from anyarch.oci.store import Store


@dataclass(frozen=True, kw_only=True)
class Referenced:
    """An image as a reference named it: by itself, or as one of those that an index lists.

    ``descriptor`` and ``attestations`` are the index's own words, if there is one; ``place`` is the store's
    name.
    """

    descriptor: Descriptor
    attestations: tuple[Descriptor, ...] = ()
    index: Index | None = None
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class FoundImage:
    """An image, read back. ``platform`` and ``labels`` are what its config says.

    ``root`` is the document that was asked for: the manifest itself, or BuildKit's index of one image
    and its attestations. ``descriptor`` points at the manifest, as ``index`` says it if it came in one.
    ``flaws`` say why no runtime can unpack it.
    """

    root: Descriptor
    descriptor: Descriptor
    manifest: Image
    platform: Platform
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    attestations: tuple[Descriptor, ...] = ()
    index: Index | None = None
    flaws: tuple[str, ...] = ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The layers that a registry must hold."""
        return tuple(layer for layer in self.manifest.layers if not layer.lives_elsewhere)

    @property
    def total_bytes(self) -> int:
        """What a machine downloads: config and layers, compressed."""
        return self.manifest.config.size + sum(layer.size for layer in self.manifest.layers)


def same_platform(one: Platform, other: Platform) -> bool:
    """Equal up to Windows' version and features, which nobody types."""
    return _plain(one) == _plain(other)


async def find_image(
    store: Store, digest: Digest, *, config: Descriptor | None = None, referenced: Referenced | None = None
) -> FoundImage:
    """Read an image back.

    Args:
        store: Where it is.
        digest: Its manifest, or an index of it and its attestations.
        config: What its config is believed to be: read at the same time as the manifest, which saves a
            round trip, and used only if the manifest says the same.
        referenced: What an index of several images says about this one.

    Raises:
        ContentError: it is not exactly one image.
        RegistryError: the store does not give it.
    """

    async def read_root() -> Manifest:
        return await store.get(digest)

    async def read_early() -> ImageConfig | None:
        return None if config is None else await _config_if_there(store, config)

    root, early = await both(read_root, read_early)
    asked = replace(root.descriptor, digest=digest)
    said = referenced or Referenced(descriptor=asked)
    if isinstance(root, Index) and referenced is None:
        descriptor, attestations = only_image(root, subject=str(digest))
        said = Referenced(descriptor=descriptor, attestations=attestations, index=root)
    descriptor = said.descriptor
    manifest = root if descriptor.digest == digest else await store.get(descriptor.digest)
    check_document(manifest, descriptor)
    if not isinstance(manifest, Image):
        raise ContentError(f"{descriptor.digest} is an index inside an index; only images belong there")
    if early is None or config is None or not _same_content(config, manifest.config):
        early = await read_config(store, manifest)
    check_parts(manifest)
    return FoundImage(
        root=asked,
        descriptor=descriptor,
        manifest=manifest,
        platform=_platform(early, descriptor.platform),
        labels=early.labels,
        attestations=said.attestations,
        index=said.index,
        flaws=flaws(manifest, early),
    )


def only_image(index: Index, *, subject: str) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    """The one image of an index that BuildKit wrote around it, and its attestations.

    Raises:
        ContentError: no image or several, or an attestation about something else.
    """
    images, attestations = index.images, index.attestations
    if len(images) != 1:
        raise ContentError(f"{subject} is an index of {len(images)} images; expected one image")
    strangers = [each for each in attestations if each.attested != images[0].digest]
    if strangers:
        raise ContentError(
            f"{subject}: the attestation {strangers[0].digest} is about {strangers[0].attested}, "
            f"expected {images[0].digest}"
        )
    for each in index.manifests:
        check_data(each)
    return images[0], attestations


def check_document(manifest: Manifest, descriptor: Descriptor) -> None:
    """Hold a manifest against the descriptor that led to it; its digest was checked on reading.

    Raises:
        ContentError: size or media type differ.
    """
    for what, expected, found in (
        ("size", descriptor.size, manifest.size),
        ("media type", descriptor.media_type, manifest.media_type),
    ):
        if expected != found:
            raise ContentError(f"{descriptor.digest}: its descriptor says {what} {expected}, found {found}")


def check_parts(manifest: Image) -> None:
    """Read every descriptor of a manifest.

    Raises:
        ContentError: one of them is malformed.
    """
    for part in (manifest.config, *manifest.layers):
        check_data(part)


def check_data(descriptor: Descriptor) -> None:
    """Hold content that a descriptor embeds against its digest: some clients use it unasked.

    Raises:
        ContentError: it is something else.
    """
    data = descriptor.extra.get("data")
    if data is None:
        return
    try:
        content = base64.b64decode(data if isinstance(data, str) else "", validate=True)
    except ValueError as error:
        raise ContentError(f"{descriptor.digest}: its descriptor's data is not base64") from error
    descriptor.digest.check(content, subject=f"data in the descriptor of {descriptor.digest}")


async def read_config(store: Store, manifest: Image) -> ImageConfig:
    """The config of an image.

    Raises:
        ContentError: it is no image's config.
        RegistryError: the store does not give it.
    """
    if manifest.config.media_type not in CONFIG_TYPES:
        raise ContentError(
            f"{manifest.digest} is no image that a machine runs: its config is a {manifest.config.media_type}"
        )
    raw = await store.get_blob(manifest.config, max_bytes=CONFIG_MAX_BYTES)
    return ImageConfig.from_bytes(raw, subject=f"config {manifest.config.digest}")


async def missing_blobs(store: Store, blobs: Iterable[Descriptor]) -> frozenset[Digest]:
    """Which of the blobs are not there; each is asked for once, all at the same time."""
    distinct = list({blob.digest: blob for blob in blobs}.values())
    there = await in_parallel([partial(store.has_blob, blob) for blob in distinct])
    return frozenset(blob.digest for blob, found in zip(distinct, there, strict=True) if not found)


async def missing_manifests(store: Store, manifests: Iterable[Descriptor]) -> frozenset[Digest]:
    """Which of the manifests are not there, or not of the size and media type that is said."""
    distinct = list({each.digest: each for each in manifests}.values())
    heads = await in_parallel([partial(store.head, each.digest) for each in distinct])
    return frozenset(
        each.digest
        for each, head in zip(distinct, heads, strict=True)
        if head is None or (head.size, head.media_type) != (each.size, each.media_type)
    )


async def _config_if_there(store: Store, config: Descriptor) -> ImageConfig | None:
    try:
        raw = await store.get_blob(config, max_bytes=CONFIG_MAX_BYTES)
        return ImageConfig.from_bytes(raw, subject=f"config {config.digest}")
    except (NotFoundError, ContentError):
        return None  # the manifest names the real one


def _platform(config: ImageConfig, said: Platform | None) -> Platform:
    """The config's platform. Older tools write no variant there; then the descriptor's is the only one."""
    real = config.platform
    silent = not config.document.get("variant") and said is not None
    if silent and said and (said.os, said.architecture) == (real.os, real.architecture):
        return replace(real, variant=said.variant)
    return real


def _same_content(one: Descriptor, other: Descriptor) -> bool:
    return (one.digest, one.size) == (other.digest, other.size)


def _plain(platform: Platform) -> tuple[str, str, str]:
    return platform.os, platform.architecture, platform.variant
