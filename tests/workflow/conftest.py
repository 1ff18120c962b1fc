"""Programs that check or run the workflows."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.engine.native.places import cache_folder
from anyarch.engine.native.toolchain import find_go

from lab import registry
from tests.workflow.forge import Forge

if TYPE_CHECKING:
    from lab.stack import Stack

TOOLS = Path(__file__).parent / "tools"
COMPILE_TIMEOUT_SECONDS = 240


@pytest.fixture(scope="session")
def actionlint() -> Path:
    """actionlint, compiled once for each go.sum: it is on PyPI only as a downloader."""
    locked = hashlib.sha256((TOOLS / "go.mod").read_bytes() + (TOOLS / "go.sum").read_bytes())
    program = cache_folder() / "tools" / f"actionlint-{locked.hexdigest()[:16]}"
    if not program.exists():
        go = anyio.run(find_go, cache_folder() / "engine")
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        package = "github.com/rhysd/actionlint/cmd/actionlint"
        command = [go, "build", "-C", str(TOOLS), "-mod=readonly", "-trimpath", "-buildvcs=false"]
        subprocess.run(
            [*command, "-o", str(unfinished), package], check=True, timeout=COMPILE_TIMEOUT_SECONDS
        )
        unfinished.replace(program)
    return program


@pytest.fixture(scope="session")
def forge(engines: Stack) -> Forge:
    """Three runners, each with an engine of its own, and a registry that asks for a password."""
    assert engines.private
    return Forge(
        registry=engines.private,
        username=registry.USERNAME,
        password=registry.PASSWORD,
        engines={platform.slug: info.url for platform, info in engines.engines.items()},
    )
