"""Cancelled at any moment, a store gives back what it holds: places at the gate, locks, connections."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
import pytest
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.retry import REQUESTS_AT_ONCE_MAX, UPLOADS_AT_ONCE_MAX
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, an_index, upload
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

IMAGES: Final = [an_image(platform) for platform in ("linux/amd64", "linux/arm64", "linux/386")]
STEPS_MAX: Final = 400
STRIDE: Final = 7


async def publish(store: RegistryStore) -> None:
    async with anyio.create_task_group() as group:
        for image in IMAGES:
            group.start_soon(upload, store, image)
    await store.put(Tag("v1"), an_index(*IMAGES))
    for image in IMAGES:
        await store.get_blob(image.manifest.config, max_bytes=10_000)


async def cancelled_after(steps: int, work: Callable[[], Awaitable[None]]) -> bool:
    """Whether the work was done before so many turns of the event loop."""
    done = False

    async def run() -> None:
        nonlocal done
        await work()
        done = True

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
            if not done:
                await anyio.sleep(0.0002)  # answers come from another thread
        group.cancel_scope.cancel()
    return done


async def test_cancelled_at_any_moment_nothing_is_kept() -> None:
    ended = False
    steps = 0
    with FakeRegistry(auth="bearer") as registry:
        while not ended:
            steps += STRIDE
            assert steps < STEPS_MAX
            registry.repositories.by_name.clear()
            options = Options(credential=Credential(USERNAME, PASSWORD))
            async with RegistryStore(Repository(registry.host, "team/app"), options) as store:
                ended = await cancelled_after(steps, partial(publish, store))
                gate = store.client.retry.gate
                places = (gate.reads.value, gate.writes.value, gate.uploads.value)
                assert places == (REQUESTS_AT_ONCE_MAX, REQUESTS_AT_ONCE_MAX, UPLOADS_AT_ONCE_MAX), steps
                with anyio.fail_after(5):
                    await publish(store)  # no lock is held either
            ends_at = time.monotonic() + 2
            while registry._connections:  # noqa: SLF001  each that was opened has been closed
                assert time.monotonic() < ends_at, steps
                await anyio.sleep(0.001)
