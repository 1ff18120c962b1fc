"""One HTTP exchange at a time: connections, certificates, proxies, timeouts. The only user of httpx2.

No redirects, no credentials, no retries here; every failure comes out as ``RetryableError`` or as one of
our own errors, with nothing of the request's headers or body in it.
"""

from __future__ import annotations

import os
import ssl
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final

import anyio
import httpx2

from anyarch.errors import RegistryProtocolError, RegistryUnavailableError
from anyarch.registry.causes import cause_of
from anyarch.registry.certificates import tls_context
from anyarch.registry.proxies import proxy_for
from anyarch.registry.retry import Clock, RetryableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

    from anyarch.registry.requests import Observer, Request
    from anyarch.registry.urls import Origin, Url

_KEPT_CONNECTIONS_MAX: Final = 32
_DRAIN_MAX_BYTES: Final = 64 * 1024
_DRAIN_SECONDS_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, each for one exchange."""

    connect: float = 10.0
    idle: float = 60.0  # between two reads or writes
    document: float = 60.0
    blob: float = 900.0


class Answer:
    """Status, headers and a body that is read only as far as the reader allows."""

    def __init__(
        self, response: httpx2.Response, url: Url, *, sent_at: float, ends_at: float, clock: Clock
    ) -> None:
        self._response = response
        self._ends_at = ends_at
        self._clock = clock
        self.url = url
        self.sent_at = sent_at
        self.status = response.status_code

    def header(self, name: str) -> str:
        """A header's value, or empty."""
        return self._response.headers.get(name, "")

    def headers(self, name: str) -> list[str]:
        """Every value of a header that may come more than once."""
        return self._response.headers.get_list(name)

    @property
    def length(self) -> int | None:
        """The Content-Length, if there is one that can be read."""
        text = self.header("content-length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None

    async def read(self, max_bytes: int, *, subject: str) -> bytes:
        """The body.

        Raises:
            RegistryProtocolError: it is longer than ``max_bytes``.
        """
        body = await self.read_up_to(max_bytes + 1)
        if len(body) > max_bytes:
            raise RegistryProtocolError(f"{subject}: the answer is longer than {max_bytes} bytes")
        return body

    async def read_up_to(self, max_bytes: int) -> bytes:
        """The body, cut after ``max_bytes``."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) >= max_bytes:
                break
        return bytes(body[:max_bytes])

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes, until the exchange's time is up."""
        with _failures_named(self.url.origin):
            async for chunk in self._response.aiter_raw():
                if self._clock.now() > self._ends_at:
                    raise RetryableError("the answer took too long")
                yield chunk


@dataclass(slots=True)
class Wire:
    """Connections to every origin that one store talks to."""

    observer: Observer
    timeouts: Timeouts = field(default_factory=Timeouts)
    clock: Clock = field(default_factory=Clock)
    _clients: dict[Origin, httpx2.AsyncClient] = field(default_factory=dict)

    @asynccontextmanager
    async def open(
        self, request: Request, *, authorization: str = "", reached: Callable[[], None] = lambda: None
    ) -> AsyncIterator[Answer]:
        """Send a request and hand out its answer; leaving closes or returns the connection.

        Args:
            request: What to send.
            authorization: The whole header value, empty for none.
            reached: Called when any answer came.
        """
        seconds = self.timeouts.blob if request.is_transfer else self.timeouts.document
        sent_at = self.clock.now()
        status = 0
        try:
            with _failures_named(request.url.origin), anyio.fail_after(seconds):
                response = await self._send(request, authorization)
            status = response.status_code
        finally:
            self.observer(request, status)
        reached()
        try:
            yield Answer(response, request.url, sent_at=sent_at, ends_at=sent_at + seconds, clock=self.clock)
            await _drain(response)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    async def _send(self, request: Request, authorization: str) -> httpx2.Response:
        client = self._client(request.url.origin)
        content = request.body() if callable(request.body) else request.body
        headers = dict(request.headers)
        if authorization:
            headers["Authorization"] = authorization
        if request.size is not None:
            headers["Content-Length"] = str(request.size)
        built = client.build_request(request.method, str(request.url), headers=headers, content=content)
        try:
            return await client.send(built, stream=True)
        finally:
            close: Callable[[], object] | None = getattr(content, "aclose", None)
            if close is not None and hasattr(result := close(), "__await__"):
                await result

    def _client(self, origin: Origin) -> httpx2.AsyncClient:
        client = self._clients.get(origin)
        if client is None:
            timeout = httpx2.Timeout(self.timeouts.idle, connect=self.timeouts.connect, pool=None)
            client = self._clients[origin] = httpx2.AsyncClient(
                verify=tls_context(origin, os.environ),
                proxy=proxy_for(origin, os.environ) or None,
                trust_env=False,
                timeout=timeout,
                limits=httpx2.Limits(
                    max_connections=None,
                    max_keepalive_connections=_KEPT_CONNECTIONS_MAX,
                ),
                # Cookies ignore ports, and nothing here needs one.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                headers=_default_headers(),
            )
        return client


async def _drain(response: httpx2.Response) -> None:
    """Read a short rest that nobody wanted: only then can the connection be used again."""
    if response.is_stream_consumed:
        return
    drained = 0
    with suppress(httpx2.HTTPError), anyio.move_on_after(_DRAIN_SECONDS_MAX):
        async for chunk in response.aiter_raw():
            drained += len(chunk)
            if drained > _DRAIN_MAX_BYTES:
                return


def _default_headers() -> Mapping[str, str]:
    # identity: a digest is of the bytes as stored, and a bomb cannot unpack.
    return {"User-Agent": "anyarch", "Accept-Encoding": "identity"}


@contextmanager
def _failures_named(origin: Origin) -> Iterator[None]:
    """Turn what the HTTP library raises into our words; its own may quote headers."""
    try:
        yield
    except TimeoutError:
        raise RetryableError("no answer in time") from None
    except httpx2.HTTPError as error:
        cause = cause_of(error)
        if cause.final:
            raise RegistryUnavailableError(f"{origin}: {cause.words}", hint=cause.hint) from None
        raise RetryableError(cause.words, reached=cause.reached) from None
    except (httpx2.InvalidURL, httpx2.StreamError, ssl.SSLError) as error:
        raise RegistryProtocolError(f"{origin}: {type(error).__name__}") from None
