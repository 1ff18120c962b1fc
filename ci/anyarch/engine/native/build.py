"""The engine's programs, compiled once per version from Go modules into the cache."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.engine import DAGGER_VERSION
from anyarch.engine.native import gobuild
from anyarch.engine.native.locks import locked
from anyarch.engine.native.places import cache_folder
from anyarch.engine.native.toolchain import find_go
from anyarch.engine.native.tools import find
from anyarch.errors import EngineStartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
        await gobuild.build(
            go,
            [*_FLAGS, "-o", f"{output}/", "tool"],
            work / "source",
            what="the engine",
            on_event=on_event,
            deadline_seconds=deadline_seconds,
        )
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


def client_environment(installed: Installation, url: str) -> Mapping[str, str]:
    """What a Dagger client needs to use an engine of ours."""
    return {
        "_EXPERIMENTAL_DAGGER_RUNNER_HOST": url,
        "_EXPERIMENTAL_DAGGER_CLI_BIN": str(installed.dagger),
        "DAGGER_NO_NAG": "1",
        "DO_NOT_TRACK": "1",
    }
