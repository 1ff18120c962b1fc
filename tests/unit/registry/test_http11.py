"""HTTP/1.1 over connections that are kept: what goes out, and what servers do to connections."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from anyarch.registry import http11
from anyarch.registry.dial import Route
from anyarch.registry.http11 import Pool
from anyarch.registry.http_errors import (
    ConnectError,
    LocalProtocolError,
    ReadTimeoutError,
    RemoteProtocolError,
)
from anyarch.registry.requests import Request, RequestCounter
from anyarch.registry.retry import RetryableError
from anyarch.registry.urls import Origin, Url
from anyarch.registry.wire import Timeouts, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECONDS = 5.0


@dataclass
class Server:
    """Answers each request with the next of its answers; ``b""`` closes instead, None says nothing."""

    origin: Origin
    heads: list[str] = field(default_factory=list)
    connections: int = 0


@contextmanager
def a_server(answers: Sequence[bytes | None], *, closes_after: bool = False) -> Iterator[Server]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(Origin("http", "127.0.0.1", listener.getsockname()[1]))
    left = list(answers)

    def serve() -> None:
        while left:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            server.connections += 1
            with connection:
                while left and (head := _head(connection)):
                    server.heads.append(head)
                    answer = left.pop(0)
                    if answer is None:
                        connection.recv(1)
                        return
                    connection.sendall(answer)
                    while b"413" in answer and connection.recv(65536):
                        pass  # to close with bytes unread would reset the connection, answer and all
                    if closes_after or not answer:
                        break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the accept at once
        listener.close()
        thread.join(SECONDS)


def _head(connection: socket.socket) -> str:
    head = b""
    while b"\r\n\r\n" not in head and (chunk := connection.recv(4096)):
        head += chunk
    return head.decode()


def a_pool(server: Server, idle_seconds: float = SECONDS) -> Pool:
    return Pool(Route(server.origin), connect_seconds=SECONDS, idle_seconds=idle_seconds)


async def ask(pool: Pool, target: str = "/v2/", method: str = "GET") -> bytes:
    response = await pool.send(method, target, [])
    try:
        return b"".join([chunk async for chunk in response.chunks()])
    finally:
        await response.aclose()


async def test_a_target_goes_out_byte_for_byte() -> None:
    signed = "/v2/a%2Fb/blobs?X-Amz-Signature=ab%2bc&key=a|b[0]&empty=&_state=~."
    with a_server([OK]) as server:
        pool = a_pool(server)
        assert await ask(pool, signed) == b"ok"
        await pool.aclose()
    assert server.heads[0].startswith(f"GET {signed} HTTP/1.1\r\n")
    assert f"\r\nHost: {server.origin.netloc}\r\n" in server.heads[0]


async def test_a_connection_is_used_again_once_its_answer_was_read() -> None:
    head_alone = b"HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with a_server([head_alone, chunked, early + OK, OK]) as server:
        pool = a_pool(server)
        assert [await ask(pool, method=method) for method in ("HEAD", "GET", "GET")] == [b"", b"ok", b"ok"]
        assert server.connections == 1
        response = await pool.send("GET", "/v2/", [])
        await response.aclose()
        await pool.aclose()
        assert pool._kept == []  # noqa: SLF001  a body that was left unread


async def test_a_connection_on_which_more_came_than_the_answer_is_not_used_again() -> None:
    """Such as a body for a HEAD: it would be taken for the beginning of the next answer."""
    forged = OK.replace(b"ok", b"no")
    with a_server([OK.replace(b"ok", b"") + forged, OK]) as server:
        pool = a_pool(server)
        assert await ask(pool, method="HEAD") == b""
        assert await ask(pool) == b"ok"
        assert server.connections == 2
        await pool.aclose()


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    with a_server([OK, OK], closes_after=True) as server:
        pool = a_pool(server)
        assert await ask(pool) == b"ok"
        (kept,) = pool._kept  # noqa: SLF001
        poll = select.poll()
        poll.register(kept._socket, select.POLLIN)  # noqa: SLF001
        assert poll.poll(SECONDS * 1000), "the server's goodbye has come"
        assert await ask(pool) == b"ok"
        await pool.aclose()
    assert server.connections == 2


async def test_a_connection_is_not_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_server([OK, OK], closes_after=False) as server:
        pool = a_pool(server)
        await ask(pool)
        monkeypatch.setattr(http11, "KEPT_SECONDS_MAX", -1.0)
        (kept,) = pool._kept  # noqa: SLF001
        assert not kept.is_usable
        await pool.aclose()


async def test_an_upload_may_be_refused_while_it_goes_on() -> None:
    refused = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    async def content() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    with a_server([refused]) as server:
        pool = a_pool(server)
        headers = [("Content-Length", str(64 * 65536))]
        response = await pool.send("PUT", "/v2/", headers, content())
        assert response.status == 413
        await response.aclose()
        assert pool._kept == []  # noqa: SLF001
        await pool.aclose()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(b"", RemoteProtocolError, id="no answer"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", RemoteProtocolError, id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, RemoteProtocolError, id="an endless head"),
        pytest.param(OK[:-1], RemoteProtocolError, id="half a body"),
        pytest.param(None, ReadTimeoutError, id="silence"),
    ],
)
async def test_what_is_no_answer_is_an_error(answer: bytes | None, error: type[Exception]) -> None:
    with a_server([answer], closes_after=True) as server:
        pool = a_pool(server, idle_seconds=0.1 if answer is None else SECONDS)
        with pytest.raises(error):
            await ask(pool)
        assert pool._kept == []  # noqa: SLF001
        await pool.aclose()


async def test_what_cannot_be_sent_is_refused_before_anybody_is_asked() -> None:
    with a_server([]) as server:
        pool = a_pool(server)
        for headers in ([("X", "a\r\nInjected: b")], [("X", "ключ")]):
            with pytest.raises(LocalProtocolError):
                await pool.send("GET", "/v2/", headers)
        assert server.connections == 0


async def test_nobody_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectError):
        await Route(Origin("http", "127.0.0.1", port)).open(seconds=SECONDS)


async def test_a_body_that_stalls_costs_its_time_and_no_more() -> None:
    """What is left of a broken answer is not waited for: the connection cannot be used again anyway."""
    with a_server([OK.replace(b": 2", b": 9")]) as server:
        wire = Wire(RequestCounter(None), Timeouts(idle=0.1))
        request = Request(method="GET", url=Url(server.origin, "/v2/"), kind="manifest")
        started = time.monotonic()
        async with wire.open(request) as answer:
            with pytest.raises(RetryableError):
                await answer.read(100, subject="it")
        assert time.monotonic() - started < 0.9
        await wire.aclose()
