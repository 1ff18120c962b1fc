"""A folder with an application, an engine that answers, and a dagger that plays: where ``run`` is tried."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
from anyarch.cli.checkout import Checkout
from anyarch.cli.main import run
from anyarch.cli.project import Project
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.registry.layout import LayoutStore
from anyarch.release.record import Record

from tests.fake_dagger import FakeDagger, an_engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pytest
    from anyarch.cli.sources import Sources
    from anyarch.oci.manifest import Manifest

AMD, ARM = "linux/amd64", "linux/arm64"


class Bench:
    """A folder with an application, an engine that answers, and a dagger that plays."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder = folder
        self.app = folder / "app"
        self.app.mkdir()
        (self.app / "Dockerfile").write_text("FROM scratch\n")
        self.dagger = FakeDagger(folder / "dagger")
        self.dagger.builds(AMD, ARM)
        self.engine = engine

    def words(self, *words: str, platforms: Sequence[str] = (AMD, ARM)) -> list[str]:
        return ["run", "app", *(f"--engine={each}={self.engine}" for each in platforms), *words]

    def run(self, *words: str, platforms: Sequence[str] = (AMD, ARM)) -> int:
        return run(self.words(*words, platforms=platforms))

    def record(self, platform: str) -> Record | None:
        path = self.app / ".anyarch" / "records" / f"{Platform.parse(platform).slug}.json"
        return Record.from_json(path.read_bytes(), subject=path.name) if path.exists() else None

    def tagged(self, name: str = "latest") -> Manifest | None:
        async def look() -> Manifest | None:
            store = LayoutStore(self.folder / "dist")
            return await store.get(Tag(name)) if await store.head(Tag(name)) else None

        return anyio.run(look)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The same as a process of its own, for signals."""
        command = [sys.executable, "-m", "anyarch", *self.words(*words)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sources_in(app: Path) -> Sources:
    """What a run in the folder finds to build from."""
    return Project.load(app).sources(Checkout(app, os.environ), (), None)


@contextmanager
def a_bench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The bench, with this process in its folder and its dagger the one to call."""
    with an_engine(folder / "engine.sock") as url:
        bench = Bench(folder, url)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("ANYARCH_DAGGER", str(bench.dagger.program))
        yield bench
