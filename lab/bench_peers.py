"""What each program is told to do in ``make bench``: join images that are there into one index with tags."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.builders import BuiltImage


@dataclass(frozen=True)
class Job:
    """What is to be merged: a repository's images by digest, and the tags to write.

    ``records`` is what anyarch reads, ``scratch`` an empty folder.
    """

    host: str
    repository: str
    images: Sequence[BuiltImage]
    tags: Sequence[str]
    records: Path
    scratch: Path

    @property
    def references(self) -> list[str]:
        """The images, each by digest."""
        return [f"{self.repository}@{image.digest}" for image in self.images]


def anyarch(job: Job) -> list[list[str]]:
    """What it takes with anyarch: one process."""
    program = [str(Path(sys.executable).with_name("anyarch")), "merge", "--records", str(job.records)]
    return [[*program, "--to", job.repository, *(f"--tag={tag}" for tag in job.tags)]]


def crane(job: Job) -> list[list[str]]:
    """What it takes with crane: a process for the index, one for each further tag."""
    first = f"{job.repository}:{job.tags[0]}"
    index = ["crane", "index", "append", "-t", first, *(f"-m={each}" for each in job.references)]
    return [index, *(["crane", "tag", first, tag] for tag in job.tags[1:])]


def regctl(job: Job) -> list[list[str]]:
    """What it takes with regctl: a process for the index, one for each further tag."""
    first = f"{job.repository}:{job.tags[0]}"
    program = ["regctl", f"--host=reg={job.host},tls=disabled"]
    index = [*program, "index", "create", first, *(f"--ref={each}" for each in job.references)]
    return [index, *([*program, "image", "copy", first, f"{job.repository}:{tag}"] for tag in job.tags[1:])]


def oras(job: Job) -> list[list[str]]:
    """What it takes with oras: one process."""
    target = f"{job.repository}:{','.join(job.tags)}"
    digests = [str(image.digest) for image in job.images]
    return [["oras", "manifest", "index", "create", "--plain-http", target, *digests]]


def buildx(job: Job) -> list[list[str]]:
    """What it takes with buildx: one process."""
    tags = [f"--tag={job.repository}:{tag}" for tag in job.tags]
    return [["buildx", "imagetools", "create", *tags, *job.references]]


def buildah(job: Job) -> list[list[str]]:
    """What it takes with buildah: a process for a list in its own storage, one for each tag."""
    storage = [f"--root={job.scratch}/root", f"--runroot={job.scratch}/run", "--storage-driver=vfs"]
    program = ["buildah", *storage, "manifest"]
    images = [f"docker://{each}" for each in job.references]
    push = [*program, "push", "--quiet", "--all", "--tls-verify=false", "list"]
    return [
        [*program, "create", "--tls-verify=false", "list", *images],
        *([*push, f"docker://{job.repository}:{tag}"] for tag in job.tags),
    ]


TOOLS: Final[Mapping[str, Callable[[Job], list[list[str]]]]] = {
    each.__name__: each for each in (anyarch, crane, regctl, oras, buildx, buildah)
}
ONE_PROCESS: Final = ("anyarch", "oras", "buildx")  # these take every tag at once
