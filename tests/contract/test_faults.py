"""Every request of a publication in turn meets every fault; the end is always the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import ContentError, RegistryUnavailableError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.store import RegistryStore
from anyarch.registry.wire import Timeouts

from tests.builders import an_image, an_index, upload
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_registry import Action

pytestmark = pytest.mark.anyio

IMAGE = an_image("linux/arm64")
INDEX = an_index(IMAGE)
LATEST = Tag("latest")
DEADLINE_SECONDS = 120.0

HEALED: dict[str, Callable[[int], Fault]] = {
    "reset before the server did it": lambda at: Fault("reset before", at=at),
    "reset after the server did it": lambda at: Fault("reset after", at=at),
    "429 without Retry-After": lambda at: Fault("status", 429, at=at, code="TOOMANYREQUESTS"),
    "429 with seconds": lambda at: Fault("status", 429, {"Retry-After": "3"}, at=at),
    "429 with a date": lambda at: Fault(
        "status", 429, {"Retry-After": "Fri, 15 Jan 2027 08:00:05 GMT"}, at=at
    ),
    "500": lambda at: Fault("status", 500, at=at, code="UNKNOWN"),
    "502": lambda at: Fault("status", 502, at=at),
    "503": lambda at: Fault("status", 503, at=at),
    "a temporary code with a final status": lambda at: Fault("status", 400, at=at, code="TOOMANYREQUESTS"),
    "truncated": lambda at: Fault("truncated", at=at),
    "an expired token": lambda at: Fault("expired token", at=at),
    "two resets": lambda at: Fault("reset after", at=None if at == 0 else at, times=2),
}


@dataclass
class Run:
    registry: FakeRegistry
    clock: FakeClock
    timeout_seconds: float = 0.3

    async def publish(self) -> None:
        """Blobs, manifest and index by digest, then the tag; then read everything back."""
        options = Options(
            credential=Credential(USERNAME, PASSWORD),
            deadline_seconds=DEADLINE_SECONDS,
            clock=self.clock.clock,
            timeouts=Timeouts(document=self.timeout_seconds, blob=self.timeout_seconds),
        )
        async with RegistryStore(Repository(self.registry.host, "team/app"), options) as store:
            await upload(store, IMAGE)
            await store.put(INDEX.digest, INDEX)
            await store.put(LATEST, INDEX)
            assert (await store.get(LATEST)).raw == INDEX.raw
            found = await store.head(IMAGE.digest)
            assert found == IMAGE.manifest.descriptor
            assert await store.get_blob(IMAGE.manifest.config, max_bytes=10_000)
            assert await store.tags() == ["latest"]


def undisturbed() -> int:
    """How many requests a publication takes when nothing goes wrong."""
    import anyio

    with FakeRegistry(auth="bearer") as registry:
        anyio.run(Run(registry, FakeClock()).publish)
        return sum(seen.path.startswith("/v2/") for seen in registry.seen)


REQUESTS = undisturbed()


def test_the_schedule_covers_a_whole_publication() -> None:
    assert REQUESTS >= 13


@pytest.mark.parametrize("name", HEALED)
async def test_a_fault_at_any_request_is_healed(name: str) -> None:
    for at in range(REQUESTS):
        if name == "an expired token" and at == 1:
            continue  # a token refused right after it was bought is final: see test_auth
        clock = FakeClock()
        with FakeRegistry(auth="bearer") as registry:
            fault = HEALED[name](at)
            registry.faults.append(fault)
            await Run(registry, clock).publish()
            assert registry.repositories.incomplete() == []
            assert sum(clock.slept) <= DEADLINE_SECONDS


async def test_a_slow_drip_is_cut_off_and_tried_again() -> None:
    for at in range(REQUESTS):
        with FakeRegistry(auth="bearer") as registry:
            registry.faults.append(Fault("slow", at=at))
            await Run(registry, FakeClock(), timeout_seconds=0.1).publish()
            assert registry.faults[0].times == 0
            assert registry.repositories.incomplete() == []


async def test_a_lying_digest_is_found_out_or_has_no_effect() -> None:
    found_out = 0
    for at in range(REQUESTS):
        with FakeRegistry(auth="bearer") as registry:
            registry.faults.append(Fault("lying digest", at=at))
            try:
                await Run(registry, FakeClock()).publish()
            except ContentError:
                found_out += 1
            assert registry.repositories.incomplete() == []
    assert found_out >= 5, "each upload, each manifest, and the HEAD"


@pytest.mark.parametrize("action", ["reset before", "reset after"])
async def test_interrupted_for_good_no_tag_points_at_half_an_index_and_a_rerun_completes(
    action: Action,
) -> None:
    for since in range(REQUESTS):
        with FakeRegistry(auth="bearer") as registry:
            registry.faults.append(Fault(action, since=since, times=1000))
            run = Run(registry, FakeClock())
            with pytest.raises(RegistryUnavailableError):
                await run.publish()
            assert registry.repositories.incomplete() == []
            registry.faults.clear()
            await run.publish()
            assert registry.repositories.by_name["team/app"].tags == {"latest": str(INDEX.digest)}


async def test_a_registry_that_only_fails_is_one_clear_message() -> None:
    clock = FakeClock()
    with FakeRegistry() as registry:
        registry.faults.append(Fault("status", 503, times=1000))
        with pytest.raises(RegistryUnavailableError) as failed:
            await Run(registry, clock).publish()
        assert len(registry.seen) == 6
    assert "status 503" in str(failed.value)
    assert f"http://{registry.host}/v2/team/app/blobs/" in str(failed.value) or "team/app@" in str(
        failed.value
    )
    assert sum(clock.slept) <= DEADLINE_SECONDS


async def test_a_registry_that_is_down_is_known_within_seconds() -> None:
    with FakeRegistry() as registry:
        host = registry.host
    clock = FakeClock(chance=1.0)
    async with RegistryStore(Repository(host, "team/app"), Options(clock=clock.clock)) as store:
        with pytest.raises(RegistryUnavailableError, match="connection refused") as failed:
            await store.head(LATEST)
    assert sum(clock.slept) <= 3.0
    assert str(failed.value).count("\n") == 1, "one message and one hint"
