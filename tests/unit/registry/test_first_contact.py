"""Where nothing has ever answered, the first answer must come soon; who waits is told for whom."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyarch.cli.access import Access
from anyarch.errors import RegistryUnavailableError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.retry import UNREACHED_HINT, Gate, Retry, RetryableError
from anyarch.registry.store import RegistryStore
from anyarch.registry.wire import Timeouts

from tests.fake_registry import FakeRegistry
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

SHORT = Timeouts(first=0.2, notice=0.05)
V1 = Tag("v1")


@contextmanager
def mute() -> Iterator[str]:
    """A listener that accepts connections, as the kernel does for it, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_registry_that_takes_ten_seconds_to_wake_up_is_waited_for() -> None:
    assert 10 < Timeouts().first <= 15
    assert Timeouts().notice <= 3


async def test_who_accepts_connections_and_never_answers_was_not_reached() -> None:
    clock = FakeClock()
    with mute() as host:
        options = Options(timeouts=SHORT, clock=clock.clock)
        async with RegistryStore(Repository(host, "team/app"), options) as store:
            with (
                anyio.fail_after(5),
                pytest.raises(RegistryUnavailableError, match="no answer within") as failed,
            ):
                await store.head(V1)
    assert failed.value.hint == UNREACHED_HINT


async def test_silence_where_something_answered_before_has_its_usual_time() -> None:
    with FakeRegistry() as registry:
        options = Options(timeouts=SHORT, clock=FakeClock().clock)
        async with RegistryStore(Repository(registry.host, "team/app"), options) as store:
            assert await store.head(V1) is None
            assert store.client.retry.gate.reached
            with registry.lock, anyio.move_on_after(2 * SHORT.first) as waited:
                await store.head(V1)
    assert waited.cancelled_caught, "given up no sooner than before"


@pytest.mark.parametrize(
    ("each_seconds", "tries"),
    [
        pytest.param(0.1, 3, id="refused at once"),
        pytest.param(15.0, 1, id="silent"),
        pytest.param(6.0, 2, id="slow to refuse"),
    ],
)
async def test_no_further_try_begins_where_ten_seconds_brought_nothing(
    each_seconds: float, tries: int
) -> None:
    clock, made = FakeClock(), []

    async def attempt() -> None:
        await anyio.lowlevel.checkpoint()
        made.append(each_seconds)
        clock.pass_by(each_seconds)
        raise RetryableError("no answer", reached=False)

    with pytest.raises(RegistryUnavailableError):
        await Retry(Gate(), clock=clock.clock).run(attempt, subject="s")
    assert len(made) == tries


async def test_whoever_waits_is_told_for_whom_once_and_beside_the_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mute() as host:
        async with Access().open(f"{host}/team/app") as store:
            store.client._wire.timeouts = SHORT  # type: ignore[union-attr]  # noqa: SLF001  no flag sets them
            with pytest.raises(RegistryUnavailableError):
                await store.head(V1)
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"waiting for {host}: it has not answered yet\n")


async def test_a_slow_first_answer_counts_and_is_told_of() -> None:
    told: list[str] = []

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            time.sleep(4 * SHORT.notice)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        options = Options(timeouts=Timeouts(notice=SHORT.notice), waiting=told.append)
        async with (
            RegistryStore(Repository(host, "team/app"), options) as store,
            anyio.create_task_group() as group,
        ):
            group.start_soon(anyio.to_thread.run_sync, answer, server)
            assert await store.head(V1) is None
    assert told == [host]


async def test_nobody_is_told_of_a_registry_that_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeRegistry() as registry:
        async with Access().open(f"{registry.host}/team/app") as store:
            assert await store.head(V1) is None
    assert capsys.readouterr() == ("", "")
