"""Whether an engine answers, found out within seconds.

A Dagger client alone waits for minutes for an engine that is not there. For sockets the probe speaks
the first words of HTTP/2, which an engine answers at once: a process that accepts connections and says
nothing, a web server or a forgotten socket file are told apart from an engine without a session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import EngineUnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import ByteStream

    from anyarch.engine.urls import EngineUrl

PROBE_SECONDS: Final = 10.0
# RFC 9113 §3.4: the client's preface, then a SETTINGS frame (length 0, type 4, flags 0, stream 0).
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_FRAME_HEADER_BYTES: Final = 9
_SETTINGS: Final = 4
_HINT: Final = "is it running, and is the URL right? `anyarch engine status` shows the native ones"


async def probe(
    url: EngineUrl,
    *,
    dagger: str = "dagger",
    environ: Mapping[str, str] | None = None,
    deadline_seconds: float = PROBE_SECONDS,
) -> None:
    """Return when the engine at ``url`` answers.

    Args:
        url: The engine; one that the client provisions itself is not probed, it does not exist yet.
        dagger: The Dagger client, for schemes that only it can open.
        environ: The environment of that client; None is this process's own.
        deadline_seconds: How long to wait.

    Raises:
        EngineUnreachableError: nothing there, no answer in time, or an answer that is no engine's.
    """
    if url.provisions:
        return
    try:
        with anyio.fail_after(deadline_seconds):
            if url.scheme in {"unix", "tcp"}:
                await _greet(url)
            else:
                await _ask_client(url, dagger, environ)
    except TimeoutError as error:
        why = f"no answer within {deadline_seconds:g} s"
        raise EngineUnreachableError(f"engine {url}: {why}", hint=_HINT, url=str(url)) from error
    except OSError as error:
        raise EngineUnreachableError(f"engine {url}: {_reason(error)}", hint=_HINT, url=str(url)) from error


async def _greet(url: EngineUrl) -> None:
    stream: ByteStream
    if url.scheme == "unix":
        stream = await anyio.connect_unix(url.socket_path)
    else:
        stream = await anyio.connect_tcp(*url.host_port)
    answer = b""
    async with stream:
        try:
            await stream.send(_PREFACE)
            while len(answer) < _FRAME_HEADER_BYTES:
                answer += await stream.receive(_FRAME_HEADER_BYTES - len(answer))
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise EngineUnreachableError(
                f"engine {url}: the connection was closed without an answer", hint=_HINT, url=str(url)
            ) from error
    if answer[3] != _SETTINGS:
        raise EngineUnreachableError(
            f"engine {url}: something answers there, but it is no Dagger engine (it says {answer!r})",
            hint="check host and port",
            url=str(url),
        )


async def _ask_client(url: EngineUrl, dagger: str, environ: Mapping[str, str] | None) -> None:
    from anyarch.engine.process import run_quiet  # noqa: PLC0415  sockets need no child process
    from anyarch.engine.select import RUNNER_HOST  # noqa: PLC0415

    status, output = await run_quiet(
        [dagger, "core", "version"], environ=environ, extra={RUNNER_HOST: str(url)}
    )
    if status != 0:
        said = [line for line in output.splitlines() if line.strip()]
        reason = said[-1].strip()[:300] if said else f"exit status {status}"
        raise EngineUnreachableError(f"engine {url}: {reason}", hint=_HINT, url=str(url))


def _reason(error: OSError) -> str:
    """The operating system's words without Python's decoration."""
    if isinstance(error.__cause__, OSError):  # anyio's summary of the addresses it tried
        error = error.__cause__
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    return error.strerror or str(error)
