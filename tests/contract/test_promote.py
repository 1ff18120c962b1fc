"""Histories, promotion and the way back on each real place."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import NotFoundError
from anyarch.oci.reference import Tag
from anyarch.release.history import is_history_tag
from anyarch.release.ledger import Mover, keeps_history, read_history
from anyarch.release.promote import promote, rollback
from anyarch.release.publish import merge
from anyarch.release.record import record_from_store

from tests.builders import upload
from tests.contract.places import PLACES, Place
from tests.releases import THREE, a_build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from anyarch.release.publish import Release

    from tests.contract.places import AnyStore

pytestmark = pytest.mark.anyio

LATEST, STABLE = Tag("latest"), Tag("stable")
_numbers = count()


@pytest.fixture(scope="module", params=PLACES)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, peers: Path
) -> Iterator[Place]:
    with PLACES[request.param](tmp_path_factory.mktemp("place"), peers) as opened:
        yield opened


@pytest.fixture
async def store(place: Place) -> AsyncIterator[AnyStore]:
    async with place.open(f"team/moved{next(_numbers)}") as opened:
        yield opened


async def releases(store: AnyStore) -> list[Release]:
    """Three releases, of one, two and three platforms; ``latest`` points at the last one."""
    builds = [a_build(name) for name in THREE]
    await upload(store, *builds)
    records = [await record_from_store(store, build.digest, platform=build.platform) for build in builds]
    return [await merge(store, records[:number], tags=[LATEST]) for number in (1, 2, 3)]


@pytest.mark.parametrize("place", [name for name in PLACES if name != "OCI layout"], indirect=True)
async def test_a_promoted_release_goes_back_step_by_step(store: AnyStore) -> None:
    first, second, third = await releases(store)
    assert [each.warnings for each in (first, second, third)] == [(), (), ()]
    for each in (first, third):
        done = await promote(store, each.digest, [STABLE], mover=Mover(by="promote"))
        assert done.warnings == ()
    assert (await rollback(store, STABLE)).tags[0].previous == third.digest
    for expected in (second, first):
        assert (await rollback(store, LATEST)).digest == expected.digest
        assert (await store.get(LATEST)).digest == expected.digest
    with pytest.raises(NotFoundError, match="nothing earlier"):
        await rollback(store, LATEST)
    history = await read_history(store, LATEST)
    assert [move.by for move in history.moves] == ["merge"] * 3 + ["rollback"] * 2
    assert [name for name in await store.tags() if not is_history_tag(name)] == ["latest", "stable"]


async def test_a_rollback_to_a_named_digest_needs_no_history(store: AnyStore) -> None:
    first, _, _ = await releases(store)
    await rollback(store, LATEST, first.digest)
    assert (await store.get(LATEST)).digest == first.digest
    if not keeps_history(store):
        assert await store.tags() == ["latest"], "other tools take every entry of a layout for an image"
        with pytest.raises(NotFoundError, match="a layout keeps no history"):
            await rollback(store, LATEST)
