"""Programs that only tests and the benchmark need, compiled once from Go modules into the cache."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.engine.native import gobuild
from anyarch.engine.native.locks import locked
from anyarch.engine.native.places import cache_folder
from anyarch.engine.native.toolchain import find_go

if TYPE_CHECKING:
    from collections.abc import Callable

# registry (distribution v3), olareg, crane, regctl, oras
PEERS: Final = Path(__file__).with_name("peers")
BUILDX: Final = PEERS / "buildx"
BUILD_SECONDS: Final = 900.0
_FLAGS: Final = ("-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", "-s -w")


async def compiled(
    module: Path, *, on_event: Callable[[str], None], deadline_seconds: float = BUILD_SECONDS
) -> Path:
    """The folder with all programs that a module's go.mod lists as tools.

    Compiles them if they are not in the cache: two minutes on two cores for the peers. Two processes that
    want them at once compile once.

    Args:
        module: The folder of go.mod and go.sum; its name says what it is about.
        on_event: Called with a line of progress.
        deadline_seconds: For all of it.

    Raises:
        EngineStartError: the compiler failed, with its last lines, or took too long.
        MissingToolError: no Go, and no way to get one.
    """
    parts = [(module / name).read_bytes() for name in ("go.mod", "go.sum")]
    key = hashlib.sha256(b"\0".join([*parts, repr(_FLAGS).encode()])).hexdigest()[:12]
    folder = cache_folder() / "tools"
    programs = folder / f"{module.name}-{key}"
    if programs.exists():
        return programs
    async with locked(folder / f"{module.name}.lock", deadline_seconds=deadline_seconds):
        if not programs.exists():
            go = await find_go(cache_folder() / "engine", on_event)
            on_event(f"compiling {module.name}: once per version, a minute or two")
            work = Path(tempfile.mkdtemp(prefix=f".{module.name}-", dir=folder))
            try:
                await gobuild.build(
                    go,
                    [*_FLAGS, "-o", f"{work}/", "tool"],
                    module,
                    what=f"{module.name} ({module}/go.mod)",
                    on_event=on_event,
                    deadline_seconds=deadline_seconds,
                )
                work.chmod(0o755)
                work.rename(programs)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return programs
