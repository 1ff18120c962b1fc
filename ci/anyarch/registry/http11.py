"""HTTP/1.1 as a client: h11 says what it means, anyio carries it, connections are kept.

Nothing but that: no redirects, no cookies, no credentials of its own, no decoding of bodies, and targets
byte for byte as they were given (a signed URL that is written anew is another one). A general library
does more, and its import alone would be a fifth of a merge.
"""

from __future__ import annotations

import select
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import anyio
import h11
from anyio.abc import SocketAttribute

from anyarch.registry.http_errors import (
    HttpError,
    LocalProtocolError,
    ReadError,
    ReadTimeoutError,
    RemoteProtocolError,
    WriteError,
    WriteTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence

    from anyio.abc import ByteStream

    from anyarch.registry.dial import Route

    Content = bytes | AsyncIterable[bytes] | None

KEPT_CONNECTIONS_MAX: Final = 32
# Balancers drop idle connections after 60 s and more; a shorter life of ours meets that moment less often.
KEPT_SECONDS_MAX: Final = 20.0
_CHUNK_BYTES: Final = 64 * 1024
_HEAD_MAX_BYTES: Final = 100 * 1024
_LOST: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Connection:
    """One connection; one exchange at a time.

    Args:
        stream: What it goes over.
        idle_seconds: How long a single read or write may take.
    """

    def __init__(self, stream: ByteStream, idle_seconds: float) -> None:
        self._stream = stream
        self._idle_seconds = idle_seconds
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_MAX_BYTES)
        self._socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  not Django's
        self._free_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether a kept connection still is one: a server that closed it has said so by now."""
        if time.monotonic() - self._free_since > KEPT_SECONDS_MAX:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    async def exchange(self, request: h11.Request, content: Content) -> h11.Response:
        """Send a request and read the head of its answer.

        Raises:
            HttpError: the connection failed, or what came is no answer.
        """
        with _protocol_errors_named():
            # Who refuses an upload may answer and close before all of it was sent: the answer counts.
            with suppress(WriteError):
                await self._send(request, content)
            event = await self._event()
            while isinstance(event, h11.InformationalResponse):
                event = await self._event()
            if not isinstance(event, h11.Response):
                raise RemoteProtocolError
            return event

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The rest of the answer's body as it comes; nothing once it has ended.

        Raises:
            HttpError: it ends early, or nothing comes for too long.
        """
        with _protocol_errors_named():
            while self._http.their_state is h11.SEND_BODY:
                event = await self._event()
                if isinstance(event, h11.Data):
                    yield bytes(event.data)

    def recycle(self) -> bool:
        """Whether both sides have said all, so that another exchange can follow; then it is prepared."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        if self._http.trailing_data[0]:
            return False  # more than the answer: it would be taken for the beginning of the next one
        self._http.start_next_cycle()
        self._free_since = time.monotonic()
        return True

    async def aclose(self) -> None:
        """Close it without ceremony."""
        await anyio.aclose_forcefully(self._stream)

    async def _send(self, request: h11.Request, content: Content) -> None:
        head = self._http.send(request) or b""
        if content is None or isinstance(content, bytes):
            body = self._http.send(h11.Data(data=content)) if content else b""
            await self._write(head + (body or b"") + (self._http.send(h11.EndOfMessage()) or b""))
            return
        await self._write(head)
        async for chunk in content:
            await self._write(self._http.send(h11.Data(data=chunk)) or b"")
        await self._write(self._http.send(h11.EndOfMessage()) or b"")

    async def _write(self, data: bytes) -> None:
        if not data:
            return
        try:
            with anyio.fail_after(self._idle_seconds):
                await self._stream.send(data)
        except TimeoutError as error:
            raise WriteTimeoutError from error
        except _LOST as error:
            raise WriteError from error

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._read())
        return event

    async def _read(self) -> bytes:
        try:
            with anyio.fail_after(self._idle_seconds):
                return await self._stream.receive(_CHUNK_BYTES)
        except TimeoutError as error:
            raise ReadTimeoutError from error
        except anyio.EndOfStream:
            return b""
        except _LOST as error:
            raise ReadError from error


class Response:
    """An answer whose body is still to come."""

    def __init__(self, head: h11.Response, connection: Connection, pool: Pool) -> None:
        self.status = head.status_code
        self._headers = head.headers
        self._connection = connection
        self._pool = pool

    def headers(self, name: str) -> list[str]:
        """Every value of a header."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for found, value in self._headers if found == wanted]

    def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes; nothing if all of it came already.

        Raises:
            HttpError: as ``Connection.chunks``.
        """
        return self._connection.chunks()

    async def aclose(self) -> None:
        """Keep the connection if the body was read to its end, else close it."""
        await self._pool.take_back(self._connection)


class Pool:
    """The connections to one origin: as many as are needed at once, a bounded number kept.

    Args:
        route: How the origin is reached.
        connect_seconds: For opening a connection.
        idle_seconds: For a single read or write.
    """

    def __init__(self, route: Route, *, connect_seconds: float, idle_seconds: float) -> None:
        self._route = route
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._kept: list[Connection] = []
        self._is_closed = False

    async def send(
        self, method: str, target: str, headers: Sequence[tuple[str, str]], content: Content = None
    ) -> Response:
        """Send a request and hand out its answer, which must be closed.

        Args:
            method: Such as ``GET``.
            target: Path and query.
            headers: All but ``Host``; with ``Content-Length`` or ``Transfer-Encoding`` if content streams.
            content: The body.

        Raises:
            HttpError: no answer.
        """
        route = self._route
        fields = [("Host", route.origin.netloc), *headers]
        if route.is_forwarded:
            target, fields = f"{route.origin}{target}", [*fields, *route.proxy_headers]
        with _protocol_errors_named():
            request = h11.Request(method=method, target=target, headers=fields)
        connection = await self._connection()
        try:
            return Response(await connection.exchange(request, content), connection, self)
        except BaseException:
            await connection.aclose()
            raise

    async def take_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, if it can serve one."""
        if connection.recycle() and len(self._kept) < KEPT_CONNECTIONS_MAX and not self._is_closed:
            self._kept.append(connection)
        else:
            await connection.aclose()

    async def aclose(self) -> None:
        """Close what is kept, and keep nothing from now on."""
        self._is_closed = True
        while self._kept:
            await self._kept.pop().aclose()

    async def _connection(self) -> Connection:
        while self._kept:
            connection = self._kept.pop()
            if connection.is_usable:
                return connection
            await connection.aclose()
        return Connection(await self._route.open(seconds=self._connect_seconds), self._idle_seconds)


@contextmanager
def _protocol_errors_named() -> Iterator[None]:
    try:
        yield
    except h11.RemoteProtocolError as error:
        raise RemoteProtocolError from error
    except (h11.LocalProtocolError, UnicodeEncodeError) as error:
        raise LocalProtocolError from error


__all__ = ["Connection", "Content", "HttpError", "Pool", "Response"]
