"""An upload that breaks is picked up where the registry says it stands, or begins anew; never half of it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final, cast

import anyio
import pytest
from anyarch.errors import ContentError, RegistryUnavailableError
from anyarch.oci.reference import Repository
from anyarch.registry.client import Options
from anyarch.registry.retry import Clock, RetryableError
from anyarch.registry.store import RegistryStore

from tests.builders import blob_of
from tests.contract.places import PLACES
from tests.contract.test_faults import HEALED
from tests.fake_registry import FakeRegistry, Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.store import Store

pytestmark = pytest.mark.anyio

RESUMED_MIN_BYTES: Final = 1024 * 1024  # smaller than in life, for the sake of time
CONTENT: Final = bytes(range(256)) * (RESUMED_MIN_BYTES // 256) + b"the rest"
BLOB: Final = blob_of(CONTENT)
# Whether a registry keeps what came before a connection broke: distribution 2.8 forgets it (404).
KEEPS: Final = {"fake registry": True, "docker-registry 2.8": False, "distribution 3": True, "olareg": True}
_numbers = count()


class Breaking:
    """As much of a store as an upload needs of its source: its streams break after so many bytes each.

    Args:
        breaks: One number for each stream; those after them are whole.
        content: What it delivers.
    """

    name = "source"

    def __init__(self, *breaks: int, content: bytes = CONTENT) -> None:
        self._breaks = list(breaks)
        self._content = content
        self.opened = 0

    async def stream_blob(self, _: Descriptor) -> AsyncGenerator[bytes]:
        self.opened += 1
        end = self._breaks.pop(0) if self._breaks else None
        whole = self._content[:end]
        for start in range(0, len(whole), 65_536):
            yield whole[start : start + 65_536]
        if end is not None:
            raise RetryableError("connection reset")


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyarch.registry.upload.RESUMED_MIN_BYTES", RESUMED_MIN_BYTES)


@pytest.fixture(scope="module", params=KEEPS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, peers: Path
) -> Iterator[tuple[str, bool]]:
    with PLACES[request.param](tmp_path_factory.mktemp("place"), peers) as opened:
        store = opened.open("any/where")
        assert isinstance(store, RegistryStore)
        yield store.repository.host, KEEPS[request.param]


async def _long_enough(_: float) -> None:
    """A server must have noticed that the connection broke before it can tell what came."""
    await anyio.sleep(0.3)


def store_at(host: str, clock: Clock | None = None) -> RegistryStore:
    options = Options(clock=clock or Clock(sleep=_long_enough))
    return RegistryStore(Repository(host, f"team/app{next(_numbers)}"), options)


async def bring(store: RegistryStore, source: Breaking) -> None:
    assert await store.copy_blob(BLOB, cast("Store", source))


async def is_whole(store: RegistryStore) -> bool:
    chunks = [chunk async for chunk in store.stream_blob(BLOB)]
    return b"".join(chunks) == CONTENT


@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param((600_000,), id="in the middle"),
        pytest.param((len(CONTENT) - 8,), id="shortly before the end"),
        pytest.param((65_536,), id="soon"),
        pytest.param((0,), id="before the first byte"),
        pytest.param((200_000, 500_000, 900_000), id="three times"),
    ],
)
async def test_a_broken_upload_is_finished_on_real_registries(
    place: tuple[str, bool], breaks: tuple[int, ...]
) -> None:
    host, keeps = place
    async with store_at(host) as store:
        source = Breaking(*breaks)
        await bring(store, source)
        assert await is_whole(store)
        assert source.opened == len(breaks) + 1
        posts = sum(n for (method, kind, _), n in store.requests.counts.items() if method == "POST")
        patched = store.requests.by_method().get("PATCH", 0)
    if keeps and breaks[0]:
        assert (posts, patched) == (1, len(breaks)), "one session, and only the rest was sent again"
    else:
        assert (posts, patched) == (len(breaks) + 1, 0), "each time anew"


async def test_a_source_that_is_not_what_it_says_never_becomes_the_blob(place: tuple[str, bool]) -> None:
    host, _ = place
    lying = CONTENT[:-1] + b"!"
    async with store_at(host) as store:
        with pytest.raises(ContentError):
            await bring(store, Breaking(600_000, content=lying))
        assert not await store.has_blob(BLOB)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            Fault("status", 404, method="GET", kind="upload", code="BLOB_UPLOAD_UNKNOWN"), id="forgot"
        ),
        pytest.param(Fault("status", 405, method="GET", kind="upload", code="UNSUPPORTED"), id="never tells"),
        pytest.param(Fault("status", 204, method="GET", kind="upload"), id="tells without a range"),
        pytest.param(
            Fault("status", 204, {"Range": "0-99999999999"}, method="GET", kind="upload"),
            id="has more than there is",
        ),
        pytest.param(
            Fault(
                "status",
                204,
                {"Range": "0-99", "Location": "https://storage.example.com/x"},
                method="GET",
                kind="upload",
            ),
            id="sends us elsewhere",
        ),
        pytest.param(
            Fault("status", 201, method="PATCH", kind="upload"), id="answers as ECR, and drops the chunk"
        ),
        pytest.param(Fault("status", 416, method="PATCH", kind="upload", code="X"), id="wants another range"),
        pytest.param(
            Fault("status", 202, {"Range": "0-599999"}, method="PATCH", kind="upload"), id="took nothing"
        ),
        pytest.param(
            Fault("status", 202, {"Range": f"0-{len(CONTENT) - 1}"}, method="PATCH", kind="upload"),
            id="says that it took all, and did not",
        ),
    ],
)
async def test_what_cannot_be_picked_up_begins_anew(fault: Fault) -> None:
    with FakeRegistry() as registry:
        registry.faults.append(fault)
        async with store_at(registry.host) as store:
            await bring(store, Breaking(600_000))
            assert await is_whole(store)
        assert registry.asked("POST", "upload") == 2
        fault.times = 1  # a fault that was never met would prove nothing
        assert any(fault.fits(seen) for seen in registry.seen)


async def test_a_reset_after_the_last_byte_is_found_to_be_done() -> None:
    clock = FakeClock()
    with FakeRegistry() as registry:
        registry.faults.append(Fault("reset after", method="PUT", kind="upload"))
        async with store_at(registry.host, clock.clock) as store:
            await store.copy_blob(BLOB, cast("Store", Breaking()))
            assert await is_whole(store)
        assert (registry.asked("PUT", "upload"), registry.asked("PATCH", "upload")) == (1, 0)


async def test_small_blobs_are_simply_sent_again() -> None:
    content = CONTENT[: RESUMED_MIN_BYTES - 1]
    with FakeRegistry() as registry:
        async with store_at(registry.host) as store:
            source = Breaking(65_536, content=content)
            await store.copy_blob(blob_of(content), cast("Store", source))
        assert (registry.asked("POST", "upload"), registry.asked("GET", "upload")) == (2, 0)


async def test_a_connection_that_always_breaks_is_given_up() -> None:
    clock = FakeClock()
    with FakeRegistry() as registry:
        async with store_at(registry.host, clock.clock) as store:
            with pytest.raises(RegistryUnavailableError, match=r"connection reset; 6 tries"):
                await bring(store, Breaking(*[200_000] * 100))
            assert store.requests.by_method() == {"HEAD": 6, "POST": 1, "PUT": 1, "GET": 5, "PATCH": 5}
    assert sum(clock.slept) <= 120.0


@pytest.mark.parametrize("name", HEALED)
async def test_a_fault_at_any_request_of_an_upload_in_parts_is_healed(name: str) -> None:
    """It breaks, is asked for, is picked up, is ended: seven requests, and each of them fails in turn."""
    for at in range(1, 8):
        clock = FakeClock()
        with FakeRegistry() as registry:
            registry.faults.append(HEALED[name](at))
            async with store_at(registry.host, clock.clock) as store:
                await bring(store, Breaking(300_000, 600_000))
                assert await is_whole(store)
                assert not await store.copy_blob(BLOB, cast("Store", Breaking())), "it is there"
        assert sum(clock.slept) <= 120.0
