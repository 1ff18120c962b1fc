"""Telemetry of the clients that we start: what reaches the user's collector, and what does not."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from anyarch.engine.protobuf_text import with_texts
from anyarch.engine.telemetry import cleaned
from anyarch.engine.veil import Veil
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.otlp_collector import Collector

if TYPE_CHECKING:
    from collections.abc import Mapping

LINK = "https://bucket.s3.example.com/layer?X-Amz-Security-Token=canary-a&X-Amz-Expires=3600&X-Amz-Signature=canary-b"
VEIL = Veil.of((), username="AWS", password="canary-password", environ={})


def a_trace(url: str = LINK, count: int = 1) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for number in range(count):
        span = request.resource_spans.add().scope_spans.add().spans.add()
        span.trace_id, span.span_id, span.name = bytes(range(16)), b"\xff" * 8, f"HTTP GET {number}"
        span.start_time_unix_nano, span.flags = 1_795_000_000_000_000_000, 257
        span.attributes.add(key="url.full").value.string_value = url
        span.attributes.add(key="size").value.int_value = 1 << 62
        span.attributes.add(key="ratio").value.double_value = 0.25
        span.events.add(name="said").attributes.add(key="words").value.string_value = "it is canary-password"
    return request


def send(environ: Mapping[str, str], kind: str, body: bytes) -> int:
    headers = {"Content-Type": "application/x-protobuf", "Api-Key": "of-the-collector"}
    request = urllib.request.Request(environ[f"OTEL_EXPORTER_OTLP_{kind}_ENDPOINT"], body, headers)  # noqa: S310  ours
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  as above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_secrets_are_taken_out_and_the_rest_arrives() -> None:
    with Collector() as collector:
        with cleaned({**collector.environment, "PATH": "/bin"}, VEIL) as environ:
            assert environ["PATH"] == "/bin"
            assert environ["OTEL_EXPORTER_OTLP_TRACES_LIVE"] == "1"
            assert send(environ, "TRACES", a_trace(count=50).SerializeToString()) == 200
            logs = ExportLogsServiceRequest()
            record = logs.resource_logs.add().scope_logs.add().log_records.add()
            record.body.string_value = f"\n\tpulled {LINK}\n"
            assert send(environ, "LOGS", logs.SerializeToString()) == 200
        assert collector.holding(["canary-a", "canary-b", "canary-password"]) == []
        (body,) = collector.received["traces"]
        wanted = LINK.replace("canary-a", "***").replace("canary-b", "***")
        expected = a_trace(wanted, count=50)
        for each in expected.resource_spans:
            each.scope_spans[0].spans[0].events[0].attributes[0].value.string_value = "it is ***"
        assert ExportTraceServiceRequest.FromString(body) == expected
        assert collector.headers["api-key"] == "of-the-collector"


@pytest.mark.parametrize(
    "body",
    [pytest.param(b"\x00\x01", id="no message"), pytest.param(b"\x0a\xff\xff\xff\xff\x0f", id="cut off")],
)
def test_what_cannot_be_read_is_not_sent_on(body: bytes) -> None:
    with Collector() as collector, cleaned(collector.environment, VEIL) as environ:
        assert send(environ, "TRACES", body) == 400
        assert not collector.received


@pytest.mark.parametrize(
    ("told", "kinds"),
    [
        pytest.param({}, set(), id="nowhere"),
        pytest.param({"ENDPOINT": "http://c.example.com"}, {"TRACES"}, id="Dagger's default"),
        pytest.param({"LOGS_ENDPOINT": "https://c.example.com/x"}, {"LOGS"}, id="logs alone"),
        pytest.param({"ENDPOINT": "http://c.example.com", "PROTOCOL": "grpc"}, set(), id="gRPC"),
        pytest.param({"TRACES_ENDPOINT": "unix:///run/c"}, set(), id="a socket"),
        pytest.param(
            {"ENDPOINT": "http://c.example.com", "PROTOCOL": "grpc", "TRACES_PROTOCOL": "http/protobuf"},
            {"TRACES"},
            id="one of them by HTTP",
        ),
    ],
)
def test_a_client_sends_to_us_or_nowhere(told: dict[str, str], kinds: set[str]) -> None:
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in told.items()}
    with cleaned({**environ, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, VEIL) as given:
        endpoints = {name: value for name, value in given.items() if name.endswith("_ENDPOINT")}
        assert set(endpoints) == {f"OTEL_EXPORTER_OTLP_{kind}_ENDPOINT" for kind in kinds}
        assert all(value.startswith("http://127.0.0.1:") for value in endpoints.values())
        assert "OTEL_EXPORTER_OTLP_COMPRESSION" not in given


def test_a_collector_that_is_away_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with cleaned({"OTEL_EXPORTER_OTLP_ENDPOINT": address}, VEIL) as environ:
        assert send(environ, "TRACES", a_trace().SerializeToString()) == 503


@given(st.text(), st.binary(), st.integers(0, 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=3))
def test_a_message_stays_what_it_is_but_for_its_texts(
    text: str, raw: bytes, whole: int, number: float, key: str
) -> None:
    request = a_trace()
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.trace_state, span.trace_id, span.end_time_unix_nano = text, raw, whole
    span.attributes.add(key=key).value.double_value = number
    encoded = request.SerializeToString()
    assert with_texts(encoded, lambda each: each) == encoded
    changed = with_texts(encoded, lambda each: each.replace("X-Amz-Signature", "Y" * 300))
    assert changed is not None
    assert (
        ExportTraceServiceRequest.FromString(changed).resource_spans[0].scope_spans[0].spans[0].trace_id
        == raw
    )
