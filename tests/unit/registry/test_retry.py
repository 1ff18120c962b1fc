from __future__ import annotations

from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from anyarch.errors import NotFoundError, RegistryUnavailableError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.http_errors import RemoteProtocolError
from anyarch.registry.requests import Request
from anyarch.registry.retry import (
    REQUESTS_AT_ONCE_MAX,
    Gate,
    HeldBackError,
    Retry,
    RetryableError,
    gate_of,
    retry_after_seconds,
)
from anyarch.registry.store import RegistryStore
from anyarch.registry.urls import Origin, Url
from anyarch.registry.wire import _failures_named
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_registry import FakeRegistry
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyarch.registry.requests import Body

pytestmark = pytest.mark.anyio


def failing(*errors: RetryableError) -> Callable[[], Awaitable[str]]:
    """Raises each error in turn, the last one for ever; after fewer, succeeds."""
    left = list(errors)

    async def attempt() -> str:
        await anyio.lowlevel.checkpoint()
        if left:
            raise left.pop(0)
        return "done"

    return attempt


def always(error: RetryableError) -> Callable[[], Awaitable[str]]:
    return failing(*[error] * 100)


async def test_six_attempts_with_full_jitter_that_grows() -> None:
    clock = FakeClock(chance=1.0)
    with pytest.raises(RegistryUnavailableError, match=r"GET x: status 500; 6 tries"):
        await Retry(Gate(), clock=clock.clock).run(always(RetryableError("status 500")), subject="GET x")
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0]


async def test_no_chance_no_wait() -> None:
    clock = FakeClock(chance=0.0)
    assert await Retry(Gate(), clock=clock.clock).run(failing(RetryableError("x")), subject="s") == "done"
    assert clock.slept == []


async def test_success_ends_it() -> None:
    clock = FakeClock()
    attempt = failing(RetryableError("one"), RetryableError("two"))
    assert await Retry(Gate(), clock=clock.clock).run(attempt, subject="s") == "done"
    assert len(clock.slept) == 2


async def test_a_registry_never_reached_is_given_up_soon() -> None:
    clock = FakeClock(chance=1.0)
    refused = RetryableError("connection refused", reached=False)
    with pytest.raises(RegistryUnavailableError, match="3 tries") as failed:
        await Retry(Gate(), clock=clock.clock).run(always(refused), subject="GET x")
    assert sum(clock.slept) <= 3.0
    assert "is it up" in failed.value.hint


@pytest.mark.parametrize(
    ("before", "begins"),
    [
        pytest.param(False, "https://r.example.com: connection refused", id="nothing ever answered"),
        pytest.param(True, "HEAD probe: connection refused", id="a registry answered before"),
    ],
)
async def test_where_nothing_answers_the_registry_is_named_and_no_request(before: bool, begins: str) -> None:
    gate = Gate.of(Origin("https", "r.example.com", 443))
    gate.reached = before
    refused = RetryableError("connection refused", reached=False)
    with pytest.raises(RegistryUnavailableError) as failed:
        await Retry(gate, clock=FakeClock().clock).run(always(refused), subject="HEAD probe")
    assert failed.value.what.startswith(begins)


async def test_a_registry_that_answered_before_gets_its_six_attempts() -> None:
    gate = Gate(reached=True)
    refused = RetryableError("connection refused", reached=False)
    with pytest.raises(RegistryUnavailableError, match="6 tries"):
        await Retry(gate, clock=FakeClock().clock).run(always(refused), subject="GET x")


@pytest.mark.parametrize(
    ("before", "tries", "hint"),
    [
        pytest.param(False, 3, "speaks no HTTP", id="nothing ever answered"),
        pytest.param(True, 6, "temporary errors", id="a registry answered before"),
    ],
)
async def test_what_speaks_no_http_is_given_up_soon_and_called_so(
    before: bool, tries: int, hint: str
) -> None:
    with pytest.raises(RetryableError) as garbage, _failures_named(Origin("http", "x.example.com", 80)):
        raise RemoteProtocolError
    with pytest.raises(RegistryUnavailableError, match=f"not HTTP; {tries} tries") as failed:
        await Retry(Gate(reached=before), clock=FakeClock().clock).run(always(garbage.value), subject="GET x")
    assert hint in failed.value.hint


async def test_retry_after_is_obeyed_up_to_a_minute() -> None:
    clock = FakeClock()
    attempt = failing(
        RetryableError("429", retry_after_seconds=7.0), RetryableError("429", retry_after_seconds=3600.0)
    )
    assert await Retry(Gate(), clock=clock.clock).run(attempt, subject="s") == "done"
    assert clock.slept == [7.0, 60.0]


async def test_no_wait_goes_past_the_deadline() -> None:
    clock = FakeClock()
    slow = RetryableError("429", retry_after_seconds=60.0)
    with pytest.raises(RegistryUnavailableError, match="past the deadline"):
        await Retry(Gate(), deadline_seconds=100.0, clock=clock.clock).run(always(slow), subject="s")
    assert sum(clock.slept) <= 100.0


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=1, max_size=10),
    st.floats(0, 1),
    st.floats(0.1, 300),
)
def test_what_is_slept_never_exceeds_the_deadline(
    asked: list[float | None], chance: float, deadline: float
) -> None:
    clock = FakeClock(chance=chance)
    errors = [RetryableError("x", retry_after_seconds=each, throttled=True) for each in asked]

    async def run() -> None:
        with suppress(RegistryUnavailableError):
            await Retry(Gate(), deadline_seconds=deadline, clock=clock.clock).run(
                failing(*errors), subject="s"
            )
        assert sum(clock.slept) <= deadline

    anyio.run(run)


async def test_an_attempt_that_hangs_is_ended_by_the_deadline() -> None:
    async def hang() -> None:
        await anyio.sleep(60)

    with pytest.raises(RegistryUnavailableError, match="no answer within"):
        await Retry(Gate(), deadline_seconds=0.05).run(hang, subject="GET x")


async def test_other_errors_pass_at_once() -> None:
    async def attempt() -> None:
        await anyio.lowlevel.checkpoint()
        raise NotFoundError("gone")

    clock = FakeClock()
    with pytest.raises(NotFoundError):
        await Retry(Gate(), clock=clock.clock).run(attempt, subject="s")
    assert clock.slept == []


async def test_the_error_that_says_more_is_the_last_word() -> None:
    missing = NotFoundError("not there")
    with pytest.raises(NotFoundError, match="not there"):
        await Retry(Gate(), clock=FakeClock().clock).run(
            always(RetryableError("x", final=missing)), subject="s"
        )


async def test_a_throttled_host_is_left_alone_by_every_request() -> None:
    clock, gate = FakeClock(chance=0.0), Gate()
    throttled = RetryableError("429", retry_after_seconds=9.0, throttled=True)
    with pytest.raises(RegistryUnavailableError):
        await Retry(gate, deadline_seconds=5.0, clock=clock.clock).run(always(throttled), subject="one")
    assert await Retry(gate, clock=clock.clock).run(failing(), subject="another") == "done"
    assert sum(clock.slept) == pytest.approx(9.0, abs=0.5)


async def test_a_request_that_waits_for_a_place_is_not_sent_to_a_throttled_host() -> None:
    """When it began nobody had been asked to wait; when its turn comes, everybody has."""
    clock = FakeClock()
    with FakeRegistry() as registry:
        options = Options(clock=clock.clock)
        async with RegistryStore(Repository(registry.host, "team/app"), options) as store:
            gate = store.client.retry.gate
            for _ in range(REQUESTS_AT_ONCE_MAX):
                gate.reads.acquire_nowait()
            async with anyio.create_task_group() as group:
                group.start_soon(store.head, Tag("v1"))
                await anyio.wait_all_tasks_blocked()
                gate.closed_until = clock.now() + 9.0
                for _ in range(REQUESTS_AT_ONCE_MAX):
                    gate.reads.release()
        assert len(registry.seen) == 1
    assert sum(clock.slept) == pytest.approx(9.0, abs=0.5)


async def test_being_held_back_is_no_try() -> None:
    held: list[RetryableError] = [HeldBackError() for _ in range(20)]
    assert await Retry(Gate(), clock=FakeClock().clock).run(failing(*held), subject="one") == "done"


async def test_a_failure_of_one_request_does_not_hold_up_others() -> None:
    clock, gate = FakeClock(chance=0.0), Gate()
    await Retry(gate, clock=clock.clock).run(failing(RetryableError("reset")), subject="one")
    await Retry(gate, clock=clock.clock).run(failing(), subject="another")
    assert clock.slept == []


async def test_stores_of_one_host_share_a_gate() -> None:
    origin = Origin("https", "registry.example.com", 443)
    assert gate_of(origin) is gate_of(Origin("https", "registry.example.com", 443))
    assert gate_of(origin) is not gate_of(Origin("https", "registry.example.com", 5000))


@pytest.mark.parametrize(
    ("host", "most_writes"),
    [
        pytest.param("registry.example.com", 32, id="any registry"),
        pytest.param("123456789012.dkr.ecr.eu-west-1.amazonaws.com", 4, id="ECR"),
        pytest.param("123456789012.dkr-ecr.eu-west-1.on.aws", 4, id="ECR with IPv6"),
        pytest.param("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", 4, id="ECR with FIPS"),
        pytest.param("public.ecr.aws", 4, id="ECR Public"),
    ],
)
async def test_where_manifests_put_are_counted_few_are_put_at_once(host: str, most_writes: int) -> None:
    origin = Origin("https", host, 443)
    gate = gate_of(origin)

    def taken(method: str, body: Body = None) -> float:
        request = Request(method=method, url=Url(origin, "/v2/"), kind="manifest", body=body)
        return gate.place(request).value

    assert (taken("GET"), taken("HEAD"), taken("PUT", b"{}")) == (32, 32, most_writes)
    assert taken("PUT", opened) == 4, "uploads, whose bytes may come through the same gate"
    assert len({id(gate.reads), id(gate.writes), id(gate.uploads)}) == 3


async def opened() -> AsyncIterator[bytes]:
    yield b""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("30", 30.0, id="seconds"),
        pytest.param(" 0 ", 0.0, id="none"),
        pytest.param(formatdate(1000.0 + 45, usegmt=True), 45.0, id="a date"),
        pytest.param(formatdate(10.0, usegmt=True), 0.0, id="a date in the past"),
        pytest.param("soon", None, id="a word"),
        pytest.param("-5", None, id="negative"),
        pytest.param("", None, id="nothing"),
        pytest.param("9" * 5000, 999_999_999.0, id="a huge number"),
        pytest.param("٣", None, id="digits of another script"),
    ],
)
def test_retry_after_in_both_forms(value: str, expected: float | None) -> None:
    assert retry_after_seconds(value, wall=1000.0) == expected


@given(st.text(max_size=60))
def test_any_retry_after_is_read_or_ignored(value: str) -> None:
    found = retry_after_seconds(value, wall=1e9)
    assert found is None or found >= 0
