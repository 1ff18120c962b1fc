"""Proxies as other tools read them, and who sees which credential on the way."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import RegistryUnavailableError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.certificates import tls_context
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.proxies import proxy_for
from anyarch.registry.store import RegistryStore
from anyarch.registry.urls import Origin
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import Authority
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "registry.example.com"
HTTPS = Origin("https", HOST, 443)
PROXY = "http://proxy.example.net:3128"
PROXY_PASSWORD = "canary-proxy-password"


@pytest.mark.parametrize(
    ("origin", "environ", "expected"),
    [
        pytest.param(HTTPS, {}, "", id="none"),
        pytest.param(HTTPS, {"HTTPS_PROXY": PROXY}, PROXY, id="for https"),
        pytest.param(HTTPS, {"https_proxy": PROXY}, PROXY, id="lower case"),
        pytest.param(HTTPS, {"HTTP_PROXY": PROXY}, "", id="the other scheme's"),
        pytest.param(Origin("http", HOST, 80), {"HTTP_PROXY": PROXY}, PROXY, id="for http"),
        pytest.param(
            Origin("http", HOST, 80), {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "", id="httpoxy"
        ),
        pytest.param(HTTPS, {"ALL_PROXY": PROXY}, PROXY, id="for all"),
        pytest.param(HTTPS, {"ALL_PROXY": "http://x.example", "HTTPS_PROXY": PROXY}, PROXY, id="the nearer"),
        pytest.param(HTTPS, {"HTTPS_PROXY": "proxy.example.net:3128"}, PROXY, id="without a scheme"),
        pytest.param(Origin("http", "127.0.0.1", 80), {"HTTP_PROXY": PROXY}, "", id="never for loopback"),
        pytest.param(Origin("http", "localhost", 80), {"HTTP_PROXY": PROXY}, "", id="never for localhost"),
    ],
)
def test_which_proxy(origin: Origin, environ: dict[str, str], expected: str) -> None:
    assert proxy_for(origin, environ) == expected


@pytest.mark.parametrize(
    ("entry", "exempt", "proxied"),
    [
        pytest.param("*", [HOST, "10.0.0.1"], [], id="everything"),
        pytest.param(HOST, [HOST, f"a.{HOST}"], ["myregistry.example.com", "example.com"], id="a name"),
        pytest.param("Registry.Example.COM", [HOST], [], id="upper case"),
        pytest.param("example.com", [HOST, "example.com"], ["notexample.com"], id="its parent"),
        pytest.param(".example.com", [HOST], ["example.com"], id="a leading dot: only below it"),
        pytest.param("*.example.com", [HOST], ["example.com"], id="a star: only below it"),
        pytest.param(f"{HOST}:443", [HOST], [], id="the right port"),
        pytest.param(f"{HOST}:5000", [], [HOST], id="another port"),
        pytest.param("10.0.0.5", ["10.0.0.5"], ["10.0.0.50"], id="an address"),
        pytest.param("10.0.0.5:443", ["10.0.0.5"], [], id="an address with a port"),
        pytest.param("10.0.0.0/8", ["10.1.2.3"], ["11.0.0.1", HOST], id="a network"),
        pytest.param("fd00::/8", ["[fd12::1]"], ["[fe80::1]"], id="a network of IPv6"),
        pytest.param("::1, [fd00::5]:443", ["[fd00::5]"], ["[fd00::6]"], id="an address of IPv6 with a port"),
        pytest.param(" x.example , registry.example.com ,", [HOST], ["y.example"], id="several, with spaces"),
        pytest.param("10.0.0.0/99,a:b:c", [], [HOST], id="what cannot be read is passed over"),
    ],
)
def test_whom_no_proxy_means(entry: str, exempt: list[str], proxied: list[str]) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        environ = {"HTTPS_PROXY": PROXY, name: entry}
        assert {host: proxy_for(Origin("https", host, 443), environ) for host in exempt + proxied} == {
            **dict.fromkeys(exempt, ""),
            **dict.fromkeys(proxied, PROXY),
        }


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(f"ftp://u:{PROXY_PASSWORD}@x.example", id="another scheme"),
        pytest.param(f"http://u:{PROXY_PASSWORD}@:3128", id="no host"),
        pytest.param(f"http://u:{PROXY_PASSWORD}@x.example:99999", id="no port"),
        pytest.param(f"http://u:{PROXY_PASSWORD}@x.example\n", id="a line end"),
        pytest.param(f"http://[u:{PROXY_PASSWORD}@x", id="a bracket"),
        pytest.param(f"socks5://u:{PROXY_PASSWORD}@x.example:1080", id="SOCKS without its package"),
    ],
)
def test_what_is_no_proxy_is_named_and_not_quoted(value: str) -> None:
    with pytest.raises(RegistryUnavailableError, match="HTTPS_PROXY") as refused:
        proxy_for(HTTPS, {"HTTPS_PROXY": value})
    assert PROXY_PASSWORD not in f"{refused.value} {refused.value.facts}"


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_words_are_a_proxy_or_one_clear_error(proxy: str, exempt: str) -> None:
    with suppress(RegistryUnavailableError):
        proxy_for(HTTPS, {"HTTPS_PROXY": proxy, "NO_PROXY": exempt})


@pytest.mark.anyio
async def test_a_proxys_password_goes_to_the_proxy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP: the fake is the proxy for one host, and a registry reached directly."""
    with FakeRegistry(auth="basic") as proxy, FakeRegistry() as direct:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:{PROXY_PASSWORD}@{proxy.host}")
        options = Options(
            insecure=(HOST,), credential=Credential(USERNAME, PASSWORD), clock=FakeClock().clock
        )
        for host in (HOST, direct.host):
            async with RegistryStore(Repository(host, "team/app"), options) as store:
                assert await store.head(Tag("v1")) is None
        word = base64.b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()
        assert {seen.headers.get("Proxy-Authorization") for seen in proxy.seen} == {f"Basic {word}"}
        assert "proxy-authorization" not in str([seen.headers for seen in direct.seen]).lower()


@dataclass
class Tunnel:
    """A proxy that takes every CONNECT, and the TLS server behind it."""

    port: int
    heads: list[str] = field(default_factory=list)  # what the proxy was told
    inside: list[str] = field(default_factory=list)  # what only the server was told


@contextmanager
def a_tunnel(context: ssl.SSLContext, status: str = "200 OK") -> Iterator[Tunnel]:
    listener = socket.create_server(("127.0.0.1", 0))
    tunnel = Tunnel(listener.getsockname()[1])

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain, suppress(OSError):
                tunnel.heads.append(_head(plain))
                plain.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                with context.wrap_socket(plain, server_side=True) as inside:
                    tunnel.inside.append(_head(inside))
                    inside.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield tunnel
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _head(connection: socket.socket) -> str:
    head = b""
    while b"\r\n\r\n" not in head and (chunk := connection.recv(4096)):
        head += chunk
    return head.decode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def look_up(host: str = HOST) -> None:
    async with RegistryStore(Repository(host, "team/app"), Options(clock=FakeClock().clock)) as store:
        assert await store.head(Tag("v1")) is None


@pytest.mark.anyio
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CERT_DIR, hashed"])
async def test_a_private_authority_is_trusted_through_a_proxy(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    trusted = authority.path
    if variable.startswith("SSL_CERT_DIR"):
        name = f"{_subject_hash(authority.path)}.0" if variable.endswith("hashed") else "company.crt"
        (tmp_path / name).symlink_to(authority.path)
        trusted = tmp_path
    monkeypatch.setenv(variable.partition(",")[0], str(trusted))
    with a_tunnel(authority.context(HOST)) as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PROXY_PASSWORD}@127.0.0.1:{tunnel.port}")
        await look_up()
    assert tunnel.heads[0].startswith(f"CONNECT {HOST}:443 ")
    assert "Proxy-Authorization: Basic " in tunnel.heads[0]
    assert "proxy-authorization" not in tunnel.inside[0].lower()


def _subject_hash(path: Path) -> str:
    """OpenSSL's name for a file of one certificate, so that it is found by its subject."""
    import subprocess

    command = ["openssl", "x509", "-hash", "-noout", "-in", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.anyio
@pytest.mark.parametrize("case", ["nobody vouches for it", "it is another host's"])
async def test_a_certificate_that_is_not_good_is_final(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    host = HOST if case == "nobody vouches for it" else "other.example.com"
    if host != HOST:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    with a_tunnel(authority.context(host)) as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{tunnel.port}")
        with pytest.raises(RegistryUnavailableError, match="certificate is not trusted") as refused:
            await look_up()
    assert "SSL_CERT_FILE" in refused.value.hint
    assert (len(tunnel.heads), tunnel.inside) == (1, []), "tried once, and nothing was said"


@pytest.mark.anyio
async def test_a_proxy_that_refuses_says_nothing_of_its_password(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_tunnel(authority.context(HOST), "407 Proxy Authentication Required") as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PROXY_PASSWORD}@127.0.0.1:{tunnel.port}")
        with pytest.raises(RegistryUnavailableError, match="the proxy refused the connection") as refused:
            await look_up()
    assert PROXY_PASSWORD not in f"{refused.value} {refused.value.facts}"


@pytest.mark.parametrize("kind", ["missing", "empty", "no certificate", "a folder"])
@pytest.mark.parametrize("where", ["SSL_CERT_FILE", "the registry's own"])
def test_certificates_that_cannot_be_read_are_named(tmp_path: Path, kind: str, where: str) -> None:
    folder = tmp_path / HOST
    folder.mkdir()
    path = folder / "ca.crt"
    if kind == "a folder":
        path.mkdir()
    elif kind != "missing":
        path.write_text("" if kind == "empty" else "-----BEGIN CERTIFICATE-----\nx\n")
    if where != "SSL_CERT_FILE" and kind == "missing":
        path.symlink_to("nowhere")
    environ = {"SSL_CERT_FILE": str(path)} if where == "SSL_CERT_FILE" else {}
    with pytest.raises(RegistryUnavailableError, match=r"ca\.crt"):
        tls_context(HTTPS, environ, folders=[tmp_path] if where != "SSL_CERT_FILE" else [])


@pytest.mark.parametrize("built_for", ["this system", "another system"])
def test_the_systems_own_authorities_are_trusted(monkeypatch: pytest.MonkeyPatch, built_for: str) -> None:
    import httpx2

    if built_for == "another system":
        nowhere = ssl.get_default_verify_paths()._replace(
            openssl_cafile="/nowhere", openssl_capath="/nowhere"
        )
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    ours = tls_context(HTTPS, {}, folders=[])
    theirs = httpx2.create_ssl_context(trust_env=False)
    assert ours.get_ca_certs() == theirs.get_ca_certs() != []
    assert (ours.verify_mode, ours.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_one_registrys_authority_is_not_anothers(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / f"{HOST}:5000").mkdir()
    (tmp_path / f"{HOST}:5000" / "ca.crt").symlink_to(authority.path)

    def trusted(origin: Origin) -> int:
        return len(tls_context(origin, dict(os.environ), folders=[tmp_path]).get_ca_certs())

    assert trusted(Origin("https", HOST, 5000)) == trusted(HTTPS) + 1
