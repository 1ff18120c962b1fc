"""A small real registry on the loopback: strict, scripted to misbehave, and with a memory of every request.

It speaks the distribution protocol as the specification words it and refuses what real registries wrongly
accept. A request that it does not know fails the test at ``stop``. Two more origins can stand beside it: a
token server and a storage host, each with its own record of what it saw.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import socketserver
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Final, Literal, Self
from urllib.parse import parse_qs, urlsplit

from tests.fake_repositories import Reply, Repositories, Seen, failure

if TYPE_CHECKING:
    from collections.abc import Mapping

USERNAME: Final = "robot"
PASSWORD: Final = "canary-password-7f3a"
IDENTITY_TOKEN: Final = "canary-identity-91bc"
COOKIE: Final = "session=canary-cookie; Path=/"
TOKEN_PREFIX: Final = "canary-token-"

Action = Literal[
    "reset before",
    "reset after",
    "status",
    "truncated",
    "lying digest",
    "slow",
    "expired token",
    "echo",
    "endless",
]


@dataclass
class Fault:
    """What goes wrong with one request.

    ``at`` counts those under ``/v2/``, or with ``kind`` token or storage the others. None: the next that
    fits.
    """

    action: Action
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    at: int | None = None
    since: int = 0
    method: str = ""
    kind: str = ""
    times: int = 1
    code: str = "UNAVAILABLE"
    shown: bool = False  # only requests that carry an Authorization
    agent: str = ""  # only requests of this program
    path: str = ""  # only requests for this

    def fits(self, seen: Seen) -> bool:
        return (
            self.times > 0
            and seen.is_api != (self.kind in {"token", "storage"})
            and self.at in {None, seen.number}
            and seen.number >= self.since
            and self.method in {"", seen.method}
            and self.kind in {"", seen.kind}
            and (not self.shown or bool(seen.authorization))
            and seen.headers.get("User-Agent", "").startswith(self.agent)
            and self.path in seen.path
        )


@dataclass
class Switches:
    """One switch for each way in which registries differ or misbehave."""

    auth: Literal["none", "basic", "bearer"] = "none"
    realm: str = ""  # where tokens are given out, if not here
    challenge: str = ""  # instead of the right one
    token_seconds: int = 300
    token_body: str = ""  # what the token server says instead; {token} is a good one
    upload_origin: str = ""  # uploads go to this origin
    upload_location: str = ""  # the whole Location, as it stands
    blob_redirect: str = ""  # blobs are read from this origin
    mounts: bool = True
    chunks: bool = True  # uploads in parts, and what they have so far; False: 405
    head_digest: bool = True
    head_manifests: bool = True  # False: 405
    head_denied: bool = False  # 403 without a body, as ECR
    immutable_tags: bool = False
    deletes: bool = True
    referrers_link: str = ""
    referrers: bool = False  # True: lists them, as OCI 1.1; else clients keep the list under a tag
    lag: int = 0  # how often a manifest written just now is not found yet
    tags_page: int = 0
    tags_link: str = ""
    content_encoding: str = ""
    ranges: bool = True
    range_shift: int = 0  # ranges begin this many bytes too late


class FakeRegistry:
    """Use it as ``with FakeRegistry(auth="basic") as registry``.

    Args:
        switches: Fields of ``Switches``.
    """

    def __init__(
        self,
        *,
        repositories: Repositories | None = None,
        handler: type[Handler] | None = None,
        address: str = "127.0.0.1",
        **switches: object,
    ) -> None:
        self.switches = Switches(**switches)  # type: ignore[arg-type]
        self.repositories = repositories or Repositories()
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.unhandled: list[str] = []
        self.tokens: dict[str, tuple[frozenset[str], float]] = {}
        self.lock = threading.RLock()
        self.flooded = 0  # how many bytes of endless bodies were sent
        self.connections = 0  # how many were ever opened
        self._connections: set[socket.socket] = set()
        self._server = _Server((address, 0), handler or Handler)
        self._server.registry = self
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def host(self) -> str:
        address, port = self._server.server_address[:2]
        return f"{address!s}:{port}"

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the accept at once
        self._thread.join()
        self._server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        assert self.unhandled == []

    def _accept(self) -> None:
        while True:
            try:
                request, address = self._server.get_request()
            except OSError:
                return
            self._server.process_request(request, address)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.unhandled.clear()  # the test fails already, for its own reason
        self.stop()

    @property
    def writes(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method in {"PUT", "POST", "PATCH", "DELETE"}]

    def asked(self, method: str, kind: str) -> int:
        return sum(seen.method == method and seen.kind == kind for seen in self.seen)

    def opened(self, connection: socket.socket) -> None:
        self.connections += 1
        self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        self._connections.discard(connection)

    def note(self, seen: Seen) -> Fault | None:
        """Remember a request; the fault that is due, if one is."""
        with self.lock:
            seen.number = sum(each.is_api == seen.is_api for each in self.seen)
            self.seen.append(seen)
            fault = next((fault for fault in self.faults if fault.fits(seen)), None)
            if fault is not None:
                fault.times -= 1
            return fault

    def expire_tokens(self) -> None:
        """None that was given out is good any longer."""
        self.tokens.clear()

    def reply(self, seen: Seen) -> Reply:
        with self.lock:
            path = seen.path
            if path == "/token":
                return self._token(seen)
            if not path.startswith("/v2/") and not path.startswith("/storage/"):
                self.unhandled.append(f"{seen.method} {path}")
                return failure(404, "NAME_UNKNOWN", "no such route")
            if path.startswith("/v2/") and (refused := self._challenge(seen)) is not None:
                return refused
            reply = self.repositories.reply(seen, self.switches)
            if reply is None:
                self.unhandled.append(f"{seen.method} {path}")
                return failure(404, "UNSUPPORTED", "no such route")
            return reply

    def _challenge(self, seen: Seen) -> Reply | None:
        if self.switches.auth == "none" or self._admits(seen):
            return None
        seen.refused = True
        header = self.switches.challenge or self._right_challenge(seen)
        return failure(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": header})

    def _right_challenge(self, seen: Seen) -> str:
        if self.switches.auth == "basic":
            return 'Basic realm="fake"'
        realm = self.switches.realm or f"{self.origin}/token"
        scope = f',scope="{" ".join(sorted(seen.scopes))}"' if seen.scopes else ""
        return f'Bearer realm="{realm}",service="fake"{scope}'

    def _admits(self, seen: Seen) -> bool:
        scheme, _, value = seen.authorization.partition(" ")
        if self.switches.auth == "basic":
            return scheme == "Basic" and _is_credential(value)
        granted, expires_at = self.tokens.get(value, (frozenset[str](), 0.0))
        return scheme == "Bearer" and time.monotonic() < expires_at and seen.scopes <= granted

    def _token(self, seen: Seen) -> Reply:
        fields = parse_qs(seen.body.decode() if seen.method == "POST" else seen.query)
        if seen.method == "POST":
            known = fields.get("refresh_token") == [IDENTITY_TOKEN]
        else:
            known = _is_credential(seen.authorization.partition(" ")[2])
        if not known:
            return failure(401, "UNAUTHORIZED", "wrong credentials")
        granted: set[str] = set()
        for scope in " ".join(fields.get("scope", [])).split():
            resource, _, actions = scope.rpartition(":")
            granted |= {f"{resource}:{action}" for action in actions.split(",")}
        value = TOKEN_PREFIX + secrets.token_hex(8)
        self.tokens[value] = (frozenset(granted), time.monotonic() + self.switches.token_seconds)
        body = json.dumps({"token": value, "expires_in": self.switches.token_seconds})
        if self.switches.token_body:
            body = self.switches.token_body.replace("{token}", value)
        return Reply(200, {"Content-Type": "application/json"}, body.encode())


def _is_credential(value: str) -> bool:
    return value == base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64
    registry: FakeRegistry

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no error; one of ours would be an assertion in a thread."""


class Handler(BaseHTTPRequestHandler):
    """One connection to a ``FakeRegistry``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def registry(self) -> FakeRegistry:
        assert isinstance(self.server, _Server)
        return self.server.registry

    def setup(self) -> None:
        super().setup()
        self.registry.opened(self.connection)

    def finish(self) -> None:
        self.registry.closed(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002  the base class names it so
        """Quiet."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", "0"))
        body = self._read(length)
        seen = Seen(self.command, parts.path, parts.query, dict(self.headers.items()), body)
        registry = self.registry
        if len(body) < length:  # who sent it has gone
            registry.repositories.uploads.keep(parts.path.rpartition("/")[2], body)
            self.close_connection = True
            return
        fault = registry.note(seen)
        if fault is None:
            self._send(registry.reply(seen))
        else:
            self._misbehave(fault, seen)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  the base class looks for them

    def _read(self, length: int) -> bytes:
        """As many bytes, or fewer if the connection breaks."""
        body = bytearray()
        with suppress(OSError):
            while len(body) < length and (part := self.rfile.read1(length - len(body))):
                body += part
        return bytes(body)

    def _misbehave(self, fault: Fault, seen: Seen) -> None:
        registry = self.registry
        if fault.action == "reset before":
            self._reset()
        elif fault.action == "status":
            refused = failure(fault.status, fault.code, "scripted", fault.headers)
            self._send(refused if fault.status >= 300 else Reply(fault.status, fault.headers))
        elif fault.action == "endless":
            self._flood(Reply(fault.status, fault.headers))
        elif fault.action == "echo":
            sent = seen.authorization.partition(" ")[2]
            headers = {name: value.replace("{sent}", sent) for name, value in fault.headers.items()}
            self._send(failure(fault.status, fault.code, f"you sent {seen.authorization}", headers))
        elif fault.action == "expired token":
            registry.expire_tokens()
            self._send(registry.reply(seen))
        else:
            self._spoil(fault, registry.reply(seen))

    def _spoil(self, fault: Fault, reply: Reply) -> None:
        """Do what was asked, and answer badly."""
        if fault.action == "reset after":
            self._reset()
        elif fault.action == "lying digest":
            self._send(
                Reply(
                    reply.status, {**reply.headers, "Docker-Content-Digest": f"sha256:{'0' * 64}"}, reply.body
                )
            )
        elif fault.action == "truncated":
            whole = self._head(reply) + reply.body
            self.wfile.write(whole[: len(whole) - max(1, len(reply.body) // 2)])
            self.close_connection = True
        elif fault.action == "slow":
            with suppress(OSError):
                for byte in self._head(reply) + reply.body:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.02)
            self.close_connection = True

    def _flood(self, reply: Reply) -> None:
        """An answer whose body never ends, and whose length nobody is told."""
        head = self._head(reply).replace(b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n")
        self.close_connection = True
        with suppress(OSError):
            self.wfile.write(head)
            while True:
                self.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                self.registry.flooded += 0x10000

    def _send(self, reply: Reply) -> None:
        body = b"" if self.command == "HEAD" else reply.body
        self.wfile.write(self._head(reply) + body)

    def _head(self, reply: Reply) -> bytes:
        headers = {"Content-Length": str(len(reply.body)), "Set-Cookie": COOKIE, **reply.headers}
        if reply.status == 204:
            headers.pop("Content-Length")
        lines = [f"HTTP/1.1 {reply.status} {'OK' if reply.status < 400 else 'No'}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
