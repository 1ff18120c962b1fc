"""Why a connection failed, in words for people."""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_ERRNO_WORDS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection closed while sending",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "connection timed out",
}
_CLASS_WORDS: Final = {
    "ConnectTimeoutError": "no connection in time",
    "ReadTimeoutError": "no answer in time",
    "WriteTimeoutError": "sending took too long",
    "ReadError": "connection lost while reading the answer",
    "WriteError": "connection lost while sending",
    "RemoteProtocolError": "the answer ended early or is not HTTP",
    "ProxyError": "the proxy refused the connection",
    "ConnectError": "no connection",
    "LocalProtocolError": "the request cannot be sent",
}
# What OpenSSL makes of an answer in plain HTTP, version by version.
_PLAIN_ANSWERS: Final = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
_NEVER_REACHED: Final = frozenset({"ConnectError", "ConnectTimeoutError", "ProxyError"})
_NO_ANSWER: Final = "RemoteProtocolError"


@dataclass(frozen=True, slots=True)
class Cause:
    """A failed connection: the words, whether trying again is pointless, whether a registry was reached.

    ``hint`` is what to do where it is final, or where nothing there has ever answered in HTTP;
    ``HOST`` in it stands for the registry.
    """

    words: str
    final: bool = False
    reached: bool = True
    hint: str = ""


def cause_of(error: BaseException) -> Cause:
    """Read an error of the HTTP library and everything that led to it."""
    kind = type(error).__name__
    reached = kind not in _NEVER_REACHED
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return Cause(
                f"its certificate is not trusted: {getattr(each, 'verify_message', '') or 'refused'}",
                final=True,
                hint="for a private authority set SSL_CERT_FILE, or put ca.crt into /etc/docker/certs.d/HOST",
            )
        if isinstance(each, ssl.SSLError) and not reached:
            return _handshake(getattr(each, "reason", "") or "")
        if isinstance(each, socket.gaierror):
            return Cause("the host name cannot be resolved", reached=False)
        if isinstance(each, OSError) and each.errno in _ERRNO_WORDS:
            return Cause(_ERRNO_WORDS[each.errno], reached=reached)
    words = _CLASS_WORDS.get(kind, kind)
    if kind == _NO_ANSWER:
        hint = "no registry answers there: what does, speaks no HTTP; are host and port right?"
        return Cause(words, reached=False, hint=hint)
    return Cause(words, final=kind == "LocalProtocolError", reached=reached)


def _handshake(reason: str) -> Cause:
    if reason in _PLAIN_ANSWERS:
        hint = "if this registry is to speak plain HTTP: --insecure-registry HOST"
        return Cause("it does not speak TLS", final=True, hint=hint)
    # Without a reason the connection was cut off, as by a proxy that restarts: worth another try.
    return Cause(f"the TLS handshake failed ({reason or 'cut off'})", final=bool(reason), reached=False)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and the members of groups on the way."""
    todo, seen = [error], set[int]()
    while todo:
        each = todo.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            todo.extend(each.exceptions)
        todo.extend(nearer for nearer in (each.__cause__, each.__context__) if nearer is not None)
