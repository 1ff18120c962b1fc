"""Where a ``Store`` can live: each entry starts one such place. Another real server is one more entry."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from anyarch.oci.reference import Repository
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore

from tests.fake_registry import FakeRegistry
from tests.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    AnyStore = RegistryStore | LayoutStore | MemoryStore

_START_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Place:
    """Somewhere that repositories can be opened by their path; each path starts empty."""

    open: Callable[[str], AnyStore]


def _registry(host: str) -> Place:
    return Place(lambda path: RegistryStore(Repository(host, path)))


@contextmanager
def fake_registry(_folder: Path) -> Iterator[Place]:
    with FakeRegistry() as registry:
        yield _registry(registry.host)


@contextmanager
def layout(folder: Path) -> Iterator[Place]:
    yield Place(lambda path: LayoutStore(folder / path))


@contextmanager
def memory(_folder: Path) -> Iterator[Place]:
    yield Place(lambda path: MemoryStore(name=f"registry.example.com/{path}"))


@contextmanager
def docker_registry(folder: Path) -> Iterator[Place]:
    """Debian's distribution 2.8."""
    host = f"127.0.0.1:{_free_port()}"
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\nstorage: {inmemory: {}}\n"
        f'http: {{addr: "{host}"}}\n'
    )
    with server("docker-registry", ["serve", str(config)], host, hint="apt-get install docker-registry"):
        yield _registry(host)


@contextmanager
def server(program: str, arguments: list[str], host: str, *, hint: str) -> Iterator[None]:
    """A server process of the loopback, for the time of a ``with`` block; a missing one is a failure."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"{program} is not installed: {hint}")
    process = subprocess.Popen([found, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(host, process)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


PLACES: Final[Mapping[str, Callable[[Path], AbstractContextManager[Place]]]] = {
    "memory": memory,
    "fake registry": fake_registry,
    "OCI layout": layout,
    "docker-registry 2.8": docker_registry,
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(host: str, process: subprocess.Popen[bytes]) -> None:
    name, _, port = host.partition(":")
    ends_at = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection((name, int(port)), timeout=1.0).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > ends_at:
                pytest.fail(f"the server at {host} did not come up")
            time.sleep(_POLL_SECONDS)
        else:
            return
