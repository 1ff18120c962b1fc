"""Runs a command and writes down its time and its own peak memory.

It is a program of its own, run with ``python -S -I``, because Linux counts what a process was before it
started another program into the peak: measured from the bench itself no tool would ever be below the
bench's 40 MiB. From here none is below 8 MiB or so.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def main(result: str, limit_seconds: str, *command: str) -> None:
    """Run ``command`` and write seconds, KiB and exit status to the file ``result``."""
    began = time.monotonic()
    process = os.posix_spawnp(command[0], command, os.environ)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(process, signal.SIGKILL))
    signal.alarm(int(limit_seconds))
    _, status, usage = os.wait4(process, 0)
    seconds = time.monotonic() - began
    with open(result, "w", encoding="ascii") as file:  # noqa: PTH123  pathlib would be a third of our memory
        file.write(f"{seconds} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
