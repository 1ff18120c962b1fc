"""Descriptors: media type, digest and size of a blob or manifest, and what else was said about it.

https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from anyarch.errors import ContentError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.media_type import is_nondistributable
from anyarch.oci.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

# BuildKit's marks on an attestation manifest's descriptor:
# https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md
REFERENCE_TYPE: Final = "vnd.docker.reference.type"
REFERENCE_DIGEST: Final = "vnd.docker.reference.digest"
ATTESTATION_MANIFEST: Final = "attestation-manifest"

SIZE_MAX_BYTES: Final = 2**63 - 1  # image-spec: int64

_NAMED_FIELDS: Final = frozenset({"mediaType", "digest", "size", "platform", "annotations"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Where some bytes are and what they are. ``size`` is in bytes.

    ``extra`` holds the fields that have no attribute here (``urls``, ``data``, ``artifactType`` …), and
    ``platform_fields`` the platform object as it was read, so that a round trip loses nothing.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)
    platform_fields: Mapping[str, object] | None = field(default=None, hash=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", MappingProxyType(dict(self.annotations)))
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))

    @classmethod
    def from_oci(cls, fields: object, *, subject: str) -> Self:
        """Read a descriptor object of a manifest or index.

        Args:
            fields: What the JSON holds there.
            subject: Whose descriptor it is, for the message.

        Raises:
            ContentError: a required field is missing, or one is not of its type.
        """
        if not isinstance(fields, dict):
            raise ContentError(f"{subject}: a descriptor must be an object")
        media_type, digest, size = (fields.get(key) for key in ("mediaType", "digest", "size"))
        if not isinstance(media_type, str) or not media_type:
            raise ContentError(f"{subject}: a descriptor has no mediaType")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE_MAX_BYTES:
            raise ContentError(f"{subject}: a descriptor's size is {str(size)[:40]}")
        platform = fields.get("platform")
        if platform is not None and not isinstance(platform, dict):
            raise ContentError(f"{subject}: a descriptor's platform must be an object")
        try:
            return cls(
                media_type=media_type,
                digest=Digest.parse(str(digest)),
                size=size,
                platform=None if platform is None else Platform.from_oci(platform),
                annotations=_annotations(fields.get("annotations"), subject=subject),
                extra={key: value for key, value in fields.items() if key not in _NAMED_FIELDS},
                platform_fields=platform,
            )
        except UsageError as error:
            raise ContentError(f"{subject}: {error.what}") from error

    def to_oci(self) -> dict[str, object]:
        """The descriptor as a JSON object, in the specification's key order."""
        fields: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform_fields is not None:
            fields["platform"] = dict(self.platform_fields)
        elif self.platform is not None:
            fields["platform"] = self.platform.to_oci()
        if self.annotations:
            fields["annotations"] = dict(self.annotations)
        return fields | dict(self.extra)

    def with_platform(self, platform: Platform) -> Self:
        """The same descriptor, saying ``platform``."""
        return replace(self, platform=platform, platform_fields=None)

    def with_annotations(self, annotations: Mapping[str, str]) -> Self:
        """The same descriptor, with ``annotations`` added; equal keys are replaced."""
        return replace(self, annotations={**self.annotations, **annotations})

    @property
    def lives_elsewhere(self) -> bool:
        """Whether registries need not have this: a layer that may not be pushed and says where it is.

        Addresses alone excuse nothing: clients look for any other layer in the registry.
        """
        return is_nondistributable(self.media_type) and bool(self.extra.get("urls"))

    @property
    def is_choosable(self) -> bool:
        """Whether every reader finds this by its platform: there is one, in the usual words."""
        if self.platform is None or self.platform_fields is None:
            return self.platform is not None
        return self.platform.is_spelled(self.platform_fields)

    @property
    def is_attestation(self) -> bool:
        """Whether this points at an attestation manifest, which no machine runs."""
        if self.annotations.get(REFERENCE_TYPE) == ATTESTATION_MANIFEST:
            return True
        return self.platform is not None and self.platform.is_attestation

    @property
    def attested(self) -> Digest | None:
        """The image that an attestation is about, if it says so in a digest we can read."""
        try:
            return Digest.parse(self.annotations.get(REFERENCE_DIGEST, ""))
        except UsageError:
            return None


def _annotations(fields: object, *, subject: str) -> dict[str, str]:
    if fields is None:
        return {}
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise ContentError(f"{subject}: annotations must map strings to strings")
    return fields
