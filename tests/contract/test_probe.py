from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.engine.probe import probe
from anyarch.engine.urls import EngineUrl, parse_engine_url
from anyarch.errors import EngineUnreachableError
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from anyio import TypedAttributeProvider
    from anyio.abc import SocketStream

SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
PREFACE_BYTES = 24 + 9


async def probe_a_server(
    answer: Callable[[SocketStream], Awaitable[None]], deadline_seconds: float = 5.0
) -> None:
    """Probe a server on the loopback that handles each connection with ``answer``."""
    failure: EngineUnreachableError | None = None
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        url = url_of(listener)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, answer)
            try:
                await probe(url, deadline_seconds=deadline_seconds)
            except EngineUnreachableError as error:
                failure = error
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


def url_of(listener: TypedAttributeProvider) -> EngineUrl:
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610  no Django here
    return EngineUrl("tcp", f"127.0.0.1:{port}")


@pytest.mark.anyio
async def test_whoever_answers_http2_with_settings_is_an_engine() -> None:
    heard = b""

    async def engine(stream: SocketStream) -> None:
        nonlocal heard
        async with stream:
            while len(heard) < PREFACE_BYTES:
                heard += await stream.receive()
            for byte in SETTINGS:  # the smallest pieces that a network may deliver
                await stream.send(bytes((byte,)))

    await probe_a_server(engine)
    assert heard.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


@pytest.mark.anyio
async def test_a_unix_socket_is_probed_too(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"

    async def engine(stream: SocketStream) -> None:
        async with stream:
            await stream.send(SETTINGS)
            await stream.receive()

    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, engine)
        await probe(parse_engine_url(f"unix://{path}"), deadline_seconds=5)
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_accepting_a_connection_is_not_answering() -> None:
    async def silent(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep(60)

    with anyio.fail_after(5), pytest.raises(EngineUnreachableError, match=r"no answer within 0\.3 s"):
        await probe_a_server(silent, deadline_seconds=0.3)


@pytest.mark.anyio
async def test_one_that_hangs_up_is_no_engine() -> None:
    async def rude(stream: SocketStream) -> None:
        await stream.receive()
        await stream.aclose()

    with pytest.raises(EngineUnreachableError, match="closed without an answer"):
        await probe_a_server(rude)


@pytest.mark.anyio
async def test_a_web_server_is_no_engine() -> None:
    async def web(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with pytest.raises(EngineUnreachableError, match="no Dagger engine"):
        await probe_a_server(web)


@pytest.mark.anyio
async def test_a_port_where_nobody_listens_is_named_as_such() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        url = url_of(listener)
    with pytest.raises(EngineUnreachableError, match="connection refused"):
        await probe(url)


@pytest.mark.anyio
async def test_a_socket_that_is_not_there_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachableError, match="no such socket"):
        await probe(EngineUrl("unix", str(tmp_path / "engine.sock")))


@pytest.mark.anyio
async def test_a_socket_file_that_outlived_its_engine_is_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    async with await anyio.create_unix_listener(path):
        pass
    with pytest.raises(EngineUnreachableError, match="connection refused"):
        await probe(EngineUrl("unix", str(path)))


def a_client(folder: Path, body: str) -> str:
    path = folder / "dagger"
    path.write_text(f"#!{sys.executable} -IS\nimport os, sys, time\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.anyio
async def test_other_schemes_ask_the_client_about_exactly_this_engine(tmp_path: Path) -> None:
    body = (
        "url = os.environ['_EXPERIMENTAL_DAGGER_RUNNER_HOST']\n"
        "sys.exit((url, sys.argv[1:]) != ('ssh://arm', ['core', 'version']))"
    )
    await probe(parse_engine_url("ssh://arm"), dagger=a_client(tmp_path, body), environ={})


@pytest.mark.anyio
async def test_a_client_that_fails_gives_the_reason(tmp_path: Path) -> None:
    client = a_client(tmp_path, "print('Host key verification failed.'); sys.exit(1)")
    with pytest.raises(EngineUnreachableError, match="Host key verification failed"):
        await probe(parse_engine_url("ssh://arm"), dagger=client)


@pytest.mark.anyio
async def test_a_client_that_hangs_is_ended_at_the_deadline(tmp_path: Path) -> None:
    client = a_client(tmp_path, "time.sleep(60)")
    with anyio.fail_after(5), pytest.raises(EngineUnreachableError, match="no answer within"):
        await probe(parse_engine_url("kube-pod://arm"), dagger=client, deadline_seconds=0.5)


@pytest.mark.anyio
async def test_an_engine_that_the_client_is_to_make_is_not_asked_for() -> None:
    await probe(parse_engine_url("image://registry.example.com/engine:1"), dagger="/nowhere/dagger")
