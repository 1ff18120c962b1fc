"""What an OpenTelemetry collector would keep of a Dagger client: traces, logs and metrics, as they came.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, Self, cast
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ENCODED: Final = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_DEPTH: Final = 3  # a call in a span is Base64 of messages, one of whose strings may be Base64 again
KINDS: Final = ("traces", "logs", "metrics")


class Collector:
    """Use it as ``with Collector() as collector``; ``environment`` sends a process's telemetry here."""

    def __init__(self) -> None:
        self.received: defaultdict[str, list[bytes]] = defaultdict(list)
        self.headers: dict[str, str] = {}  # of the last message
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.received, self._server.headers = self.received, self.headers

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """All that a user can switch on; without the longer names Dagger sends traces alone."""
        origin = f"http://127.0.0.1:{self._server.server_port}"
        each = {f"OTEL_EXPORTER_OTLP_{kind.upper()}_ENDPOINT": f"{origin}/v1/{kind}" for kind in KINDS}
        return {
            **each,
            "OTEL_EXPORTER_OTLP_ENDPOINT": origin,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TRACES_LIVE": "1",
        }

    def holding(self, words: Iterable[str]) -> list[str]:
        """Which of the words stand in anything that came, also encoded, with the kind that holds them."""
        found = []
        for kind, bodies in self.received.items():
            texts = {text for body in bodies for text in unfolded(body)}
            found += [f"{kind}: {word}" for word in words if any(word.encode() in text for text in texts)]
        return sorted(found)


def unfolded(raw: bytes, depth: int = _DEPTH) -> Iterator[bytes]:
    """Bytes as they are, with percent signs undone, and what Base64 in them hides."""
    yield raw
    if b"%" in raw:
        yield unquote_to_bytes(raw)
    if not depth:
        return
    for match in _ENCODED.finditer(raw):
        text = match[0].replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        # A run may have neighbours that look like part of it: each way to cut it in fours is tried.
        for start in range(4):
            part = text[start:]
            part = part[: len(part) - (len(part) % 4 == 1)]
            try:
                yield from unfolded(base64.b64decode(part + b"=" * (-len(part) % 4)), depth - 1)
            except binascii.Error:
                continue


class _Server(ThreadingHTTPServer):
    received: dict[str, list[bytes]]
    headers: dict[str, str]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = cast("_Server", self.server)
        body = self._body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        server.headers.update({name.lower(): value for name, value in self.headers.items()})
        server.received[self.path.rpartition("/")[2]].append(body)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""
