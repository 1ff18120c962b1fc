"""Programs that check or run the workflows."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.engine.native import engine
from anyarch.engine.native.build import find_go
from anyarch.engine.native.options import UpOptions
from anyarch.engine.native.places import cache_folder
from anyarch.oci.platforms import Platform

from lab import base_images, registry
from tests.workflow.forge import Forge

if TYPE_CHECKING:
    from collections.abc import Iterator

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
def forge() -> Iterator[Forge]:
    """One engine for all legs, arm64 emulated; a registry with a password, and one in place of Docker Hub."""
    with registry.real_registry() as hub, registry.real_registry(auth=True) as target:
        options = UpOptions(
            insecure_registries=(hub, target),
            mirrors={"docker.io": f"http://{hub}"},
            emulate=(Platform.parse("linux/arm64"),),
        )

        async def start() -> str:
            await base_images.push(await base_images.ensure(cache_folder(), on_line=print), hub)
            return (await engine.up("test-workflow", options=options, on_event=print)).url

        try:
            yield Forge(
                registry=target,
                username=registry.USERNAME,
                password=registry.PASSWORD,
                engine=anyio.run(start),
            )
        finally:
            anyio.run(engine.down, "test-workflow")
