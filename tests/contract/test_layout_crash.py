"""The real program on a layout, killed at every change of the disk: tags stay complete, a rerun finishes.

``kill -9`` before each file opened for writing, folder made, rename, removal and fsync, also those of the
program's own journal. What a process has done after one of them and before the next it may have written to
a file that has no name yet: nobody reads it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import count
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from anyarch.oci.reference import Tag
from anyarch.registry.layout import LayoutStore
from anyarch.release.verify import verify

from tests.builders import an_image, an_index, upload
from tests.fake_dagger import a_record
from tests.warm_program import WarmProgram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AMD, ARM = an_image("linux/amd64"), an_image("linux/arm64")
STALE: Final = an_image("linux/386", config_fields={"created": "2020-01-01T00:00:00Z"})
STALE_INDEX: Final = an_index(STALE, ARM)  # it shares an image with what is in use
LONG_AGO: Final = 1_577_836_800
COMMANDS: Final[dict[str, list[str]]] = {
    "merge": ["merge", "--records", "records", "--to", "oci:dist", "--tag", "1.4.2 latest"],
    "merge to a new layout": ["merge", "oci:stage:new", "--to", "oci:new/dist", "--tag", "1.4.2 latest"],
    "promote": ["promote", "oci:dist:latest", "--tag", "stable 1.4.2"],
    "prune": ["prune", "oci:dist", "--older-than", "7d"],
}


@pytest.fixture
def program(tmp_path: Path) -> Iterator[WarmProgram]:
    """Where ``dist`` is as before, ``stage`` has images to bring, and ``records`` tell of some there."""

    async def fill() -> None:
        stage, dist = (LayoutStore(tmp_path / name) for name in ("stage", "before"))
        new = an_image("linux/amd64", files={"app": b"newer"})
        await upload(stage, new, ARM)
        await stage.put(Tag("new"), an_index(new, ARM))
        await upload(dist, AMD, ARM, STALE)
        await dist.put(STALE_INDEX.digest, STALE_INDEX)
        await dist.put(Tag("latest"), an_index(ARM))

    anyio.run(fill)
    for path in (tmp_path / "before").rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    (tmp_path / "records").mkdir()
    for image in (AMD, ARM):
        record = json.dumps(a_record(image, "oci:dist"))
        (tmp_path / "records" / f"{image.platform.slug}.json").write_text(record)
    with WarmProgram(tmp_path) as warm:
        yield warm


def reset(folder: Path) -> None:
    for name in ("dist", "new"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(folder / "before", folder / "dist")


def state(path: Path) -> tuple[dict[str, str], list[str]]:
    """What tags point at, all of it there, and all files but those that a killed process left half written.

    Those go after a day. The lock goes with the next writer, if there is still something to write.
    """

    there = path.exists()

    async def look() -> dict[str, str]:
        store = LayoutStore(path)
        names = await store.tags() if there else []
        return {name: str((await verify(store, Tag(name))).digest) for name in names}

    files = (each for each in path.rglob("*") if each.is_file())
    kept = (
        each for each in files if not each.name.startswith(".anyarch-") and each.name != "index.json.lock"
    )
    return anyio.run(look), sorted(str(each.relative_to(path)) for each in kept)


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_change_of_the_disk_a_rerun_ends_where_an_undisturbed_run_does(
    tmp_path: Path, program: WarmProgram, name: str
) -> None:
    words, path = COMMANDS[name], tmp_path / ("new/dist" if "new" in name else "dist")
    reset(tmp_path)
    before = state(path)
    status, said = program.run(words)
    assert status == 0, said
    whole, deaths = state(path), 0
    assert whole != before
    for at in count(1):
        reset(tmp_path)
        status, said = program.run(words, dies_at=at)
        if status == 0:
            break
        assert status == -signal.SIGKILL, (at, said)
        tags = state(path)[0]
        assert tags.items() <= before[0].items() | whole[0].items(), at
        status, said = program.run(words)
        assert (status, state(path)) == (0, whole), (at, said)
        deaths += 1
    assert deaths > 10
