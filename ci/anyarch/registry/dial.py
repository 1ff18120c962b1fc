"""Connections: to a registry directly, through an HTTP proxy, or through a SOCKS proxy; with TLS or not."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import anyio
import h11

from anyarch.registry.http_errors import ConnectError, ConnectTimeoutError, ProxyError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from anyio.abc import ByteStream

    from anyarch.registry.urls import Origin

_CHUNK_BYTES: Final = 64 * 1024
_SOCKS_PORT: Final = 1080


@dataclass(frozen=True, slots=True)
class Route:
    """How an origin is reached.

    Args:
        origin: Whom to talk to.
        tls: Whose certificates are good; None where it speaks plain HTTP.
        proxy: The URL of the proxy, empty for none; it may hold a password.
    """

    origin: Origin
    tls: ssl.SSLContext | None = None
    proxy: str = field(default="", repr=False)

    @property
    def is_forwarded(self) -> bool:
        """Whether requests go to a proxy that wants whole URLs (RFC 9112 §3.2.2)."""
        return self.tls is None and bool(self.proxy) and not self._is_socks

    @property
    def proxy_headers(self) -> list[tuple[str, str]]:
        """What the proxy, and nobody else, is shown."""
        name, password = self._proxy_user
        if not name and not password:
            return []
        word = base64.b64encode(f"{name}:{password}".encode()).decode()
        return [("Proxy-Authorization", f"Basic {word}")]

    async def open(self, *, seconds: float) -> ByteStream:
        """A connection on which HTTP can be spoken.

        Raises:
            ConnectError: nobody answers, or its certificate is not good.
            ConnectTimeoutError: not within ``seconds``.
            ProxyError: the proxy refuses.
        """
        opened: list[ByteStream] = []
        try:
            with _failures_named(), anyio.fail_after(seconds):
                opened.append(await self._transport())
                if self.tls is not None:
                    opened.append(await _with_tls(opened[-1], self.tls, _bare(self.origin.host)))
        except BaseException:
            for stream in opened:
                await anyio.aclose_forcefully(stream)
            raise
        return opened[-1]

    async def _transport(self) -> ByteStream:
        host, port = _bare(self.origin.host), self.origin.port
        if not self.proxy:
            return await anyio.connect_tcp(host, port)
        parts = urlsplit(self.proxy)
        default = _SOCKS_PORT if self._is_socks else 443 if parts.scheme == "https" else 80
        stream: ByteStream = await anyio.connect_tcp(parts.hostname or "", parts.port or default)
        try:
            if self._is_socks:
                await _through_socks(stream, host, port, self._proxy_user)
            elif parts.scheme == "https":
                import ssl  # noqa: PLC0415  hardly any proxy wants TLS

                stream = await _with_tls(stream, ssl.create_default_context(), parts.hostname or "")
            if self.tls is not None and not self._is_socks:
                await self._through_tunnel(stream)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise
        return stream

    async def _through_tunnel(self, stream: ByteStream) -> None:
        """``CONNECT`` (RFC 9110 §9.3.6)."""
        target = f"{self.origin.host}:{self.origin.port}"
        connection = h11.Connection(h11.CLIENT)
        headers = [("Host", target), ("User-Agent", "anyarch"), *self.proxy_headers]
        asked = connection.send(h11.Request(method="CONNECT", target=target, headers=headers))
        await stream.send((asked or b"") + (connection.send(h11.EndOfMessage()) or b""))
        while not isinstance(event := connection.next_event(), h11.Response):
            if event is not h11.NEED_DATA and not isinstance(event, h11.InformationalResponse):
                raise ProxyError
            connection.receive_data(await stream.receive(_CHUNK_BYTES))
        if not 200 <= event.status_code < 300:
            raise ProxyError

    @property
    def _is_socks(self) -> bool:
        return self.proxy.lower().startswith("socks")

    @property
    def _proxy_user(self) -> tuple[str, str]:
        parts = urlsplit(self.proxy)
        return unquote(parts.username or ""), unquote(parts.password or "")


async def _with_tls(stream: ByteStream, context: ssl.SSLContext, host: str) -> ByteStream:
    from anyio.streams.tls import TLSStream  # noqa: PLC0415  a registry here needs none

    context.set_alpn_protocols(["http/1.1"])
    # Not standard compatible: HTTP says itself where a message ends, and few servers close TLS in style.
    return await TLSStream.wrap(stream, hostname=host, ssl_context=context, standard_compatible=False)


async def _through_socks(stream: ByteStream, host: str, port: int, user: tuple[str, str]) -> None:
    """SOCKS5 (RFC 1928, 1929), spoken by the package socksio, which whoever names such a proxy has."""
    from socksio import socks5  # type: ignore[import-not-found]  # noqa: PLC0415  optional, and rare

    connection = socks5.SOCKS5Connection()
    methods = socks5.SOCKS5AuthMethod
    method = methods.USERNAME_PASSWORD if any(user) else methods.NO_AUTH_REQUIRED
    questions = [socks5.SOCKS5AuthMethodsRequest([method])]
    if any(user):
        name, password = (each.encode() for each in user)
        questions.append(socks5.SOCKS5UsernamePasswordRequest(name, password))
    questions.append(socks5.SOCKS5CommandRequest.from_address(socks5.SOCKS5Command.CONNECT, (host, port)))
    for question in questions:
        connection.send(question)
        await stream.send(connection.data_to_send())
        reply = connection.receive_data(await stream.receive(_CHUNK_BYTES))
        accepted = (
            getattr(reply, "method", method) == method,
            getattr(reply, "success", True),
            getattr(reply, "reply_code", socks5.SOCKS5ReplyCode.SUCCEEDED)
            == socks5.SOCKS5ReplyCode.SUCCEEDED,
        )
        if not all(accepted):
            raise ProxyError


def _bare(host: str) -> str:
    return host.strip("[]")


@contextmanager
def _failures_named() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise ConnectTimeoutError from error
    except h11.ProtocolError as error:
        raise ProxyError from error
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:  # ssl.SSLError is an OSError
        raise ConnectError from error
