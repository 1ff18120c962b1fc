"""A merge to two destinations, killed or stopped at every write of either: no tag before both hold.

Of the reads every fourth has its turn: whichever of those between two writes it is killed at, it leaves
behind the same registries and the same journal. ``test_crash`` does it at every read of every command.
"""

from __future__ import annotations

import copy
import json
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.store import RegistryStore
from anyarch.release.history import is_history_tag

from tests.builders import an_image, an_index, upload
from tests.contract.test_crash import Blow, DeadlyRegistry
from tests.fake_dagger import a_record
from tests.warm_program import WarmProgram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fake_registry import Fault
    from tests.fake_repositories import Seen

AMD, ARM = an_image("linux/amd64"), an_image("linux/arm64")
EARLIER = an_index(AMD)
NEAR, FAR = "near/api", "far/api"
TAGS = ("1.4.2", "latest")


class Both(DeadlyRegistry):
    """Looks, between any two requests, whether a tag has moved before both repositories hold the release."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = ""

    def note(self, seen: Seen) -> Fault | None:
        with self.lock:
            held = [self.repositories.by_name[name] for name in (NEAR, FAR) if self.digest]
            if any(self.digest in each.tags.values() for each in held):
                self.broken += [f"{seen.number}" for each in held if self.digest not in each.manifests]
            return super().note(seen)


@dataclass
class Bench:
    registry: Both
    program: WarmProgram
    start: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """Under two names of the host, so that bytes travel as between two registries."""
        port = self.registry.host.rpartition(":")[2]
        return [f"127.0.0.1:{port}/{NEAR}", f"localhost:{port}/{FAR}"]

    @property
    def words(self) -> list[str]:
        near, far = self.names
        return ["merge", "--records", "records", "--to", near, "--to", far, "--tag", " ".join(TAGS)]

    def reset(self) -> None:
        self.registry.repositories.by_name = copy.deepcopy(self.start)
        self.registry.broken = []

    def run(self, blow: Blow | None = None) -> tuple[int, str]:
        """Run the merge, struck or not; its requests are counted from 0."""
        self.registry.seen.clear()
        self.registry.blow = blow
        pid = self.program.start(self.words)
        if blow is not None:
            blow.pid = pid
            blow.started.set()
        try:
            return self.program.end()
        finally:
            self.registry.blow = None

    @property
    def tags(self) -> list[dict[str, str]]:
        held = [self.registry.repositories.by_name[name].tags for name in (NEAR, FAR)]
        return [{tag: digest for tag, digest in each.items() if not is_history_tag(tag)} for each in held]

    def state(self) -> list[object]:
        """What every tag points at and which have histories."""
        return [
            *self.tags,
            *(set(self.registry.repositories.by_name[name].tags) for name in (NEAR, FAR)),
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Both have an earlier release at ``latest``; the builds are at the near one."""
    with Both() as registry, WarmProgram(tmp_path) as program:

        async def fill() -> None:
            for name in (NEAR, FAR):
                async with RegistryStore(Repository(registry.host, name)) as store:
                    await upload(store, AMD, *([ARM] if name == NEAR else []))
                    await store.put(EARLIER.digest, EARLIER)
                    await store.put(Tag("latest"), EARLIER)

        anyio.run(fill)
        made = Bench(registry, program, copy.deepcopy(registry.repositories.by_name))
        (tmp_path / "records").mkdir()
        for image in (AMD, ARM):
            record = json.dumps(a_record(image, made.names[0]))
            (tmp_path / "records" / f"{image.platform.slug}.json").write_text(record)
        made.reset()
        yield made


def undisturbed(bench: Bench) -> tuple[list[object], int, list[int]]:
    status, said = bench.run()
    assert status == 0, said
    registry = bench.registry
    registry.digest = bench.tags[0]["1.4.2"]
    assert registry.broken == []
    return bench.state(), len(registry.seen), [seen.number for seen in registry.writes]


@pytest.mark.parametrize("acts", [pytest.param(False, id="before"), pytest.param(True, id="after")])
def test_killed_at_any_request_a_rerun_ends_where_an_undisturbed_one_does(bench: Bench, acts: bool) -> None:
    whole, requests, writes = undisturbed(bench)
    assert len(writes) > 10
    # After a read was answered, nothing is other than before the next request.
    for at in writes if acts else sorted({*range(0, requests, 4), *writes}):
        bench.reset()
        status, _ = bench.run(Blow(at, signal.SIGKILL, acts))
        assert status == -signal.SIGKILL, at
        status, said = bench.run()
        assert (status, bench.state()) == (0, whole), (at, said)
        assert said.count("did not end: it was killed") == 2
        assert bench.registry.broken == [], at


def test_stopped_at_any_request_it_says_of_each_destination_which_tags_moved(bench: Bench) -> None:
    whole, requests, _ = undisturbed(bench)
    before = copy.deepcopy([self.tags for self in (bench.start[NEAR], bench.start[FAR])])
    stopped = 0
    for at in range(0, requests, 2):
        bench.reset()
        status, said = bench.run(Blow(at, signal.SIGTERM, acts=False))
        assert bench.registry.broken == [], at
        if status == 0:  # it came when everything was done
            assert at > requests - 8
            continue
        stopped += 1
        assert status == 130, said
        for name, tags, earlier in zip(bench.names, bench.tags, before, strict=True):
            moved = {tag for tag in tags if tags[tag] != earlier.get(tag)}
            part = said.partition(f"{name}: interrupted: ")[2].partition("interrupted: ")[0]
            assert part, (at, said)
            written = re.search(r"^  written: (.*)$", part, re.MULTILINE)
            told = {word.partition(" ")[0] for word in written[1].split(", ")} if written else set[str]()
            assert {word for word in told if ":" not in word} == moved, (at, said)
            assert "not confirmed" not in part
        status, said = bench.run()
        assert (status, bench.state()) == (0, whole), (at, said)
    assert stopped > 10
