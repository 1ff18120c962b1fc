"""Other programs: which ones are needed, and running them to their end."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import EngineStartError, MissingToolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SEARCH_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_COMMAND_SECONDS: Final = 20.0
# program → Debian and Ubuntu's package
_PACKAGES: Final = {
    "dnsmasq": "dnsmasq-base",
    "git": "git",
    "ip": "iproute2",
    "iptables": "iptables",
    "nft": "nftables",
    "pigz": "pigz",
    "rg": "ripgrep",
    "runc": "runc",
    "xz": "xz-utils",
    "zstd": "zstd",
}


def find(program: str) -> str | None:
    """A program of the system; a user's own PATH may lack the administrator's folders."""
    return shutil.which(program, path=SEARCH_PATH)


def require(emulators: Iterable[str] = ()) -> None:
    """Check that an engine can run here.

    Raises:
        MissingToolError: not root, or programs are missing: all of them in one message.
    """
    if os.geteuid() != 0:
        raise MissingToolError(
            "the native engine needs root: it makes namespaces and mounts",
            hint="use sudo, or Docker, or an engine elsewhere: --engine PLATFORM=URL",
            tools=["root"],
        )
    missing = [program for program in _PACKAGES if find(program) is None]
    packages = [_PACKAGES[program] for program in missing]
    lost_emulators = [program for program in emulators if find(program) is None]
    if lost_emulators:
        missing += lost_emulators
        packages.append("qemu-user-static")
    if missing:
        raise MissingToolError(
            f"not installed: {', '.join(missing)}",
            hint=f"apt-get install {' '.join(sorted(packages))}",
            tools=missing,
        )


async def run(command: Sequence[str], *, stdin: str = "", deadline_seconds: float = _COMMAND_SECONDS) -> str:
    """Run a system program to its end and return what it says.

    Raises:
        EngineStartError: it failed or took too long; the message ends with its own words.
    """
    status, said = await attempt(command, stdin=stdin, deadline_seconds=deadline_seconds)
    if status != 0:
        raise EngineStartError(
            f"`{' '.join(command)}` failed: {said.strip()[-600:] or f'exit status {status}'}"
        )
    return said


async def attempt(
    command: Sequence[str], *, stdin: str = "", deadline_seconds: float = _COMMAND_SECONDS
) -> tuple[int, str]:
    """Run a system program; return its exit status and what it said.

    Raises:
        EngineStartError: it took too long.
    """
    environ = {**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C"}
    try:
        with anyio.fail_after(deadline_seconds):
            done = await anyio.run_process(
                command, input=stdin.encode(), stderr=subprocess.STDOUT, env=environ, check=False
            )
    except TimeoutError as error:
        what = f"`{' '.join(command)}` did not end within {deadline_seconds:g} s"
        raise EngineStartError(what) from error
    return done.returncode, done.stdout.decode(errors="replace")
