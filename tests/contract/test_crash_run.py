"""``anyarch run``, killed at every write of its publishing part; a dagger that plays has built the images."""

from __future__ import annotations

import copy
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.store import RegistryStore
from anyarch.release.config import Config
from anyarch.release.ledger import Mover
from anyarch.release.plan import make_plan
from anyarch.release.promote import promote

from tests.builders import an_image, upload
from tests.contract.test_crash import Bench, Blow, DeadlyRegistry
from tests.fake_dagger import FakeDagger, an_engine
from tests.run_bench import sources_in
from tests.warm_program import WarmProgram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLATFORMS: Final = ("linux/amd64", "linux/arm64")
EARLIER: Final = an_image("linux/amd64", files={"app": b"earlier"})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bench, list[str]]]:
    """A repository whose ``latest`` is an earlier image, and the words of a run that publishes anew."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch\n")
    dagger = FakeDagger(tmp_path / "dagger")
    monkeypatch.setenv("ANYARCH_DAGGER", str(dagger.program))
    with (
        an_engine(tmp_path / "engine.sock") as engine,
        DeadlyRegistry() as registry,
        WarmProgram(tmp_path) as program,
    ):
        to = f"{registry.host}/shop/api"
        plan = make_plan(Config(), platforms=tuple(map(Platform.parse, PLATFORMS)), destination=to)
        plan = replace(plan, changes=sources_in(tmp_path / "app").changes)
        dagger.builds(*PLATFORMS, plan=str(plan.digest))
        dagger.records(to, *PLATFORMS)

        async def fill() -> None:
            async with RegistryStore(Repository.parse(to)) as store:
                await upload(store, EARLIER, *dagger.images.values())
                await promote(store, EARLIER.digest, [Tag("latest")], mover=Mover())

        anyio.run(fill)
        words = [f"--engine={each}={engine}" for each in PLATFORMS]
        yield (
            Bench(registry, program, copy.deepcopy(registry.repositories.by_name)),
            ["run", "app", *words, "--to", to, "--tag", "1.4.2 latest"],
        )


def test_a_run_killed_while_it_publishes_is_finished_by_the_next(run: tuple[Bench, list[str]]) -> None:
    """At the index, between fixed and floating tag, and before the history: each run takes half a second."""
    bench, words = run
    assert bench.run(words)[0] == 0
    whole = bench.state()
    writes = [seen.number for seen in bench.registry.writes]
    assert len(writes) >= 4, "an index, two tags, a history"
    for at, acts in ((writes[0], True), (writes[-2], False), (writes[-1], False)):
        bench.reset()
        status, said = bench.run(words, Blow(at, signal.SIGKILL, acts))
        assert status == -signal.SIGKILL, (at, said)
        status, said = bench.run(words)
        assert (status, bench.state()) == (0, whole), (at, said)
        assert "an earlier anyarch run to" in said
        assert bench.registry.broken == []
    assert bench.run(words)[0] == 0
    assert bench.registry.writes == []
