from __future__ import annotations

import errno
import socket
import ssl

import pytest
from anyarch.registry import http_errors
from anyarch.registry.causes import cause_of


def caused(error: http_errors.HttpError, by: BaseException) -> http_errors.HttpError:
    try:
        raise error from by
    except http_errors.HttpError as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "words", "final", "reached"),
    [
        pytest.param(
            caused(http_errors.ConnectError("x"), ConnectionRefusedError(errno.ECONNREFUSED, "x")),
            "connection refused",
            False,
            False,
            id="refused",
        ),
        pytest.param(
            caused(
                http_errors.ConnectError("x"),
                ExceptionGroup("both", [OSError(errno.ENETUNREACH, "x"), OSError(errno.EHOSTUNREACH, "y")]),
            ),
            "network unreachable",
            False,
            False,
            id="two addresses, both unreachable",
        ),
        pytest.param(
            caused(http_errors.ConnectError("x"), socket.gaierror(-2, "Name or service not known")),
            "cannot be resolved",
            False,
            False,
            id="unknown name",
        ),
        pytest.param(
            caused(http_errors.ConnectError("x"), ssl.SSLCertVerificationError(1, "x")),
            "certificate is not trusted",
            True,
            True,
            id="certificate",
        ),
        pytest.param(
            caused(http_errors.ConnectError("x"), ssl.SSLError(1, "x")),
            "TLS handshake failed (cut off)",
            False,
            False,
            id="a handshake without an end",
        ),
        pytest.param(
            caused(http_errors.ConnectError("x"), ssl.SSLEOFError(8, "EOF")),
            "TLS handshake failed",
            False,
            False,
            id="cut off during the handshake",
        ),
        pytest.param(http_errors.ReadTimeoutError("x"), "no answer in time", False, True, id="slow"),
        pytest.param(http_errors.RemoteProtocolError("x"), "ended early", False, False, id="half an answer"),
        pytest.param(
            http_errors.LocalProtocolError("Illegal header value b'Bearer canary'"),
            "cannot be sent",
            True,
            True,
            id="ours",
        ),
    ],
)
def test_causes_in_words(error: http_errors.HttpError, words: str, final: bool, reached: bool) -> None:
    cause = cause_of(error)
    assert words in cause.words
    assert "canary" not in cause.words
    assert cause.final == final
    assert cause.final or cause.reached == reached
