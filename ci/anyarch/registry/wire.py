"""One HTTP exchange at a time: connections, certificates, proxies, timeouts.

No redirects, no credentials, no retries here; every failure comes out as ``RetryableError`` or as one of
our own errors, with nothing of the request's headers or body in it.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import RegistryProtocolError, RegistryUnavailableError
from anyarch.registry.causes import cause_of
from anyarch.registry.dial import Route
from anyarch.registry.http11 import Pool, Response
from anyarch.registry.http_errors import HttpError
from anyarch.registry.proxies import proxy_for
from anyarch.registry.retry import Clock, RetryableError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

    from anyarch.registry.requests import Observer, Request
    from anyarch.registry.retry import Gate
    from anyarch.registry.urls import Origin, Url

_DRAIN_MAX_BYTES: Final = 64 * 1024
_DRAIN_SECONDS_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, each for one exchange."""

    connect: float = 10.0
    idle: float = 60.0  # between two reads or writes
    document: float = 60.0
    blob: float = 900.0
    first: float = 15.0  # where nothing has ever answered: what accepts connections may be no registry
    notice: float = 3.0  # after which somebody is told what is waited for there


class Answer:
    """Status, headers and a body that is read only as far as the reader allows."""

    def __init__(self, response: Response, url: Url, *, sent_at: float, ends_at: float, clock: Clock) -> None:
        self._response = response
        self._ends_at = ends_at
        self._clock = clock
        self.url = url
        self.sent_at = sent_at
        self.is_broken = False
        self.status = response.status

    def header(self, name: str) -> str:
        """A header's value, or empty."""
        return ", ".join(self._response.headers(name))

    def headers(self, name: str) -> list[str]:
        """Every value of a header that may come more than once."""
        return self._response.headers(name)

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
        try:
            with _failures_named(self.url.origin):
                async for chunk in self._response.chunks():
                    self._check_time()
                    yield chunk
        except RetryableError:
            self.is_broken = True
            raise

    def _check_time(self) -> None:
        if self._clock.now() > self._ends_at:
            raise RetryableError("the answer took too long")


@dataclass(slots=True)
class Wire:
    """Connections to every origin that one store talks to."""

    observer: Observer
    timeouts: Timeouts = field(default_factory=Timeouts)
    clock: Clock = field(default_factory=Clock)
    waiting: Callable[[str], None] = lambda _: None
    _pools: dict[Origin, Pool] = field(default_factory=dict)

    @asynccontextmanager
    async def open(
        self, request: Request, *, authorization: str = "", gate: Gate | None = None
    ) -> AsyncIterator[Answer]:
        """Send a request and hand out its answer; leaving closes or returns the connection.

        Args:
            request: What to send.
            authorization: The whole header value, empty for none.
            gate: Of the host; it learns that an answer came. The first one must come soon.
        """
        seconds = self.timeouts.blob if request.is_transfer else self.timeouts.document
        send, soon = self._send, seconds
        if gate is not None and not gate.reached and not callable(request.body):
            send, soon = partial(self._first, gate), min(seconds, self.timeouts.first)
        sent_at = self.clock.now()
        response: Response | None = None
        try:
            try:
                with _failures_named(request.url.origin, gate, soon), anyio.fail_after(soon):
                    response = await send(request, authorization)
            finally:
                self.observer(request, 0 if response is None else response.status)
            if gate is not None:
                gate.reached = True
            answer = Answer(
                response, request.url, sent_at=sent_at, ends_at=sent_at + seconds, clock=self.clock
            )
            yield answer
            if not answer.is_broken:
                await _drain(response)
        finally:
            if response is not None:
                with anyio.CancelScope(shield=True):
                    await response.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.aclose()

    async def _first(self, gate: Gate, request: Request, authorization: str) -> Response:
        """Send where nothing has answered yet; somebody is told, once, if that takes long."""

        def tell() -> None:
            if not gate.reached and not gate.is_waiting_told:
                gate.is_waiting_told = True
                self.waiting(request.url.origin.netloc)

        # A timer, no task: waiting for its end could lose an answer that came as the work was cancelled.
        timer = asyncio.get_running_loop().call_later(self.timeouts.notice, tell)
        try:
            return await self._send(request, authorization)
        finally:
            timer.cancel()

    async def _send(self, request: Request, authorization: str) -> Response:
        content = request.body() if callable(request.body) else request.body
        try:
            return await self._pool(request.url.origin).send(
                request.method, request.url.target, _headers(request, authorization), content
            )
        finally:
            close: Callable[[], object] | None = getattr(content, "aclose", None)
            if close is not None and hasattr(result := close(), "__await__"):
                await result

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            route = Route(origin, _tls(origin), proxy_for(origin, os.environ))
            pool = self._pools[origin] = Pool(
                route, connect_seconds=self.timeouts.connect, idle_seconds=self.timeouts.idle
            )
        return pool


def _headers(request: Request, authorization: str) -> list[tuple[str, str]]:
    # identity: a digest is of the bytes as stored, and a bomb cannot unpack.
    headers = {"User-Agent": "anyarch", "Accept-Encoding": "identity", **request.headers}
    if authorization:
        headers["Authorization"] = authorization
    if callable(request.body):
        framing = ("Transfer-Encoding", "chunked") if request.size is None else _length(request.size)
        headers |= dict([framing])
    elif request.body is not None:
        headers |= dict([_length(len(request.body))])
    return list(headers.items())


def _length(size: int) -> tuple[str, str]:
    return "Content-Length", str(size)


def _tls(origin: Origin) -> ssl.SSLContext | None:
    if origin.scheme == "http":
        return None
    from anyarch.registry.certificates import tls_context  # noqa: PLC0415  not for a registry on this machine

    return tls_context(origin, os.environ)


async def _drain(response: Response) -> None:
    """Read a short rest that nobody wanted: only then can the connection be used again."""
    drained = 0
    with suppress(HttpError), anyio.move_on_after(_DRAIN_SECONDS_MAX):
        async for chunk in response.chunks():
            drained += len(chunk)
            if drained > _DRAIN_MAX_BYTES:
                return


@contextmanager
def _failures_named(origin: Origin, gate: Gate | None = None, seconds: float = 0.0) -> Iterator[None]:
    """Turn what the exchange raises into our words; the library's own may quote headers."""
    try:
        yield
    except TimeoutError:
        if gate is not None and not gate.reached:
            raise RetryableError(f"no answer within {seconds:.0f} s", reached=False) from None
        raise RetryableError("no answer in time") from None
    except HttpError as error:
        cause = cause_of(error)
        if cause.final:
            hint = cause.hint.replace("HOST", origin.netloc)
            raise RegistryUnavailableError(f"{origin}: {cause.words}", hint=hint) from None
        hint = cause.hint if cause.reached else _meant(origin.host) or cause.hint
        raise RetryableError(cause.words, reached=cause.reached, hint=hint) from None


def _meant(host: str) -> str:
    """What was probably meant by a host that nothing answers at."""
    from anyarch.registry.ecr_typo import meant  # noqa: PLC0415  only a failure needs it

    return meant(host)
