"""On real registries: a client that dies once its n-th write was done, for every n; the next one finishes.

``test_crash`` kills the program at every request, before and after, of a registry that is not real.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.referrers import list_referrers
from anyarch.registry.store import RegistryStore
from anyarch.release.ledger import Mover, read_history
from anyarch.release.promote import promote, rollback
from anyarch.release.prune.candidates import of_digests
from anyarch.release.prune.prune import prune
from anyarch.release.prune.survey import Places, Wishes
from anyarch.release.publish import merge
from anyarch.release.verify import verify

from tests.builders import an_image, an_index, upload
from tests.contract.places import PLACES
from tests.releases import a_build, a_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from anyarch.registry.requests import Request

pytestmark = pytest.mark.anyio

AMD, ARM = a_build("linux/amd64"), a_build("linux/arm64")
OLD: Final = an_image("linux/386")
FIRST, SECOND = an_index(AMD, OLD), an_index(ARM)
FIXED, LATEST, STABLE = Tag("1.4.2"), Tag("latest"), Tag("stable")
NEXT_YEAR: Final = datetime.now(UTC) + timedelta(days=365)
SERVERS: Final = ("fake registry", "docker-registry 2.8", "distribution 3", "olareg")
_numbers = count()


class DeadError(BaseException):
    """What no code catches."""


@dataclass
class Death:
    """Counts the writes that were answered, and dies with the ``at``-th and with all that would follow."""

    at: int = 0
    writes: int = 0

    def __call__(self, request: Request, status: int) -> None:
        if request.method in {"PUT", "POST", "PATCH", "DELETE"} and status:
            self.writes += 1
        if self.at and self.writes >= self.at:
            raise DeadError


async def _merge(store: RegistryStore) -> None:
    records = [a_record(build, repository=store.name) for build in (AMD, ARM)]
    await merge(store, records, tags=[FIXED, LATEST])


async def _promote(store: RegistryStore) -> None:
    await promote(store, LATEST, [STABLE, FIXED])


async def _rollback(store: RegistryStore) -> None:
    await rollback(store, LATEST, FIRST.digest)


async def _prune(store: RegistryStore) -> None:
    wishes = Wishes(
        older_than=timedelta(days=7),
        now=NEXT_YEAR,
        kept_releases=0,
        candidates=tuple(of_digests([FIRST.digest])),
    )
    places = Places(store=store, referrers=partial(list_referrers, store))
    await prune(places, wishes, now=lambda: NEXT_YEAR)


COMMANDS: Final[Mapping[str, Callable[[RegistryStore], Awaitable[None]]]] = {
    "merge": _merge,
    "promote": _promote,
    "rollback": _rollback,
    "prune": _prune,
}


@pytest.fixture(scope="module", params=SERVERS)
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, peers: Path
) -> Iterator[str]:
    with PLACES[request.param](tmp_path_factory.mktemp("place"), peers) as opened:
        store = opened.open("any/where")
        assert isinstance(store, RegistryStore)
        yield store.repository.host


async def a_repository(host: str) -> Repository:
    """Two releases that ``latest`` was at, one after the other."""
    repository = Repository(host, f"team/app{next(_numbers)}")
    async with RegistryStore(repository) as store:
        await upload(store, AMD, ARM, OLD)
        for index in (FIRST, SECOND):
            await store.put(index.digest, index)
            await promote(store, index.digest, [LATEST], mover=Mover(force=True))
    return repository


async def writes_of(repository: Repository, name: str, *, at: int = 0) -> int:
    """Run a command that dies at its ``at``-th write; how many it made."""
    death = Death(at)
    try:
        async with RegistryStore(repository, Options(observer=death)) as store:
            await COMMANDS[name](store)
    except* DeadError:
        assert at
    return death.writes


async def state(repository: Repository) -> dict[str, object]:
    """What is tagged, each of it whole, and what the histories say, times aside; what prune may delete."""
    found: dict[str, object] = {}
    async with RegistryStore(repository) as store:
        for word in await store.tags():
            tag = Tag(word)
            if word.startswith("_anyarch."):
                continue
            found[word] = (await verify(store, tag)).digest
            moves = (await read_history(store, tag)).moves
            found[f"{word}'s history"] = [(move.by, move.digest, move.previous) for move in moves]
        found["old"] = [await store.head(each.digest) is not None for each in (FIRST, OLD)]
    return found


@pytest.mark.parametrize("name", COMMANDS)
async def test_who_dies_after_any_write_is_finished_by_the_next(host: str, name: str) -> None:
    undisturbed = await a_repository(host)
    writes = await writes_of(undisturbed, name)
    whole = await state(undisturbed)
    assert writes >= 2
    for at in range(1, writes + 1):
        repository = await a_repository(host)
        await writes_of(repository, name, at=at)
        await state(repository)
        await writes_of(repository, name)
        assert await state(repository) == whole, at
        assert await writes_of(repository, name) == 0, at
