"""A folder of record files: which names count, and everything that is wrong with the files at once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from anyarch.errors import RecordError
from anyarch.release.record import RECORD_MAX_BYTES, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

# A file's content, or in words why it was not read.
RecordFile: TypeAlias = bytes | str

FILES_MAX: Final = 1000
TOO_LONG: Final = f"more than the {RECORD_MAX_BYTES} bytes allowed"
NO_FILE: Final = "expected a file, found a link, a folder or a pipe"


def is_record_name(path: str) -> bool:
    """Whether a file counts: ``*.json``, in the folder or one level deep, as artifacts arrive."""
    folders, _, name = path.rstrip("/").rpartition("/")
    return "/" not in folders and name.endswith(".json") and not name.startswith(".")


def check_count(count: int, folder: str) -> None:
    """Refuse a folder before its files are read.

    Raises:
        RecordError: more files than any release has.
    """
    if count > FILES_MAX:
        raise RecordError(f"{folder} holds {count} files; {FILES_MAX} are allowed", path=folder)


def sort_records(named: Mapping[str, RecordFile]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """The records of a folder, and what is wrong with the files that are none.

    Args:
        named: File name → content, or why there is none.

    Raises:
        RecordError: there is no file at all.
    """
    if not named:
        raise RecordError(
            "there is no record",
            hint="each platform's build leaves one: anyarch run, or dagger call build … publish",
        )
    records: list[Record] = []
    offenders: list[str] = []
    for source in sorted(named):
        found = named[source]
        if isinstance(found, str):
            offenders.append(f"{source}: {found}")
            continue
        try:
            records.append(Record.from_json(found, subject=source))
        except RecordError as error:
            offenders += error.offenders
    return tuple(records), tuple(offenders)


def read_records(named: Mapping[str, RecordFile]) -> tuple[Record, ...]:
    """The same where every file must be a record.

    Raises:
        RecordError: there is none, or some are no records; all of them are listed.
    """
    records, offenders = sort_records(named)
    if offenders:
        raise RecordError(
            "these files are not records", offenders=offenders, hint="build their platforms again"
        )
    return records
