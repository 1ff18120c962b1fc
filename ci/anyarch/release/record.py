"""The record: the small file that one platform's build leaves behind, and that merge consumes.

It says which bytes were built and how. It is trusted for nothing: merge reads manifest and config again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypedDict, Unpack, cast, get_args

from anyarch.errors import ContentError, RecordError, UsageError
from anyarch.oci import strict_json
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import CONFIG_MAX_BYTES, MANIFEST_MAX_BYTES
from anyarch.oci.media_type import IMAGE_TYPES, INDEX_TYPES
from anyarch.oci.platforms import Platform
from anyarch.release.config import parse_destination
from anyarch.release.fields import Fields
from anyarch.release.found import find_image, same_platform
from anyarch.release.plan import parse_revision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.oci.store import Store
    from anyarch.release.found import Referenced

Execution = Literal["native", "emulated"]

RECORD_SCHEMA: Final = 1
RECORD_MAX_BYTES: Final = 8 * 1024
SECONDS_MAX: Final = 7 * 24 * 60 * 60
PHASES_MAX: Final = 32
WORD_MAX_CHARACTERS: Final = 128

_PHASE: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_TIME: Final = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z",
    re.ASCII,
)


class BuildFacts(TypedDict, total=False):
    """What only the builder knows; what it does not know is left out."""

    plan: Digest | None
    revision: str | None
    content_key: Digest | None
    execution: Execution | None
    engine_platform: Platform | None
    engine_version: str | None
    started: str | None
    ended: str | None
    seconds: Mapping[str, float]
    steps: int | None
    cached: int | None
    bytes_pushed: int | None
    run_id: str | None
    run_attempt: int | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One platform's build: its bytes, and what is known about the making. Unknown values are None.

    ``started`` and ``ended`` are RFC 3339 in UTC, ``seconds`` maps phases to seconds, ``source`` is the
    file it was read from. ``referenced`` is in no file: there was none, a reference was read instead.
    """

    platform: Platform
    image: Descriptor
    config: Descriptor
    repository: str
    plan: Digest | None = None
    revision: str | None = None
    content_key: Digest | None = None
    execution: Execution | None = None
    engine_platform: Platform | None = None
    engine_version: str | None = None
    started: str | None = None
    ended: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict, hash=False)
    steps: int | None = None
    cached: int | None = None
    bytes_pushed: int | None = None
    run_id: str | None = None
    run_attempt: int | None = None
    source: str = field(default="", compare=False)
    referenced: Referenced | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", MappingProxyType(dict(self.seconds)))

    @property
    def name(self) -> str:
        """Platform and file, as messages name it."""
        return f"{self.platform} ({self.source})" if self.source else str(self.platform)

    def to_json(self) -> bytes:
        """The record file: fixed key order, a final newline.

        Raises:
            RecordError: it would be longer than a record may be.
        """
        document = {
            "schema": RECORD_SCHEMA,
            "platform": str(self.platform),
            "image": _descriptor_fields(self.image),
            "config": _descriptor_fields(self.config),
            "repository": self.repository,
            "revision": self.revision,
            "plan": _word(self.plan),
            "content_key": _word(self.content_key),
            "execution": self.execution,
            "engine": {"platform": _word(self.engine_platform), "version": self.engine_version},
            "started": self.started,
            "ended": self.ended,
            "seconds": dict(self.seconds),
            "steps": self.steps,
            "cached": self.cached,
            "bytes_pushed": self.bytes_pushed,
            "run": {"id": self.run_id, "attempt": self.run_attempt},
        }
        raw = strict_json.dumps(document) + b"\n"
        if len(raw) > RECORD_MAX_BYTES:
            raise RecordError(
                f"the record of {self.platform} has {len(raw)} bytes; {RECORD_MAX_BYTES} are allowed"
            )
        return raw

    @classmethod
    def from_json(cls, raw: bytes, *, subject: str) -> Record:
        """Read a record file, which anyone may have written.

        Args:
            raw: The file's content.
            subject: Its name, for messages.

        Raises:
            RecordError: not a record; every problem is listed with its field.
        """
        try:
            document = strict_json.loads_object(raw, subject=subject, max_bytes=RECORD_MAX_BYTES)
        except ContentError as error:
            raise RecordError(f"{subject} is not a record", offenders=[error.what]) from error
        fields = Fields(document, problems=[])
        record = _read(fields, subject) if fields.schema(RECORD_SCHEMA) else None
        if record is None or fields.problems:
            raise RecordError(
                f"{subject} is not a record",
                offenders=[f"{subject}: {problem}" for problem in fields.problems],
            )
        return record


def _read(fields: Fields, subject: str) -> Record:
    engine, run = fields.table("engine"), fields.table("run")
    record = Record(
        platform=fields.parsed("platform", Platform.parse),
        image=_read_descriptor(fields.table("image"), most=MANIFEST_MAX_BYTES),
        config=_read_descriptor(fields.table("config"), most=CONFIG_MAX_BYTES),
        repository=fields.parsed("repository", parse_destination),
        revision=fields.parsed_or_none("revision", parse_revision),
        plan=fields.parsed_or_none("plan", Digest.parse),
        content_key=fields.parsed_or_none("content_key", Digest.parse),
        execution=_read_execution(fields),
        engine_platform=engine.parsed_or_none("platform", Platform.parse),
        engine_version=engine.text("version", default="", most=WORD_MAX_CHARACTERS) or None,
        started=fields.parsed_or_none("started", _time),
        ended=fields.parsed_or_none("ended", _time),
        seconds=_read_seconds(fields.table("seconds")),
        steps=fields.integer_or_none("steps"),
        cached=fields.integer_or_none("cached"),
        bytes_pushed=fields.integer_or_none("bytes_pushed"),
        run_id=run.text("id", default="", most=WORD_MAX_CHARACTERS) or None,
        run_attempt=run.integer_or_none("attempt", least=1, most=10_000),
        source=subject,
    )
    for table in (engine, run, fields):
        table.end()
    if not fields.problems and record.image.media_type not in IMAGE_TYPES | INDEX_TYPES:
        fields.problem("image", f"{record.image.media_type} is neither an image's nor an index's media type")
    return record


async def record_from_store(
    store: Store, digest: Digest, *, platform: Platform, **facts: Unpack[BuildFacts]
) -> Record:
    """Make the record from what the store now holds, not from what the builder believes.

    Args:
        store: Where the image was published.
        digest: What the builder says it published: a manifest, or an index of one image and attestations.
        platform: The platform that was asked for.
        facts: What only the builder knows.

    Raises:
        ContentError: the image is for another platform, or not one image.
        RegistryError: the store does not give it.
    """
    found = await find_image(store, digest)
    if not same_platform(found.platform, platform):
        raise ContentError(
            f"{store.name}@{digest}: expected an image for {platform}, found {found.platform}",
            hint="does the Dockerfile fix a platform in its last FROM?",
            platform=str(platform),
        )
    return Record(
        platform=platform, image=found.root, config=found.manifest.config, repository=store.name, **facts
    )


def _read_descriptor(fields: Fields, *, most: int) -> Descriptor:
    descriptor = Descriptor(
        media_type=fields.text("media_type", most=WORD_MAX_CHARACTERS),
        digest=fields.parsed("digest", Digest.parse),
        size=fields.integer("size", least=1, most=most),
    )
    fields.end()
    return descriptor


def _descriptor_fields(descriptor: Descriptor) -> dict[str, object]:
    return {
        "media_type": str(descriptor.media_type),
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }


def _read_execution(fields: Fields) -> Execution | None:
    if not fields.has("execution"):
        return None
    return cast("Execution", fields.choice("execution", get_args(Execution)))


def _read_seconds(fields: Fields) -> dict[str, float]:
    phases = fields.keys()
    if len(phases) > PHASES_MAX:
        fields.problem("", f"{len(phases)} phases are more than the {PHASES_MAX} allowed")
        return {}
    for phase in phases:
        if not _PHASE.fullmatch(phase):
            fields.problem(phase, "not the name of a phase")
    return {phase: fields.number(phase, most=SECONDS_MAX) for phase in phases}


def _time(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise UsageError(
            f"{text[:80]!r} is not a time", hint="expected RFC 3339 in UTC: 2026-01-31T12:00:00Z"
        )
    return text


def _word(value: object) -> str | None:
    return None if value is None else str(value)
