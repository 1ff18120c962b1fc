"""How an HTTP exchange can fail. ``causes`` knows them by their names and finds the words."""

from __future__ import annotations


class HttpError(Exception):
    """An exchange failed; what led to it is its cause, and may quote headers."""


class ConnectError(HttpError):
    """No connection, or no TLS on it."""


class ConnectTimeoutError(HttpError):
    """No connection in time."""


class ProxyError(HttpError):
    """The proxy does not lead on."""


class ReadError(HttpError):
    """The connection was lost while reading."""


class ReadTimeoutError(HttpError):
    """Nothing came for too long."""


class WriteError(HttpError):
    """The connection was lost while sending."""


class WriteTimeoutError(HttpError):
    """Nothing could be sent for too long."""


class RemoteProtocolError(HttpError):
    """What came is not HTTP, or not all of it."""


class LocalProtocolError(HttpError):
    """What was to be sent is not HTTP."""
