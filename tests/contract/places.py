"""Where a ``Store`` can live: each entry starts one such place. Another real server is one more entry.

A place gets a folder of its own and the folder of the compiled peers.
"""

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
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore

from tests.fake_ecr import HOST, FakeEcr
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry
from tests.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    AnyStore = RegistryStore | LayoutStore | MemoryStore

# bcrypt of PASSWORD, of the least cost
_HTPASSWD: Final = f"{USERNAME}:$2b$04$anyarchTestSaltAnyarcevDj79XW5UDW4WlkHrDssjY8n0Jrj/me\n"
_START_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Place:
    """Somewhere that repositories can be opened by their path; each path starts empty."""

    open: Callable[[str], AnyStore]


def _registry(host: str, options: Options | None = None) -> Place:
    return Place(lambda path: RegistryStore(Repository(host, path), options))


@contextmanager
def fake_registry(_folder: Path, _peers: Path) -> Iterator[Place]:
    with FakeRegistry() as registry:
        yield _registry(registry.host)


@contextmanager
def layout(folder: Path, _peers: Path) -> Iterator[Place]:
    yield Place(lambda path: LayoutStore(folder / path))


@contextmanager
def memory(_folder: Path, _peers: Path) -> Iterator[Place]:
    yield Place(lambda path: MemoryStore(name=f"registry.example.com/{path}"))


@contextmanager
def docker_registry(folder: Path, _peers: Path) -> Iterator[Place]:
    """Debian's distribution 2.8."""
    with _distribution("docker-registry", folder) as host:
        yield _registry(host)


@contextmanager
def docker_registry_with_password(folder: Path, _peers: Path) -> Iterator[Place]:
    """The same, asking for a password by Basic authentication."""
    (folder / "htpasswd").write_text(_HTPASSWD)
    options = Options(credential=Credential(USERNAME, PASSWORD))
    auth = f'auth: {{htpasswd: {{realm: contract, path: "{folder}/htpasswd"}}}}\n'
    with _distribution("docker-registry", folder, auth) as host:
        yield _registry(host, options)


@contextmanager
def distribution_v3(folder: Path, peers: Path) -> Iterator[Place]:
    """The server of the same project that registries run today."""
    with _distribution(str(peers / "registry"), folder) as host:
        yield _registry(host)


@contextmanager
def olareg(_folder: Path, peers: Path) -> Iterator[Place]:
    """A server of OCI 1.1 by other authors, with referrers."""
    port = _free_port()
    host = f"127.0.0.1:{port}"
    words = ["serve", "--addr=127.0.0.1", f"--port={port}", "--store-type=mem", "--api-delete"]
    with server(str(peers / "olareg"), words, host):
        yield _registry(host)


@contextmanager
def ecr(folder: Path, _peers: Path) -> Iterator[Place]:
    """Amazon ECR as its documents have it, under its real host name."""
    patch = pytest.MonkeyPatch()
    with FakeEcr(folder) as registry:

        def opened(path: str) -> RegistryStore:
            registry.use(patch)  # for every test anew: each begins with no settings at all
            registry.create(path)
            return RegistryStore(Repository(HOST, path))

        yield Place(opened)
    patch.undo()


@contextmanager
def _distribution(program: str, folder: Path, more: str = "") -> Iterator[str]:
    host = f"127.0.0.1:{_free_port()}"
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\n"
        "storage: {inmemory: {}, delete: {enabled: true}}\n"
        f'http: {{addr: "{host}"}}\n{more}'
    )
    with server(program, ["serve", str(config)], host):
        yield host


@contextmanager
def server(program: str, arguments: list[str], host: str) -> Iterator[None]:
    """A server process of the loopback, for the time of a ``with`` block; a missing one is a failure."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"{program} is not installed: make setup")
    process = subprocess.Popen([found, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(host, process)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


PLACES: Final[Mapping[str, Callable[[Path, Path], AbstractContextManager[Place]]]] = {
    "memory": memory,
    "fake registry": fake_registry,
    "OCI layout": layout,
    "docker-registry 2.8": docker_registry,
    "docker-registry 2.8 with a password": docker_registry_with_password,
    "distribution 3": distribution_v3,
    "olareg": olareg,
    "Amazon ECR": ecr,
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
