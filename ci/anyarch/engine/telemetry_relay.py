"""A stop for telemetry: takes OTLP messages by HTTP, cleans their texts, sends them on."""

from __future__ import annotations

import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar, Final, cast

import httpx2

from anyarch.engine.protobuf_text import with_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BODY_MAX_BYTES: Final = 64 * 1024 * 1024
_SECONDS: Final = 10.0
_NOT_SENT_ON: Final = frozenset(
    {"host", "content-length", "connection", "transfer-encoding", "accept-encoding"}
)


class Relay(ThreadingHTTPServer):
    """Listens on the loopback for one client.

    Args:
        targets: The address of the collector, by the kind of telemetry: the path here.
        clean: Takes the secrets out of a text.
        authority: A file with the certificate that the collectors' are signed with; empty: the machine's own.
    """

    daemon_threads = True

    def __init__(
        self, targets: Mapping[str, str], clean: Callable[[str], str], *, authority: str = ""
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.targets = targets
        self._clean = clean
        trusted = ssl.create_default_context(cafile=authority) if authority else True
        self._client = httpx2.Client(timeout=_SECONDS, verify=trusted)

    def server_close(self) -> None:
        """Stop for good."""
        super().server_close()
        self._client.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: telemetry is nobody's reason to fail."""

    def send_on(self, kind: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Send what a client sent, cleaned; what the collector answered."""
        message = with_texts(body, self._clean)
        if message is None or headers.get("content-encoding"):
            return 400, b""
        try:
            answer = self._client.post(self.targets[kind], content=message, headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL):
            return 503, b""  # for a while, a client tries again
        return answer.status_code, answer.content


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float | None] = _SECONDS

    def do_POST(self) -> None:
        """One message, of at most 64 MiB."""
        relay, kind = cast("Relay", self.server), self.path.removeprefix("/")
        size = int(self.headers.get("Content-Length") or -1)
        if kind not in relay.targets or not 0 <= size <= _BODY_MAX_BYTES:
            self.send_error(400)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        kept = {name: value for name, value in headers.items() if name not in _NOT_SENT_ON}
        status, said = relay.send_on(kind, kept, self.rfile.read(size))
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""
