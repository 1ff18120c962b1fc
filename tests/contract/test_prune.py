"""Prune, asked of every place: what goes is gone, what a tag needs is there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest
from anyarch.oci.reference import Tag
from anyarch.registry.layout import LayoutStore
from anyarch.registry.referrers import list_referrers
from anyarch.registry.store import RegistryStore
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote
from anyarch.release.prune.candidates import of_digests
from anyarch.release.prune.prune import prune
from anyarch.release.prune.survey import Places, Wishes
from anyarch.release.verify import verify

from tests.builders import an_attestation, an_image, an_index, upload
from tests.contract.places import PLACES, Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from anyarch.release.prune.prune import Pruning

    from tests.contract.places import AnyStore

pytestmark = pytest.mark.anyio

LATEST = Tag("latest")
AMD, ARM, OTHER = an_image("linux/amd64"), an_image("linux/arm64"), an_image("linux/386")
PROVENANCE = an_attestation(OTHER)
OLD, NEW = an_index(ARM, OTHER, PROVENANCE), an_index(AMD, ARM)
NEXT_YEAR = datetime.now(UTC) + timedelta(days=365)
_numbers = count()


@pytest.fixture(scope="module", params=PLACES)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, peers: Path
) -> Iterator[Place]:
    with PLACES[request.param](tmp_path_factory.mktemp("place"), peers) as opened:
        yield opened


@pytest.fixture
async def store(place: Place) -> AsyncIterator[AnyStore]:
    """``latest`` was at an old release and is at a new one; they share a platform."""
    async with place.open(f"team/app{next(_numbers)}") as opened:
        await upload(opened, AMD, ARM, OTHER, PROVENANCE)
        for index in (OLD, NEW):
            await opened.put(index.digest, index)
            await promote(opened, index.digest, [LATEST], mover=Mover(force=True))
        yield opened


async def pruned(store: AnyStore, *, dry_run: bool = False) -> Pruning:
    places = Places(
        store=store,
        inventory=store if isinstance(store, LayoutStore) else None,
        referrers=partial(list_referrers, store) if isinstance(store, RegistryStore) else None,
    )
    wishes = Wishes(
        older_than=timedelta(days=7),
        now=NEXT_YEAR,
        kept_releases=0,
        candidates=tuple(of_digests([OLD.digest])),
    )
    return await prune(places, wishes, dry_run=dry_run, now=lambda: NEXT_YEAR)


async def test_an_old_release_goes_and_the_current_one_is_whole(store: AnyStore) -> None:
    assert len((await pruned(store, dry_run=True)).removed) >= 3
    assert await store.head(OLD.digest) is not None, "a dry run deletes nothing"
    done = await pruned(store)
    assert done.removed[0].node.digest == OLD.digest
    for digest in (OLD.digest, OTHER.digest, PROVENANCE.digest):
        assert await store.head(digest) is None
    found = await verify(store, LATEST)
    assert {child.digest for child in found.children} == {AMD.digest, ARM.digest}
    assert set(await store.tags()) <= {"latest", "_anyarch.history.latest"}


async def test_a_second_run_finds_nothing(store: AnyStore) -> None:
    await pruned(store)
    assert (await pruned(store)).removed == ()


async def test_a_fixed_tag_keeps_all_of_it(store: AnyStore) -> None:
    await store.put(Tag("1.0.0"), OLD)
    assert (await pruned(store)).removed == ()
    await verify(store, Tag("1.0.0"))
