"""A release: an index of several platforms' images, and the tags that point at it."""

from collections.abc import Mapping
from typing import Annotated

import dagger
from anyarch.errors import RecordError
from anyarch.release import publish
from anyarch.release.record import RECORD_MAX_BYTES
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


async def record_files(folder: dagger.Directory) -> Mapping[str, bytes]:
    """The ``*.json`` files of a folder, by name.

    Raises:
        RecordError: some are longer than a record may be; they are not read.
    """
    contents, offenders = {}, []
    for name in await folder.glob("*.json"):
        file = folder.file(name)
        if await file.size() > RECORD_MAX_BYTES:
            offenders.append(f"{name}: more than {RECORD_MAX_BYTES} bytes")
        else:
            contents[name] = (await file.contents()).encode()
    if offenders:
        raise RecordError("these files are not records", offenders=offenders)
    return contents
