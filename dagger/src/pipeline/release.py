"""A release: an index of several platforms' images, and the tags that point at it."""

from collections.abc import Mapping
from typing import Annotated

import dagger
from anyarch.release import publish
from anyarch.release.record import RECORD_MAX_BYTES
from anyarch.release.record_files import NO_FILE, TOO_LONG, RecordFile, check_count, is_record_name
from dagger import Doc, field, object_type


@object_type
class Release:
    """What a merge published: one index and the tags that point at it."""

    digest: Annotated[str, Doc("The index's digest")] = field()
    tags: Annotated[list[str], Doc("The tags that point at it")] = field()
    report: Annotated[str, Doc("What was published, one line for each platform and tag")] = field()
    warnings: Annotated[list[str], Doc("What did not stop the release, and should be known")] = field()

    @classmethod
    def of(cls, release: publish.Release) -> "Release":
        """The release as a caller sees it."""
        lines = [f"{release.repository}@{release.digest}"]
        lines += [
            f"  {child.platform}  {child.execution or 'unknown'}  {child.digest}  {child.total_bytes} bytes"
            for child in release.children
        ]
        lines += [f"  {platform}  not built" for platform in release.missing]
        lines += [f"{tag.tag}  {tag.action}  was {tag.previous or 'not there'}" for tag in release.tags]
        lines += [f"warning: {words}" for words in release.warnings]
        return cls(  # type: ignore[call-arg]  # mypy does not see object_type's dataclass
            digest=str(release.digest),
            tags=[str(tag.tag) for tag in release.tags],
            report="".join(f"{line}\n" for line in lines),
            warnings=list(release.warnings),
        )


async def record_files(folder: dagger.Directory) -> Mapping[str, RecordFile]:
    """What is called like a record in a folder and in its sub-folders; what is too long is not read.

    Raises:
        RecordError: more files than any release has.
    """
    found = [*await folder.glob("*.json"), *await folder.glob("*/*.json")]
    names = sorted({name for name in found if is_record_name(name)})
    check_count(len(names), "the folder of records")
    return {name: await _content(folder, name) for name in names}


async def _content(folder: dagger.Directory, name: str) -> RecordFile:
    if name.endswith("/"):
        return NO_FILE
    file = folder.file(name)
    return TOO_LONG if await file.size() > RECORD_MAX_BYTES else (await file.contents()).encode()
