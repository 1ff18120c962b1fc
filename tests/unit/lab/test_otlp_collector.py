"""The collector that looks for secrets sees through what telemetry wraps them in."""

from __future__ import annotations

import base64
import gzip
import urllib.request
from urllib.parse import quote

import pytest

from tests.otlp_collector import Collector

SECRET = "canary/with+signs="


def wrapped(times: int) -> bytes:
    raw = b"\x0a\x12" + SECRET.encode() + b"\x10\x01"
    for _ in range(times):
        raw = b"\x0a" + base64.b64encode(b"x" + raw) + b"\x12more"
    return raw


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(SECRET.encode(), id="as it is"),
        pytest.param(quote(SECRET, safe="").encode(), id="in an address"),
        pytest.param(wrapped(1), id="in a call"),
        pytest.param(wrapped(2), id="in a call in a call"),
        pytest.param(base64.b64encode(b"AWS:" + SECRET.encode()), id="in a header"),
        pytest.param(base64.urlsafe_b64encode(b"??>" + SECRET.encode()), id="in the other alphabet"),
    ],
)
@pytest.mark.parametrize("pack", [False, True])
def test_what_was_sent_is_found(body: bytes, pack: bool) -> None:
    with Collector() as collector:
        address = collector.environment["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"]
        headers = {"Content-Encoding": "gzip"} if pack else {}
        data = gzip.compress(body) if pack else body
        with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=5):  # noqa: S310  our own
            pass
        assert collector.holding([SECRET, "another"]) == [f"logs: {SECRET}"]
