"""What an interrupted prune had still to delete, kept in the registry until it is done.

Once an index is deleted nothing names its children, and a registry lists nothing that has no tag. So a note
is left under a reserved tag before the first deletion, and deleted after the last: any machine can go on.
"""

from __future__ import annotations

import json
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

import anyio

from anyarch.errors import ContentError, UsageError
from anyarch.oci import strict_json
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import MANIFEST_MAX_BYTES, Image, Manifest
from anyarch.oci.media_type import MediaType
from anyarch.oci.reference import Tag
from anyarch.release.fields import Fields
from anyarch.release.history import EMPTY
from anyarch.release.ledger import _EmptyContent
from anyarch.release.prune.graph import Candidate
from anyarch.release.reserved import RESERVED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anyarch.oci.store import Store

NOTE_TAG: Final = Tag(f"{RESERVED_PREFIX}prune")
ARTIFACT_TYPE: Final = "application/vnd.dev.anyarch.prune.v1+json"
WHY: Final = "left by an interrupted prune"

_SCHEMA: Final = 1
_LEFT: Final = "dev.anyarch.prune"
_ENTRIES_MAX: Final = 10_000  # of 130 bytes each; what an interrupted run leaves beyond them stays as garbage


def a_note(left: Iterable[Digest], since: Mapping[Digest, datetime | None]) -> Image:
    """The artifact that says what is still to be deleted."""
    entries = [
        {"digest": str(digest), "since": when.isoformat()}
        for digest in left
        if (when := since.get(digest)) is not None
    ]
    content = {"schema": _SCHEMA, "left": entries[:_ENTRIES_MAX]}
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": str(MediaType.OCI_MANIFEST),
        "artifactType": ARTIFACT_TYPE,
        "config": EMPTY.to_oci(),
        "layers": [EMPTY.to_oci()],
        "annotations": {_LEFT: json.dumps(content, separators=(",", ":"))},
    }
    raw = strict_json.dumps(document)
    return Image(raw=raw, media_type=MediaType.OCI_MANIFEST, document=MappingProxyType(document))


async def leave(store: Store, note: Image) -> None:
    """Put the note into the registry.

    Raises:
        RegistryError: it cannot be written; then nothing may be deleted.
    """
    await store.copy_blob(EMPTY, cast("Store", _EmptyContent()))
    with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
        await store.put(NOTE_TAG, note)


def read_note(manifest: Manifest, *, subject: str) -> list[Candidate]:
    """What an earlier prune left.

    Raises:
        ContentError: it is something else, or damaged.
    """
    if manifest.artifact_type != ARTIFACT_TYPE:
        raise ContentError(f"{subject} is not the note of an interrupted prune")
    raw = manifest.annotations.get(_LEFT, "").encode()
    fields = Fields(strict_json.loads_object(raw, subject=subject, max_bytes=MANIFEST_MAX_BYTES), problems=[])
    fields.schema(_SCHEMA)
    left = [
        Candidate(digest=each.parsed("digest", Digest.parse), since=each.parsed("since", _time), why=WHY)
        for each in fields.tables("left", most=_ENTRIES_MAX)
    ]
    fields.end()
    if fields.problems:
        raise ContentError(f"{subject} is damaged: {'; '.join(fields.problems[:5])}", hint="delete it")
    return left


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(f"{text[:80]!r} is not a time with a time zone")
    return found
