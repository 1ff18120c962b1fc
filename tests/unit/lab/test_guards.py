"""The guards of tests/conftest.py: a suite that reached the internet would pass here and fail elsewhere."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(("192.0.2.7", 80), id="an address elsewhere"),
        pytest.param(("10.88.0.2", 80), id="the next private network"),
        pytest.param(("::ffff:192.0.2.7", 80), id="the same in IPv6 clothes"),
    ],
)
def test_connecting_elsewhere_fails_the_test(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as client, pytest.raises(pytest.fail.Exception, match="not this machine"):
        client.connect(address)


def test_looking_up_a_name_fails_the_test() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"looked up 'example\.com'"):
        socket.getaddrinfo("example.com", 443)


def test_the_loopback_is_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
    assert socket.getaddrinfo("localhost", 80)


def test_no_setting_of_the_user_counts() -> None:
    names = [name for name in os.environ if name.startswith(("AWS_", "GITHUB_", "_EXPERIMENTAL_DAGGER_"))]
    assert names == []
    assert not Path(os.environ["DOCKER_CONFIG"]).exists()
    assert not Path(os.environ["ANYARCH_CACHE"]).exists() or "home" in os.environ["ANYARCH_CACHE"]
