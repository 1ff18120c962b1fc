"""The doctor, asked about every real registry: it finds what is there and leaves nothing behind."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from anyarch.checks import examine
from anyarch.oci.reference import Tag
from anyarch.registry.client import Options
from anyarch.registry.doctor import RegistryDoctor
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, an_index, upload
from tests.contract.places import PLACES, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anyarch.checks import Line

pytestmark = pytest.mark.anyio

SERVERS = ["docker-registry 2.8", "distribution 3", "olareg"]
IMAGE = an_image()
_numbers = count()


@pytest.fixture(scope="module", params=SERVERS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, peers: Path
) -> Iterator[tuple[str, Place]]:
    with PLACES[request.param](tmp_path_factory.mktemp("place"), peers) as opened:
        yield request.param, opened


async def examined(store: RegistryStore) -> dict[str, Line]:
    doctor = RegistryDoctor(
        store.repository.host, store.repository, None, options=Options(), source="no credential"
    )
    try:
        return {line.name: line for line in await examine(doctor.checks())}
    finally:
        await doctor.aclose()


async def test_all_that_publishing_needs_is_found(place: tuple[str, Place]) -> None:
    name, opened = place
    async with opened.open(f"team/app{next(_numbers)}") as store:
        assert isinstance(store, RegistryStore)
        await upload(store, IMAGE)
        await store.put(Tag("v1"), an_index(IMAGE))
        lines = await examined(store)
        assert {line.verdict for line in lines.values()} == {"ok", "unknown"}
        assert {line.name for line in lines.values() if line.verdict == "unknown"} == {
            "delete",
            "tag mutability",
        }
        assert ("OCI 1.1" in lines["referrers"].found) == (name == "olareg")
        assert lines["push"].found.startswith("allowed; an upload was begun and given up")
        assert "are mounted" in lines["mount"].found
        assert await store.tags() == ["v1"]


async def test_a_repository_does_not_come_into_being(place: tuple[str, Place]) -> None:
    _, opened = place
    async with opened.open(f"team/app{next(_numbers)}") as store:
        assert isinstance(store, RegistryStore)
        before, after = [await examined(store) for _ in range(2)]
        assert before["push"].verdict == "ok"
        assert before["pull"].found == after["pull"].found
        assert "no " in before["pull"].found, "no repository, or no tag in it"
