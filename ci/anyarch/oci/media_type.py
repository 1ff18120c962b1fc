"""Media types: what kind of document a descriptor points at."""

from __future__ import annotations

from enum import StrEnum


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


def is_index(media_type: str) -> bool:
    """Whether documents of this type list other manifests."""
    return media_type in INDEX_TYPES


def is_image(media_type: str) -> bool:
    """Whether documents of this type are one image's manifest (config and layers)."""
    return media_type in IMAGE_TYPES
