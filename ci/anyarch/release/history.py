"""What each tag pointed at, kept in the registry itself: any machine can tell it, and go back.

A tag's history is one small OCI artifact under a reserved tag beside it. The moves are an annotation of
its manifest, config and layer are the specification's empty descriptor: no blob but ``{}`` is needed.
https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidelines-for-artifact-usage
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Self, cast, get_args

from anyarch.errors import ContentError, UsageError
from anyarch.oci import strict_json
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import MANIFEST_MAX_BYTES, Image, Manifest
from anyarch.oci.media_type import MediaType
from anyarch.oci.reference import Tag
from anyarch.release.fields import Fields
from anyarch.release.reserved import RESERVED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyarch.release.record import Record

By = Literal["merge", "promote", "rollback"]

ARTIFACT_TYPE: Final = "application/vnd.dev.anyarch.tag-history.v1+json"
SCHEMA: Final = 1
MOVES_MAX: Final = 100
EMPTY_CONTENT: Final = b"{}"
EMPTY: Final = Descriptor(
    media_type=MediaType.OCI_EMPTY, digest=Digest.of(EMPTY_CONTENT), size=len(EMPTY_CONTENT)
)

_RESERVED: Final = f"{RESERVED_PREFIX}history"
_TAG_MAX_CHARACTERS: Final = 128
_MOVES: Final = "dev.anyarch.history"
_TAG: Final = "dev.anyarch.history.tag"
_WORD_MAX_CHARACTERS: Final = 128
_RUN_MAX_DIGITS: Final = 18  # fits 64 bits
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """One attempt of one CI run; a CI service counts both up, so they have an order."""

    id: int
    attempt: int = 1

    def __str__(self) -> str:
        return f"run {self.id}" + (f" attempt {self.attempt}" if self.attempt > 1 else "")

    @classmethod
    def of(cls, word: str | None, attempt: int | None) -> Run | None:
        """The run that a CI service names; None where it does not count its runs in whole numbers."""
        word = word or ""
        if not (word.isascii() and word.isdecimal() and len(word) <= _RUN_MAX_DIGITS):
            return None
        return cls(int(word), attempt or 1)

    @classmethod
    def newest(cls, records: Iterable[Record]) -> Run | None:
        """The newest run among records; None where one does not say: then nothing is known."""
        runs = [cls.of(record.run_id, record.run_attempt) for record in records]
        known = [run for run in runs if run is not None]
        return max(known) if known and len(known) == len(runs) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A tag was pointed at ``digest``; ``previous`` is None where the tag was new.

    ``run`` and ``revision`` are those of the release at ``digest``, not of whoever promoted it or rolled
    back to it. ``when`` is RFC 3339 in UTC.
    """

    digest: Digest
    previous: Digest | None
    when: str
    by: By
    run: Run | None = None
    revision: str | None = None

    def document(self) -> dict[str, object]:
        """The move as a JSON object; unknown values are null."""
        return {
            "digest": str(self.digest),
            "previous": None if self.previous is None else str(self.previous),
            "when": self.when,
            "by": self.by,
            "run": None if self.run is None else {"id": self.run.id, "attempt": self.run.attempt},
            "revision": self.revision,
        }


@dataclass(frozen=True, slots=True)
class History:
    """The moves of one tag, oldest first."""

    tag: Tag
    moves: tuple[Move, ...] = ()

    def release_of(self, digest: Digest) -> Move | None:
        """The newest move to ``digest`` that knows its run, else the newest one."""
        moves = [move for move in reversed(self.moves) if move.digest == digest]
        return next((move for move in moves if move.run), moves[0] if moves else None)

    def before(self, current: Digest | None) -> Digest | None:
        """What the tag pointed at before ``current``, as one goes back step by step.

        A rollback takes a step back instead of making one: rolling back twice goes back two releases,
        not to the release that was just left. A ``current`` that no move knows was somebody else's.
        """
        way: list[Digest] = []
        for move in self.moves:
            if move.previous is not None and (not way or way[-1] != move.previous):
                way.append(move.previous)  # a move that was not written down
            if move.by == "rollback" and move.digest in way:
                del way[_last(way, move.digest) + 1 :]
            elif not way or way[-1] != move.digest:
                way.append(move.digest)
        if way and way[-1] == current:
            way.pop()
        return way[-1] if way else None

    def step_back(self, current: Digest | None) -> Digest | None:
        """Where a rollback leads.

        Where the tag is not at the last move that was written down, but where a step back from there
        leads, that step was taken, and its run ended before it wrote it down: it leads to where the tag
        is. One step more would lead forward again.
        """
        last = self.moves[-1].digest if self.moves else None
        taken = current is not None and current != last and self.before(last) == current
        return current if taken else self.before(current)

    def after(self, move: Move) -> History:
        """The history with one more move; the oldest ones are forgotten."""
        return replace(self, moves=(*self.moves, move)[-MOVES_MAX:])

    def manifest(self) -> Image:
        """The artifact that holds this history: the same moves always give the same bytes."""
        content = {"schema": SCHEMA, "moves": [move.document() for move in self.moves]}
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": str(MediaType.OCI_MANIFEST),
            "artifactType": ARTIFACT_TYPE,
            "config": EMPTY.to_oci(),
            "layers": [EMPTY.to_oci()],
            "annotations": {_MOVES: json.dumps(content, separators=(",", ":")), _TAG: str(self.tag)},
        }
        raw = strict_json.dumps(document)
        return Image(raw=raw, media_type=MediaType.OCI_MANIFEST, document=MappingProxyType(document))

    @classmethod
    def from_manifest(cls, manifest: Manifest, tag: Tag, *, subject: str) -> Self:
        """Read a history.

        Raises:
            ContentError: it is something else, of another tag, or damaged.
        """
        if not is_history(manifest) or manifest.annotations.get(_TAG) != str(tag):
            raise ContentError(f"{subject} is not the history of tag {tag}", tag=str(tag))
        raw = manifest.annotations.get(_MOVES, "").encode()
        document = strict_json.loads_object(raw, subject=subject, max_bytes=MANIFEST_MAX_BYTES)
        fields = Fields(document, problems=[])
        fields.schema(SCHEMA)
        moves = tuple(_read_move(each) for each in fields.tables("moves", most=MOVES_MAX))
        fields.end()
        if fields.problems:
            raise ContentError(f"{subject} is damaged: {'; '.join(fields.problems[:5])}", tag=str(tag))
        return cls(tag, moves)


def history_tag(tag: Tag) -> Tag:
    """The reserved tag under which a tag's history is kept."""
    name = f"{_RESERVED}.{tag}"
    if len(name) > _TAG_MAX_CHARACTERS:
        name = f"{_RESERVED}-hash.{Digest.of(tag.name.encode()).hex}"
    return Tag(name)


def is_history_tag(name: str) -> bool:
    """Whether a tag is our own bookkeeping and not a release; lists of releases leave it out."""
    return name.startswith((f"{_RESERVED}.", f"{_RESERVED}-hash."))


def is_history(manifest: Manifest) -> bool:
    """Whether a manifest is a history."""
    return manifest.document.get("artifactType") == ARTIFACT_TYPE


def read_any_history(manifest: Manifest, *, subject: str) -> History:
    """A history of whichever tag it says.

    Raises:
        ContentError: as ``History.from_manifest``.
    """
    said = manifest.annotations.get(_TAG, "")
    try:
        return History.from_manifest(manifest, Tag.parse(said), subject=subject)
    except UsageError as error:
        raise ContentError(f"{subject} is the history of {said[:80]!r}, which is no tag") from error


def rfc3339_now() -> str:
    """The time now, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _last(way: list[Digest], digest: Digest) -> int:
    return len(way) - 1 - way[::-1].index(digest)


def _read_move(fields: Fields) -> Move:
    move = Move(
        digest=fields.parsed("digest", Digest.parse),
        previous=fields.parsed_or_none("previous", Digest.parse),
        when=fields.parsed("when", _time),
        by=cast("By", fields.choice("by", get_args(By))),
        run=_read_run(fields.table("run")) if fields.has("run") else None,
        revision=fields.text("revision", default="", most=_WORD_MAX_CHARACTERS) or None,
    )
    fields.end()
    return move


def _read_run(fields: Fields) -> Run:
    run = Run(fields.integer("id"), fields.integer("attempt", least=1))
    fields.end()
    return run


def _time(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise UsageError(
            f"{text[:80]!r} is not a time", hint="expected RFC 3339 in UTC: 2026-01-31T12:00:00Z"
        )
    return text
