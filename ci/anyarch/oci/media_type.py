"""Media types: what kind of document a descriptor points at."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class MediaType(StrEnum):
    """The media types that anyarch gives a meaning to. Any other one is carried as plain text.

    https://github.com/opencontainers/image-spec/blob/main/media-types.md
    """

    OCI_INDEX = "application/vnd.oci.image.index.v1+json"
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
    OCI_EMPTY = "application/vnd.oci.empty.v1+json"
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
    DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
    DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"


INDEX_TYPES = frozenset({MediaType.OCI_INDEX, MediaType.DOCKER_LIST})
IMAGE_TYPES = frozenset({MediaType.OCI_MANIFEST, MediaType.DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({MediaType.OCI_CONFIG, MediaType.DOCKER_CONFIG})
# In order of preference; a registry answers with the stored document, whatever comes first.
ACCEPTED_MANIFESTS = (
    MediaType.OCI_INDEX,
    MediaType.OCI_MANIFEST,
    MediaType.DOCKER_LIST,
    MediaType.DOCKER_MANIFEST,
)

_LAYER: Final = re.compile(
    r"application/vnd\.oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?(\+encrypted)?"
    r"|application/vnd\.docker\.image\.rootfs\.(foreign\.)?diff\.tar([.+](gzip|zstd))?(\+encrypted)?"
    r"|application/vnd\.oci\.image\.layer\.nydus\.blob\.v1",
    re.ASCII,
)
# The trees of OCI and Docker, where only the layers above are layers.
_KNOWN_TREES: Final = ("application/vnd.oci.", "application/vnd.docker.")


def is_index(media_type: str) -> bool:
    """Whether documents of this type list other manifests."""
    return media_type in INDEX_TYPES


def is_image(media_type: str) -> bool:
    """Whether documents of this type are one image's manifest (config and layers)."""
    return media_type in IMAGE_TYPES


def is_layer(media_type: str) -> bool:
    """Whether there is a runtime that unpacks, or mounts, a layer of this type.

    Archives as OCI and Docker name them, encrypted ones included (ocicrypt), are for all. A vendor's own type
    is believed to have a runtime (EROFS, squashfs, WebAssembly), unless it is JSON, which is no file system.

    https://github.com/opencontainers/image-spec/blob/main/layer.md
    """
    if _LAYER.fullmatch(media_type):
        return True
    vendors = media_type.startswith("application/vnd.") and not media_type.startswith(_KNOWN_TREES)
    return (vendors and not media_type.endswith("json")) or media_type == "application/wasm"


def is_nondistributable(media_type: str) -> bool:
    """Whether the owner of layers of this type forbids to push them; Docker calls them foreign."""
    match = _LAYER.fullmatch(media_type)
    return match is not None and bool(match[1] or match[4])
