"""The engine's programs, compiled once per version from Go modules into the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.text import TextReceiveStream

from anyarch.engine import DAGGER_VERSION
from anyarch.engine.native.locks import locked
from anyarch.engine.native.places import cache_folder
from anyarch.engine.native.toolchain import find_go
from anyarch.engine.native.tools import find
from anyarch.errors import EngineStartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import Process

BUILD_SECONDS: Final = 1800.0
_SOURCES: Final = Path(__file__).with_name("go")
_PACKAGE: Final = "github.com/dagger/dagger/engine"
_LDFLAGS: Final = f"-s -w -X {_PACKAGE}.Version={DAGGER_VERSION} -X {_PACKAGE}.Tag={DAGGER_VERSION}"
_FLAGS: Final = ("-trimpath", "-mod=readonly", "-tags", "dfexcludepatterns,dfparents", "-ldflags", _LDFLAGS)
# compiled name → its place; the container network's plugins stand apart, `bridge` is also a system tool
_PROGRAMS: Final = {
    "engine": "bin/engine",
    "dagger": "bin/dagger",
    "codegen": "bin/codegen",
    "dialstdio": "bin/dialstdio",
    "init": "bin/dagger-init",
    "bridge": "cni/bridge",
    "dnsname": "cni/dnsname",
    "firewall": "cni/firewall",
    "host-local": "cni/host-local",
    "loopback": "cni/loopback",
}
_REPORT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Installation:
    """The compiled programs: ``bin/`` and ``cni/`` below one prefix that nothing else uses."""

    prefix: Path

    @property
    def engine(self) -> Path:
        """The engine."""
        return self.prefix / "bin" / "engine"

    @property
    def dagger(self) -> Path:
        """The client of the same version."""
        return self.prefix / "bin" / "dagger"

    @property
    def plugins(self) -> Path:
        """The folder of the container network's plugins."""
        return self.prefix / "cni"

    @property
    def content(self) -> Path:
        """Where the engine looks for the images of its built-in SDKs."""
        return self.prefix / "content"


def installation(cache: Path | None = None) -> Installation:
    """Where this version's programs are, or will be."""
    parts = [path.read_bytes() for path in sorted(_SOURCES.rglob("*")) if path.is_file()]
    key = hashlib.sha256(b"\0".join([*parts, repr((_FLAGS, _PROGRAMS)).encode()])).hexdigest()[:12]
    return Installation((cache or cache_folder()) / "engine" / f"{DAGGER_VERSION}-{key}")


async def install(
    cache: Path | None = None,
    *,
    on_event: Callable[[str], None] = lambda _: None,
    deadline_seconds: float = BUILD_SECONDS,
) -> Installation:
    """The programs, compiled now if they are not in the cache (3 to 5 minutes on two cores).

    Two processes that want them at once compile once: the second waits.

    Args:
        cache: The cache folder; the user's own if None.
        on_event: Called with a line for people, now and then.
        deadline_seconds: For all of it.

    Raises:
        EngineStartError: the compiler failed, with its last lines, or took too long.
        MissingToolError: no Go, and no way to get one.
    """
    found = installation(cache)
    if found.engine.exists():
        return found
    folder = found.prefix.parent
    async with locked(folder / "compile.lock", deadline_seconds=deadline_seconds):
        if not found.engine.exists():
            go = await find_go(folder, on_event)
            on_event(f"compiling Dagger {DAGGER_VERSION}: once per version, some minutes")
            await _compile(go, found.prefix, on_event, deadline_seconds)
    return found


async def _compile(go: str, prefix: Path, on_event: Callable[[str], None], deadline_seconds: float) -> None:
    for leftover in prefix.parent.glob(".compile-*"):  # we hold the lock: nobody is at work in there
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=".compile-", dir=prefix.parent))
    try:
        shutil.copytree(_SOURCES, work / "source")
        output = work / "compiled"
        output.mkdir()
        command = [go, "build", *_FLAGS, "-o", f"{output}/", "tool"]
        await _follow(command, work / "source", on_event, deadline_seconds)
        _arrange(output, work / "prefix")
        (work / "prefix").rename(prefix)
    except OSError as error:
        raise EngineStartError(f"the engine's programs cannot be put into {prefix}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _arrange(compiled: Path, prefix: Path) -> None:
    """Put every program where the engine looks for it, the system's runc included."""
    for name, place in _PROGRAMS.items():
        (prefix / place).parent.mkdir(parents=True, exist_ok=True)
        (compiled / name).rename(prefix / place)
    (prefix / "bin" / "runc").symlink_to(find("runc") or "/usr/sbin/runc")
    (prefix / "content").mkdir()


async def _follow(
    command: list[str], folder: Path, on_event: Callable[[str], None], deadline_seconds: float
) -> None:
    """Run the compiler, saying now and then that it is still at work."""
    last: deque[str] = deque(maxlen=12)
    began = time.monotonic()
    environ = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
    try:
        with anyio.fail_after(deadline_seconds):
            async with (
                await anyio.open_process(
                    command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd=folder, env=environ
                ) as process,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(_say_still, on_event, began, last)
                await _collect(process, last)
                tasks.cancel_scope.cancel()
    except TimeoutError as error:
        raise EngineStartError(
            f"compiling the engine did not end within {deadline_seconds:g} s",
            hint="start it again: what is compiled is kept by Go's own cache",
        ) from error
    if process.returncode != 0:
        raise EngineStartError(
            f"compiling the engine failed: {' / '.join(last) or f'exit status {process.returncode}'}",
            hint="it needs the Go module proxy ($GOPROXY) and about 5 GB of room",
        )


async def _collect(process: Process, last: deque[str]) -> None:
    assert process.stdout is not None  # noqa: S101  it is a pipe by default
    rest = ""
    async for text in TextReceiveStream(process.stdout, errors="replace"):
        *lines, rest = (rest + text).split("\n")
        last.extend(line for line in lines if line.strip())
    await process.wait()


async def _say_still(on_event: Callable[[str], None], began: float, last: deque[str]) -> None:
    while True:
        await anyio.sleep(_REPORT_SECONDS)
        doing = f" ({last[-1][:80]})" if last else ""
        on_event(f"still compiling after {time.monotonic() - began:.0f} s{doing}")


def client_environment(installed: Installation, url: str) -> Mapping[str, str]:
    """What a Dagger client needs to use an engine of ours."""
    return {
        "_EXPERIMENTAL_DAGGER_RUNNER_HOST": url,
        "_EXPERIMENTAL_DAGGER_CLI_BIN": str(installed.dagger),
        "DAGGER_NO_NAG": "1",
        "DO_NOT_TRACK": "1",
    }
