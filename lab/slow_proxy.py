"""An HTTP proxy that makes the loopback as far away as a registry in the same region, and counts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_HEAD_MAX_BYTES = 256 * 1024
_TLS = b"\x16"


@dataclass
class Traffic:
    """What one client asked: requests by method, bytes both ways, and when each request was under way.

    ``connections`` is how many it opened for that.
    """

    methods: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    connections: int = 0
    spans: list[tuple[float, float]] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """The most requests that followed one another, none overlapping: an upper bound of what waited."""
        rounds, ends_at = 0, 0.0
        for began, ended in sorted(self.spans, key=lambda span: span[1]):
            if began >= ends_at:
                rounds, ends_at = rounds + 1, ended
        return rounds


class SlowProxy:
    """Passes HTTP/1.1 on to ``target`` (``host:port``); each direction takes ``delay_seconds`` longer.

    So does a connection's set-up, there and back: the loopback has answered it at once, and what a client
    sends on a new connection has to wait for that answer. Whoever opens many pays for it, if only once
    where they are opened at the same time.
    """

    def __init__(self, target: str, delay_seconds: float) -> None:
        self.traffic = Traffic()
        self._target = target
        self._delay = delay_seconds
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_HEAD_MAX_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()

    @property
    def host(self) -> str:
        """Where clients connect."""
        assert self._server is not None  # noqa: S101  inside the with block
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.traffic.connections += 1
        await asyncio.sleep(2 * self._delay)
        name, _, port = self._target.partition(":")
        there, back = await asyncio.open_connection(name, int(port), limit=_HEAD_MAX_BYTES)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await self._exchange(reader, writer, there, back)
        finally:
            writer.close()
            back.close()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        first = await reader.readexactly(1)
        if first == _TLS:  # who tries TLS first is told, as by the registry itself; crane else waits 0.3 s
            await asyncio.sleep(2 * self._delay)
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            await writer.drain()
            raise ConnectionAbortedError
        head = first + await reader.readuntil(b"\r\n\r\n")
        began = time.monotonic()
        method = head.split(b" ", 1)[0].decode()
        self.traffic.methods[method] += 1
        await self._pass(head + await _body(reader, head), back)
        answer = await there.readuntil(b"\r\n\r\n")
        empty = method == "HEAD" or answer.split(b" ", 2)[1] in {b"204", b"304"}
        await self._pass(answer if empty else answer + await _body(there, answer), writer)
        self.traffic.spans.append((began, time.monotonic()))

    async def _pass(self, message: bytes, writer: asyncio.StreamWriter) -> None:
        self.traffic.bytes += len(message)
        await asyncio.sleep(self._delay)
        writer.write(message)
        await writer.drain()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The bytes after a head, as they came; none where it announces none."""
    fields = dict(line.lower().partition(b":")[::2] for line in head.split(b"\r\n")[1:])
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            line = await reader.readuntil(b"\r\n")
            body += line + await reader.readexactly(int(line.split(b";")[0], 16) + 2)
        return body
    return await reader.readexactly(int(fields.get(b"content-length", b"0")))
