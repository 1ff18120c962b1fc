"""Real engines, started once for all tests that want them and stopped at the end, whatever happens.

What is missing on the machine fails these tests with the command that installs it; nothing is skipped.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from anyarch.engine.native import emulation
from anyarch.engine.native.places import cache_folder

from lab import base_images, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anyarch.oci.platforms import Platform

NAME: Final = "test"
_TEST_SECONDS: Final = 600
_LOCK_SECONDS: Final = 3000
_FOLDERS: Final = tuple(Path(__file__).parent / name for name in ("contract", "engine", "workflow"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The first of them may wait for the compiler, which has a deadline of its own.
    for item in items:
        if item.path.parent in _FOLDERS and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TEST_SECONDS, func_only=True))


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line at once: preparations take minutes on a bare machine, and silence looks like a hang."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    began = time.monotonic()

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n  [{time.monotonic() - began:4.0f} s] {text}", end="", flush=True)  # noqa: T201

    return line


@pytest.fixture(scope="session")
def _lab(say: Callable[[str], None]) -> Iterator[Path]:
    """The right to use the test engines, and the folder of their registry; both end with the session."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (cache / "test-engines.lock").open("w") as lock:
        _wait_for(lock.fileno(), say)
        storage = Path(tempfile.mkdtemp(prefix="anyarch-test-registry-"))
        try:
            yield storage
        finally:
            anyio.run(_down)
            shutil.rmtree(storage, ignore_errors=True)
            signal.signal(signal.SIGTERM, terminate)


@pytest.fixture(scope="session")
def one_engine(_lab: Path, say: Callable[[str], None]) -> stack.Stack:
    """A registry and the engine of this machine's own platform; Docker Hub's names come from the registry."""
    return anyio.run(_up, (emulation.host_platform(),), _lab, say)


@pytest.fixture(scope="session")
def engine_url(one_engine: stack.Stack) -> str:
    """The URL of a native engine whose builds find ``debian:bookworm-slim``."""
    return next(info.url for info in one_engine.engines.values())


@pytest.fixture(scope="session")
def engine_registry(one_engine: stack.Stack) -> str:
    """The registry that the test engines reach and call without TLS, as ``host:port``."""
    return one_engine.registry


@pytest.fixture(scope="session")
def engines(_lab: Path, say: Callable[[str], None]) -> stack.Stack:
    """Three engines: linux/amd64, linux/386 and emulated linux/arm64, with the registry they share."""
    return anyio.run(_up, base_images.PLATFORMS, _lab, say)


async def _up(platforms: tuple[Platform, ...], storage: Path, say: Callable[[str], None]) -> stack.Stack:
    return await stack.up(
        NAME, platforms, cache=cache_folder(), storage=storage, mirror=True, say=say, private=True
    )


async def _down() -> None:
    await stack.down(NAME, base_images.PLATFORMS, say=lambda _: None)


def _wait_for(lock: int, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    told = False
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                say("another test run on this machine has the test engines; waiting for its end")
                told = True
            time.sleep(0.5)
        else:
            return
    pytest.fail("another test run on this machine has held the test engines all the time")
