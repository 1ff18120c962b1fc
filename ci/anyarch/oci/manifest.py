"""Manifests and indexes, read from bytes that are kept.

A digest is of bytes, so a manifest is its raw bytes first and a model second: what was fetched is
what is written again, unknown fields and odd white space included
(https://github.com/opencontainers/image-spec/blob/main/considerations.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from anyarch.errors import ContentError, UsageError
from anyarch.oci import field_names, strict_json
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.digest import Digest
from anyarch.oci.media_type import IMAGE_TYPES, INDEX_TYPES, MediaType
from anyarch.oci.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MANIFEST_MAX_BYTES: Final = 4 * 1024 * 1024  # distribution-spec: registries and clients expect 4 MiB
CONFIG_MAX_BYTES: Final = 4 * 1024 * 1024
DESCRIPTORS_MAX: Final = 1_000
LAYERS_MAX: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An image manifest or an index as bytes, with its media type; parsed on demand, never rewritten."""

    raw: bytes = field(repr=False)
    media_type: str

    @classmethod
    def from_bytes(cls, raw: bytes, *, media_type: str = "", subject: str = "manifest") -> Manifest:
        """Read a manifest of any known kind.

        Args:
            raw: The document.
            media_type: What the registry's Content-Type said; empty where there is none (a layout).
            subject: What it is, for the message.

        Raises:
            ContentError: not a manifest, of two kinds at once, not of the kind that was announced, or with
                names that others take for those of its fields.
        """
        document = strict_json.loads_object(raw, subject=subject, max_bytes=MANIFEST_MAX_BYTES)
        field_names.DOCUMENT.check(document, subject=subject)
        kind = _kind(document, announced=media_type.partition(";")[0].strip(), subject=subject)
        if kind in INDEX_TYPES:
            return Index(raw=raw, media_type=kind, document=MappingProxyType(document))
        return Image(raw=raw, media_type=kind, document=MappingProxyType(document))

    document: Mapping[str, object] = field(repr=False, compare=False, hash=False)

    @cached_property
    def digest(self) -> Digest:
        """The sha256 of the raw bytes."""
        return Digest.of(self.raw)

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor that points at this document, with neither platform nor annotations."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)

    @cached_property
    def annotations(self) -> Mapping[str, str]:
        """The document's own annotations; entries that are no strings are left out."""
        found = self.document.get("annotations")
        entries = found.items() if isinstance(found, dict) else ()
        return MappingProxyType({key: value for key, value in entries if isinstance(value, str)})

    @cached_property
    def subject(self) -> Descriptor | None:
        """The manifest that this one refers to (a signature, an attestation), if any."""
        found = self.document.get("subject")
        return None if found is None else Descriptor.from_oci(found, subject=str(self.digest))

    @property
    def artifact_type(self) -> str:
        """The ``artifactType`` field, or empty."""
        return str(self.document.get("artifactType") or "")


@dataclass(frozen=True, kw_only=True)
class Image(Manifest):
    """One platform's image: a config and layers."""

    @cached_property
    def config(self) -> Descriptor:
        """The config blob's descriptor."""
        return Descriptor.from_oci(self.document.get("config"), subject=f"config of {self.digest}")

    @cached_property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, base first."""
        return _descriptors(self.document.get("layers"), "layers", self.digest, LAYERS_MAX)


@dataclass(frozen=True, kw_only=True)
class Index(Manifest):
    """A multi-platform manifest: descriptors of other manifests."""

    @cached_property
    def manifests(self) -> tuple[Descriptor, ...]:
        """The children in the order written; attestations included."""
        found = self.document.get("manifests")
        return _descriptors(found, "manifests", self.digest, DESCRIPTORS_MAX)

    @property
    def images(self) -> tuple[Descriptor, ...]:
        """The children that are not attestations."""
        return tuple(child for child in self.manifests if not child.is_attestation)

    @property
    def attestations(self) -> tuple[Descriptor, ...]:
        """The children that are attestations."""
        return tuple(child for child in self.manifests if child.is_attestation)

    @classmethod
    def build(
        cls,
        manifests: Sequence[Descriptor],
        *,
        annotations: Mapping[str, str] | None = None,
        media_type: str = MediaType.OCI_INDEX,
        extra: Mapping[str, object] | None = None,
    ) -> Self:
        """Write an index: the same arguments always give the same bytes.

        Args:
            manifests: The children, in order.
            annotations: The index's own.
            media_type: OCI's or Docker's.
            extra: Further fields, for example of an index that this one follows.
        """
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": str(media_type),
            "manifests": [descriptor.to_oci() for descriptor in manifests],
        }
        if annotations:
            document["annotations"] = {key: annotations[key] for key in sorted(annotations)}
        document |= {key: extra[key] for key in sorted(extra or ()) if extra and key not in document}
        raw = strict_json.dumps(document)
        return cls(raw=raw, media_type=media_type, document=MappingProxyType(document))


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The config blob of an image: its platform, labels and settings."""

    raw: bytes = field(repr=False)
    document: Mapping[str, object] = field(repr=False, compare=False, hash=False)

    @classmethod
    def from_bytes(cls, raw: bytes, *, subject: str) -> Self:
        """Read an image config.

        Raises:
            ContentError: not a JSON object within the limits, or with names that others take for its fields'.
        """
        document = strict_json.loads_object(raw, subject=subject, max_bytes=CONFIG_MAX_BYTES)
        field_names.CONFIG.check(document, subject=subject)
        return cls(raw=raw, document=MappingProxyType(document))

    @property
    def platform(self) -> Platform:
        """The platform that the image was built for.

        Raises:
            ContentError: the config does not say.
        """
        try:
            return Platform.from_oci(self.document)
        except UsageError as error:
            raise ContentError(f"image config: {error.what}") from error

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels, as ``LABEL`` or a build's ``--label`` set them."""
        config = self.document.get("config")
        labels = config.get("Labels") if isinstance(config, dict) else None
        entries = labels.items() if isinstance(labels, dict) else ()
        return MappingProxyType({key: value for key, value in entries if isinstance(value, str)})


def _kind(document: Mapping[str, object], *, announced: str, subject: str) -> str:
    """The document's media type; refuses documents that two readers could take for two things."""
    written = document.get("mediaType", "")
    if not isinstance(written, str):
        raise ContentError(f"{subject}: mediaType is not a string")
    if written and announced and written != announced:
        raise ContentError(f"{subject}: announced as {announced}, but says {written}")
    lists, image = "manifests" in document, bool({"layers", "config"} & document.keys())
    if lists and image:  # CVE-2021-41190
        raise ContentError(f"{subject}: has both manifests and layers or config")
    shape = MediaType.OCI_INDEX if lists else MediaType.OCI_MANIFEST if image else ""
    kind = written or announced or shape
    if document.get("schemaVersion") == 1 or kind in {
        MediaType.DOCKER_SCHEMA1,
        MediaType.DOCKER_SCHEMA1_SIGNED,
    }:
        raise ContentError(
            f"{subject}: a schema 1 manifest, which no registry should hold any more",
            hint="push the image again with a current tool",
        )
    if kind not in IMAGE_TYPES | INDEX_TYPES:
        raise ContentError(f"{subject}: {kind or 'no media type'} is neither an image nor an index")
    version = document.get("schemaVersion")
    if (kind in INDEX_TYPES) != lists or version != 2 or not isinstance(version, int):
        raise ContentError(f"{subject}: the content is not what {kind} requires")
    return kind


def _descriptors(found: object, name: str, digest: Digest, most: int) -> tuple[Descriptor, ...]:
    if not isinstance(found, list):
        raise ContentError(f"{digest}: {name} is not a list")
    if len(found) > most:
        raise ContentError(f"{digest}: {len(found)} {name} are more than the {most} allowed")
    return tuple(Descriptor.from_oci(each, subject=f"{name} of {digest}") for each in found)
