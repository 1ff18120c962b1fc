"""The real program as child processes that cost milliseconds: forked from one that has loaded it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).parent.parent
_PROGRAM: Final = """
import json, os, signal, sys
import asyncio, anyio._backends._asyncio  # most of a start-up: without it, each child loads them anew
import anyarch.github.run
from anyarch.cli import merge, promote, prune, rollback
from anyarch.cli.main import run
from anyarch.registry import bring, http11, layout, store

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def die_at(left):
    def change():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(event, words):
        if event in CHANGES or (event == "open" and words[2] & WRITING):
            change()

    def fsync(file, real=os.fsync):  # no audit event tells of it, nor of what was flushed before it
        change()
        real(file)

    os.fsync = fsync
    sys.addaudithook(hear)

for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2)
        status = 70
        if order["dies_at"]:
            die_at(order["dies_at"])
        try:
            status = run(order["words"])
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class WarmProgram:
    """Use it as ``with WarmProgram(folder) as program``; one child at a time.

    Args:
        folder: Where the children work and keep their cache.
    """

    def __init__(self, folder: Path) -> None:
        self._said = folder / "said"
        environ = {**os.environ, "ANYARCH_CACHE": str(folder / "cache"), "PYTHONPATH": str(_ROOT / "ci")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environ,
        )

    def start(self, words: Sequence[str], *, dies_at: int = 0) -> int:
        """Begin ``anyarch WORDS``; its process id.

        Args:
            words: What it is told.
            dies_at: It is killed before its n-th change of the disk; 0: it is not.
        """
        assert self._process.stdin is not None
        order = {"words": list(words), "said": str(self._said), "dies_at": dies_at}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._number()

    def end(self) -> tuple[int, str]:
        """How it ended (a signal is negative), and all that it said."""
        return self._number(), self.said

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return self._said.read_text() if self._said.exists() else ""

    def run(self, words: Sequence[str], *, dies_at: int = 0) -> tuple[int, str]:
        self.start(words, dies_at=dies_at)
        return self.end()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()
