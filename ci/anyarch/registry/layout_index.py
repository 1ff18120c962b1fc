"""``index.json`` of an OCI layout: which tags there are, and what they point at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from anyarch.errors import ContentError, NotFoundError
from anyarch.oci import field_names, strict_json
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.manifest import MANIFEST_MAX_BYTES
from anyarch.oci.media_type import MediaType

if TYPE_CHECKING:
    from anyarch.oci.digest import Digest
    from anyarch.oci.reference import Tag
    from anyarch.registry.layout_files import LayoutFiles

_INDEX_FILE: Final = "index.json"
_TAGS_SHOWN: Final = 20
_REF_NAME: Final = "org.opencontainers.image.ref.name"


class LayoutIndex:
    """The tags of one layout. Entries and fields that are not ours stay as they are.

    Args:
        files: The layout's files.
    """

    def __init__(self, files: LayoutFiles) -> None:
        self._files = files

    @property
    def _subject(self) -> str:
        return str(self._files.path / _INDEX_FILE)

    def tags(self) -> list[str]:
        """Every tag, sorted."""
        names = {entry.annotations.get(_REF_NAME, "") for _, entry in self._entries(self._read())}
        return sorted(names - {""})

    def entry(self, tag: Tag) -> Descriptor:
        """What a tag points at.

        Raises:
            NotFoundError: there is no such tag.
            ContentError: it points at two things.
        """
        found = {
            entry.digest: entry
            for _, entry in self._entries(self._read())
            if entry.annotations.get(_REF_NAME) == tag.name
        }
        if not found:
            raise self._missing(tag)
        if len(found) > 1:
            digests = ", ".join(map(str, sorted(found)))
            hint = f"name one of them: oci:{self._files.path}@sha256:…"
            raise ContentError(f"{self._subject}: tag {tag} points at {digests}", hint=hint)
        return next(iter(found.values()))

    def _missing(self, tag: Tag) -> NotFoundError:
        where = f"oci:{self._files.path}"
        if not self._files.exists():
            said = f"{where}: there is no OCI layout: no file oci-layout in that directory"
            return NotFoundError(said, hint="is the path right? anyarch run --to oci:DIR writes one")
        tags = self.tags()
        named = f"it has {', '.join(tags[:_TAGS_SHOWN])}{' …' if len(tags) > _TAGS_SHOWN else ''}"
        hint = named if tags else f"it has no tags; name a digest: {where}@sha256:…"
        return NotFoundError(f"{where}:{tag}: there is no such tag", hint=hint)

    def point(self, tag: Tag, target: Descriptor) -> None:
        """Make a tag point at a manifest that is already here."""
        entry = target.with_annotations({_REF_NAME: tag.name}).to_oci()
        with self._files.lock():
            document = self._read()
            before = self._entries(document)
            after: list[object] = []
            for raw, known in before:
                if known.annotations.get(_REF_NAME) != tag.name:
                    after.append(raw)
                elif entry not in after:  # in its old place, once
                    after.append(entry)
            if entry not in after:
                after.append(entry)
            if after != [raw for raw, _ in before] or not before:
                self._files.write(_INDEX_FILE, strict_json.dumps({**document, "manifests": after}))

    def drop(self, target: Digest) -> None:
        """Take every entry of a digest out, tagged or not."""
        if not self._files.exists():
            return
        with self._files.lock():
            document = self._read()
            before = self._entries(document)
            after = [raw for raw, known in before if known.digest != target]
            if len(after) < len(before):
                self._files.write(_INDEX_FILE, strict_json.dumps({**document, "manifests": after}))

    def targets(self) -> frozenset[Digest] | None:
        """What any entry points at, those without a tag included; None if there is no index."""
        if not self._files.exists() or self._files.read(_INDEX_FILE, MANIFEST_MAX_BYTES) is None:
            return None
        return frozenset(entry.digest for _, entry in self._entries(self._read()))

    def _read(self) -> dict[str, object]:
        raw = self._files.read(_INDEX_FILE, MANIFEST_MAX_BYTES) if self._files.exists() else None
        if raw is None:
            return {"schemaVersion": 2, "mediaType": str(MediaType.OCI_INDEX), "manifests": []}
        document = strict_json.loads_object(raw, subject=self._subject, max_bytes=MANIFEST_MAX_BYTES)
        field_names.DOCUMENT.check(document, subject=self._subject)
        return document

    def _entries(self, document: dict[str, object]) -> list[tuple[object, Descriptor]]:
        entries = document.get("manifests")
        if document.get("schemaVersion") != 2 or not isinstance(entries, list):
            raise ContentError(f"{self._subject}: not the index of an OCI layout")
        return [(entry, Descriptor.from_oci(entry, subject=self._subject)) for entry in entries]
