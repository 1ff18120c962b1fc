"""Guards that every test runs behind, and the order in which suites run.

A test reaches nothing but this machine: sockets go to the loopback, to the lab's own networks
(10.87.0.0/16) and to Unix sockets; no name but localhost is looked up. No setting of the user who runs the
tests counts, and what a test leaves in a cache goes to a temporary folder. Tests under ``engine`` and
``workflow`` start real engines and so keep the real cache.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings

from lab.registry import real_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest_plugins = ["tests.engines"]  # one set of engines for every suite that wants them

_ALLOWED: Final = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128", "10.87.0.0/16")))
_CLEARED_PREFIXES: Final = ("AWS_", "GITHUB_", "ANYARCH_", "_EXPERIMENTAL_DAGGER_", "DAGGER_", "REGISTRY_")
_CLEARED: Final = frozenset(
    {"CI", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"}
    | {"FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "SSLKEYLOGFILE"}
    | {
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    }
)
# Fast and telling first: a wrong noun should not be found out through an engine.
_ORDER: Final = ("unit", "", "contract", "engine", "workflow")
# Far more than any takes on a busy machine: one that waits for ever ends here and shows where it waits.
_UNIT_TEST_SECONDS: Final = 60
_WITH_REAL_CACHE: Final = frozenset({"engine", "workflow"})

# The same examples in every run, and no judgement of a busy machine's speed. Looking for new ones:
# HYPOTHESIS_PROFILE=thorough make unit
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def _suite(path: Path, root: Path) -> str:
    parts = path.relative_to(root / "tests").parts if path.is_relative_to(root / "tests") else ()
    return parts[0] if len(parts) > 1 else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(_ORDER)}
    items.sort(key=lambda item: rank.get(_suite(item.path, config.rootpath), len(rank)))
    if os.environ.get("HYPOTHESIS_PROFILE", "suite") == "suite":
        for item in items:
            if _suite(item.path, config.rootpath) == "unit" and item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_UNIT_TEST_SECONDS))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def registry() -> Iterator[str]:
    """A real registry, as ``host:port`` without TLS; every test uses repositories of its own in it."""
    with real_registry() as host:
        yield host


@pytest.fixture(scope="session")
def registry_with_password() -> Iterator[str]:
    """The same, for ``lab.registry.USERNAME`` and ``PASSWORD`` only."""
    with real_registry(auth=True) as host:
        yield host


@pytest.fixture(scope="session")
def _empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _empty_home: Path
) -> None:
    cache = os.environ.get("ANYARCH_CACHE")
    for name in tuple(os.environ):
        if name in _CLEARED or name.startswith(_CLEARED_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_CONFIG", str(_empty_home / "docker"))
    if _suite(request.path, request.config.rootpath) not in _WITH_REAL_CACHE:
        monkeypatch.setenv("ANYARCH_CACHE", str(_empty_home / "cache"))
    elif cache is not None:
        monkeypatch.setenv("ANYARCH_CACHE", cache)


def _only_this_machine(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: the interpreter asks it before every connection and look-up."""
    if event == "socket.connect":
        connection, target = arguments
        if isinstance(connection, socket.socket) and connection.family in {socket.AF_INET, socket.AF_INET6}:
            assert isinstance(target, tuple)
            found = _address(str(target[0]))
            if found is None or not any(found in network for network in _ALLOWED):
                pytest.fail(f"a test connected to {target[0]}:{target[1]}, which is not this machine")
    elif event == "socket.getaddrinfo":
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        if host and _address(str(host)) is None:
            pytest.fail(f"a test looked up {host!r} in the domain name system")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address("127.0.0.1" if text == "localhost" else text.partition("%")[0])
    except ValueError:
        return None


sys.addaudithook(_only_this_machine)
