"""Running a credential helper: a stranger's program that may hang, flood or answer nonsense."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from anyarch.errors import AuthenticationError

SECONDS_MAX: Final = 10.0
ANSWER_MAX_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024


def find_program(name: str) -> Path | None:
    """From the absolute folders of PATH only: never the working directory (CVE-2019-15752)."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder) / name
        if Path(folder).is_absolute() and path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def ask(program: Path, question: str, *, verb: str = "get") -> tuple[int, bytes]:
    """``get`` the credential of a server, or ``store`` one: exit status and answer, neither looked at yet.

    Raises:
        AuthenticationError: the helper cannot be run, does not end in time or does not stop talking.
    """
    try:
        process = subprocess.Popen(
            [program, verb],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise AuthenticationError(f"{program} cannot be run: {error.strerror}") from error
    with process:
        try:
            return _converse(process, f"{question}\n".encode())
        except (TimeoutError, OverflowError) as problem:
            with suppress(ProcessLookupError):  # its children too: one of them may be what waits
                os.killpg(process.pid, signal.SIGKILL)
            raise AuthenticationError(f"{program} {problem}", hint="is it a credential helper?") from None


def _converse(process: subprocess.Popen[bytes], question: bytes) -> tuple[int, bytes]:
    assert process.stdin is not None  # noqa: S101  Popen was asked for pipes
    assert process.stdout is not None  # noqa: S101
    ends_at = time.monotonic() + SECONDS_MAX
    with suppress(BrokenPipeError):  # it may answer without reading; a pipe holds so short a question
        process.stdin.write(question)
        process.stdin.close()
    answer = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not ready.select(max(0.0, ends_at - time.monotonic())):
                raise _late()
            chunk = os.read(process.stdout.fileno(), _CHUNK_BYTES)
            if not chunk:
                break
            answer += chunk
            if len(answer) > ANSWER_MAX_BYTES:
                msg = f"answered with more than {ANSWER_MAX_BYTES} bytes"
                raise OverflowError(msg)
    try:
        return process.wait(max(0.0, ends_at - time.monotonic())), bytes(answer)
    except subprocess.TimeoutExpired:
        raise _late() from None


def _late() -> TimeoutError:
    return TimeoutError(f"did not answer within {SECONDS_MAX:g} s")
