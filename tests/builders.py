"""Images and indexes of real bytes, for tests: `an_image(platform="linux/arm64")`, `an_index(*images)`."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from anyarch.oci import strict_json
from anyarch.oci.descriptor import (
    ATTESTATION_MANIFEST,
    REFERENCE_DIGEST,
    REFERENCE_TYPE,
    Descriptor,
)
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Image, Index, Manifest
from anyarch.oci.media_type import MediaType
from anyarch.oci.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from anyarch.oci.store import Store

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
IN_TOTO_LAYER = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class BuiltImage:
    """A manifest and every blob that it names."""

    manifest: Image
    platform: Platform
    blobs: Mapping[Digest, bytes]
    marks: Mapping[str, str]

    @property
    def digest(self) -> Digest:
        return self.manifest.digest

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor for an index: with the platform, and for an attestation its marks."""
        return self.manifest.descriptor.with_platform(self.platform).with_annotations(self.marks)


def a_layer(files: Mapping[str, bytes]) -> tuple[bytes, Digest]:
    """A gzipped tar of ``files`` (always the same bytes), and the digest of the plain tar."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0), Digest.of(plain.getvalue())


def an_image(
    platform: str | Platform = "linux/amd64",
    *,
    files: Mapping[str, bytes] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    config_fields: Mapping[str, object] | None = None,
    docker: bool = False,
) -> BuiltImage:
    """One platform's image. Equal arguments give equal bytes; the platform is part of a file's content.

    Args:
        platform: What descriptor and config say.
        files: The single layer's files.
        labels: The config's labels.
        annotations: The manifest's annotations.
        config_fields: Put over the config's own fields, for example to make it lie.
        docker: Docker's media types instead of OCI's.
    """
    if isinstance(platform, str):
        platform = Platform.parse(platform)
    layer, diff_id = a_layer({"app": f"built for {platform}\n".encode()} if files is None else files)
    config = strict_json.dumps(
        {
            **platform.to_oci(),
            "config": {"Entrypoint": ["/app"], "Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
            **(config_fields or {}),
        }
    )
    manifest = _manifest(
        (config, MediaType.DOCKER_CONFIG if docker else MediaType.OCI_CONFIG),
        [(layer, DOCKER_LAYER if docker else OCI_LAYER)],
        media_type=MediaType.DOCKER_MANIFEST if docker else MediaType.OCI_MANIFEST,
        annotations=annotations,
    )
    blobs = {Digest.of(each): each for each in (config, layer)}
    return BuiltImage(manifest, platform, MappingProxyType(blobs), MappingProxyType({}))


def an_attestation(about: BuiltImage, *, statement: bytes = b'{"predicate": {}}') -> BuiltImage:
    """An attestation manifest as BuildKit writes it."""
    config = strict_json.dumps({"architecture": "unknown", "os": "unknown", "config": {}})
    manifest = _manifest(
        (config, MediaType.OCI_CONFIG), [(statement, IN_TOTO_LAYER)], media_type=MediaType.OCI_MANIFEST
    )
    blobs = {Digest.of(each): each for each in (config, statement)}
    marks = {REFERENCE_TYPE: ATTESTATION_MANIFEST, REFERENCE_DIGEST: str(about.digest)}
    return BuiltImage(
        manifest, Platform("unknown", "unknown"), MappingProxyType(blobs), MappingProxyType(marks)
    )


def a_referrer(subject: Manifest, content: bytes) -> BuiltImage:
    """An artifact about a manifest."""
    image = an_image(files={"signature": content})
    document = dict(image.manifest.document) | {
        "subject": subject.descriptor.to_oci(),
        "artifactType": "application/vnd.example.signature",
    }
    manifest = Manifest.from_bytes(strict_json.dumps(document))
    assert isinstance(manifest, Image)
    return replace(image, manifest=manifest)


def an_index(
    *images: BuiltImage, annotations: Mapping[str, str] | None = None, docker: bool = False
) -> Index:
    """An index of ``images`` in the order given; no check of any kind."""
    media_type = MediaType.DOCKER_LIST if docker else MediaType.OCI_INDEX
    return Index.build([image.descriptor for image in images], annotations=annotations, media_type=media_type)


def blob_of(content: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))


async def upload(store: Store, *images: BuiltImage) -> None:
    """Put the images' blobs and manifests (by digest) into any store."""
    for image in images:
        source = cast("Store", BlobSource(image.blobs))
        for digest, content in image.blobs.items():
            blob = Descriptor(media_type="application/octet-stream", digest=digest, size=len(content))
            await store.copy_blob(blob, source)
        await store.put(image.digest, image.manifest)


class BlobSource:
    """As much of a ``Store`` as ``copy_blob`` needs of its source: blobs from memory, in small chunks."""

    name = "memory"

    def __init__(self, blobs: Mapping[Digest, bytes], *, chunk_bytes: int = 65536) -> None:
        self._blobs = blobs
        self._chunk_bytes = chunk_bytes

    async def stream_blob(self, blob: Descriptor) -> AsyncIterator[bytes]:
        content = self._blobs[blob.digest]
        for start in range(0, len(content), self._chunk_bytes):
            yield content[start : start + self._chunk_bytes]


def _manifest(
    config: tuple[bytes, str],
    layers: Sequence[tuple[bytes, str]],
    *,
    media_type: str,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": str(media_type),
        "config": blob_of(*config).to_oci(),
        "layers": [blob_of(*layer).to_oci() for layer in layers],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    manifest = Manifest.from_bytes(strict_json.dumps(document))
    assert isinstance(manifest, Image)
    return manifest
