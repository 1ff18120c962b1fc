"""A merge into a layout that dies at any change of the disk: every tag stays complete, a rerun finishes."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from anyarch.oci.manifest import Index
from anyarch.oci.reference import Tag
from anyarch.registry.copy import copy_image
from anyarch.registry.layout import LayoutStore
from anyarch.release.prune.prune import prune
from anyarch.release.prune.survey import Places, Wishes
from anyarch.release.publish import merge
from anyarch.release.verify import verify

from tests.builders import an_image, an_index, upload
from tests.memory_store import MemoryStore
from tests.releases import a_build, a_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

BUILDS = [a_build("linux/amd64"), a_build("linux/arm64")]
TAGS = (Tag("1.4.2"), Tag("latest"))


class KilledError(Exception):
    """What no code catches."""


class Death:
    """Dies at the n-th change of the disk, and at each one that the dying would still make."""

    def __init__(self, at: int, *, acts: bool) -> None:
        self.left = at
        self.acts = acts

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:  # noqa: ANN401  whatever os takes
            self.left -= 1
            if self.left < 0 or (self.left == 0 and not self.acts):
                raise KilledError
            result = real(*words, **more)
            if self.left == 0:
                raise KilledError
            return result

        return call


@pytest.mark.parametrize("acts", [pytest.param(False, id="before"), pytest.param(True, id="after")])
async def test_killed_at_any_change_of_the_disk_a_rerun_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acts: bool
) -> None:
    deaths = 0
    for at in range(1, 100):
        store = LayoutStore(tmp_path / f"dist{at}")
        await upload(store, *BUILDS)
        await store.put(TAGS[1], BUILDS[0].manifest)
        records = [a_record(build, repository=store.name) for build in BUILDS]
        death = Death(at, acts=acts)
        with monkeypatch.context() as patched:
            for name in ("rename", "fsync", "unlink"):
                patched.setattr(os, name, death.around(getattr(os, name)))
            try:
                await merge(store, records, tags=TAGS)
            except KilledError:
                deaths += 1
            else:
                break
        for tag in await store.tags():
            await verify(store, Tag(tag))
        release = await merge(store, records, tags=TAGS)
        assert isinstance(await store.get(TAGS[1]), Index)
        assert [(await store.get(tag)).digest for tag in TAGS] == [release.digest] * 2
        await store.put(Tag("next"), release.index)
        assert not (store.path / "index.json.lock").exists(), "the next writer takes it away"
    assert deaths >= 6


OLD = an_image("linux/386", files={"app": b"older"})
OLD_INDEX = an_index(OLD, BUILDS[0])
NEXT_YEAR = datetime.now(UTC) + timedelta(days=365)


async def _bring(store: LayoutStore) -> None:
    source = MemoryStore()
    await upload(source, OLD, BUILDS[0])
    await source.put(OLD_INDEX.digest, OLD_INDEX)
    await store.put(TAGS[0], await copy_image(source, store, OLD_INDEX.digest))


async def _prune(store: LayoutStore) -> None:
    """The old release, which no tag needs; it shares an image with the new one."""
    wishes = Wishes(older_than=timedelta(days=7), now=NEXT_YEAR)
    await prune(Places(store=store, inventory=store), wishes, now=lambda: NEXT_YEAR)


async def _filled(store: LayoutStore, name: str) -> None:
    await upload(store, *BUILDS)
    if name == "prune":
        await upload(store, OLD)
        await store.put(OLD_INDEX.digest, OLD_INDEX)
    await store.put(TAGS[1], an_index(*BUILDS))


def files(store: LayoutStore) -> list[str]:
    """All that is there but what a killed process left half written: that goes after a day."""
    return sorted(
        str(path.relative_to(store.path))
        for path in store.path.rglob("*")
        if path.is_file() and not path.name.startswith(".anyarch-")
    )


@pytest.mark.parametrize("acts", [pytest.param(False, id="before"), pytest.param(True, id="after")])
@pytest.mark.parametrize("command", [pytest.param(_bring, id="bring"), pytest.param(_prune, id="prune")])
async def test_a_copy_and_a_prune_that_die_are_finished_by_the_next(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[[LayoutStore], Awaitable[None]],
    acts: bool,
) -> None:
    name = "prune" if command is _prune else "bring"
    undisturbed = LayoutStore(tmp_path / "undisturbed")
    await _filled(undisturbed, name)
    await command(undisturbed)
    deaths = 0
    for at in range(1, 100):
        store = LayoutStore(tmp_path / f"dist{at}")
        await _filled(store, name)
        death = Death(at, acts=acts)
        with monkeypatch.context() as patched:
            for change in ("rename", "fsync", "unlink"):
                patched.setattr(os, change, death.around(getattr(os, change)))
            try:
                await command(store)
            except KilledError:
                deaths += 1
            else:
                break
        for tag in await store.tags():
            await verify(store, Tag(tag))
        await command(store)
        assert await store.tags() == await undisturbed.tags()
        assert files(store) == files(undisturbed), at
    assert deaths >= 3
