"""The real program, killed at every request of every command that writes, before and after the server acted.

``kill -9`` at the n-th request, for every n; then the same command again, and once more. SIGTERM likewise.
"""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.store import RegistryStore
from anyarch.release.history import Run, is_history_tag
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote

from tests.builders import an_attestation, an_image, an_index, upload
from tests.fake_dagger import a_record
from tests.fake_registry import FakeRegistry, Fault
from tests.warm_program import WarmProgram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fake_repositories import Reply, Seen

AMD, ARM = an_image("linux/amd64"), an_image("linux/arm64")
NEW = an_image("linux/amd64", files={"app": b"newer"})
FIRST, SECOND = an_index(AMD), an_index(ARM)
STALE = an_image("linux/386", config_fields={"created": "2020-01-01T00:00:00Z"})
STALE_INDEX = an_index(STALE, an_attestation(STALE))
LATEST: Final = Tag("latest")
WAIT_SECONDS: Final = 10.0


@dataclass
class Blow:
    """A signal at one request: before the server acts, or after it acted and before its answer."""

    at: int
    number: signal.Signals
    acts: bool
    pid: int = 0
    started: threading.Event = field(default_factory=threading.Event)

    def strike(self) -> None:
        assert self.started.wait(WAIT_SECONDS)
        os.kill(self.pid, self.number)


class DeadlyRegistry(FakeRegistry):
    """Strikes whoever asks, and looks at every tag between any two requests."""

    def __init__(self) -> None:
        super().__init__()
        self.blow: Blow | None = None
        self.broken: list[str] = []

    def note(self, seen: Seen) -> Fault | None:
        with self.lock:
            fault = super().note(seen)
            self.broken += self.repositories.incomplete()
            if (blow := self._due(seen)) is None or blow.acts:
                return fault
            blow.strike()
            return Fault("reset before") if blow.number == signal.SIGKILL else None

    def reply(self, seen: Seen) -> Reply:
        with self.lock:
            reply = super().reply(seen)
            if (blow := self._due(seen)) is not None and blow.acts:
                blow.strike()
            return reply

    def _due(self, seen: Seen) -> Blow | None:
        return self.blow if self.blow is not None and seen.number == self.blow.at else None


@dataclass
class Bench:
    registry: DeadlyRegistry
    program: WarmProgram
    start: dict[str, Any]

    @property
    def repository(self) -> str:
        return f"{self.registry.host}/shop/api"

    def reset(self) -> None:
        self.registry.repositories.by_name = copy.deepcopy(self.start)
        self.registry.broken = []

    def run(self, words: list[str], blow: Blow | None = None) -> tuple[int, str]:
        """Run a command, struck or not; its requests are counted from 0."""
        self.registry.seen.clear()
        self.registry.blow = blow
        pid = self.program.start(words)
        if blow is not None:
            blow.pid = pid
            blow.started.set()
        try:
            return self.program.end()
        finally:
            self.registry.blow = None

    @property
    def tags(self) -> dict[str, str]:
        found = self.registry.repositories.by_name["shop/api"].tags
        return {tag: digest for tag, digest in found.items() if not is_history_tag(tag)}

    def state(self) -> dict[str, object]:
        """What every tag points at, and what its history says, times aside."""
        repository = self.registry.repositories.by_name["shop/api"]
        state: dict[str, object] = dict(self.tags)
        stale = {str(each) for each in (STALE_INDEX.digest, STALE.digest)}
        state["stale manifests"] = sorted(stale & repository.manifests.keys())
        for tag in filter(is_history_tag, repository.tags):
            document = json.loads(repository.manifests[repository.tags[tag]][1])
            moves = json.loads(document["annotations"]["dev.anyarch.history"])["moves"]
            state[tag] = [{key: value for key, value in move.items() if key != "when"} for move in moves]
        return state


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A repository in which runs 1 and 2 made releases ``latest``, and records of a third one's images."""
    with DeadlyRegistry() as registry, WarmProgram(tmp_path) as program:

        async def fill() -> None:
            async with RegistryStore(Repository(registry.host, "shop/api-stage")) as stage:
                await upload(stage, NEW, ARM)
                await stage.put(Tag("new"), an_index(NEW, ARM))
            async with RegistryStore(Repository(registry.host, "shop/api")) as store:
                await upload(store, AMD, ARM, STALE, an_attestation(STALE))
                await store.put(STALE_INDEX.digest, STALE_INDEX)
                for number, index in ((1, FIRST), (2, SECOND)):
                    await store.put(index.digest, index)
                    await promote(store, index.digest, [LATEST], mover=Mover(run=Run(number), force=True))

        anyio.run(fill)
        made = Bench(registry, program, copy.deepcopy(registry.repositories.by_name))
        (tmp_path / "records").mkdir()
        for image in (AMD, ARM):
            record = json.dumps(a_record(image, made.repository))
            (tmp_path / "records" / f"{image.platform.slug}.json").write_text(record)
        made.reset()
        yield made


COMMANDS: Final[dict[str, Callable[[str], list[str]]]] = {
    "merge": lambda r: ["merge", "--records", "records", "--to", r, "--tag", "1.4.2 latest"],
    "promote": lambda r: ["promote", f"{r}:latest", "--tag", "stable 1.4.2"],
    "promote by force": lambda r: ["promote", f"{r}@{FIRST.digest}", "--tag", "latest", "--force"],
    "rollback": lambda r: ["rollback", f"{r}:latest"],
    "prune": lambda r: ["prune", r, "--older-than", "7d", "--digest", str(STALE_INDEX.digest)],
    "merge from another repository": lambda r: ["merge", f"{r}-stage:new", "--to", r, "--tag", "latest"],
}


@pytest.mark.parametrize("acts", [pytest.param(False, id="before"), pytest.param(True, id="after")])
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_request_a_rerun_ends_where_an_undisturbed_run_does(
    bench: Bench, name: str, acts: bool
) -> None:
    words = COMMANDS[name](bench.repository)
    assert bench.run(words)[0] == 0
    whole, requests = bench.state(), len(bench.registry.seen)
    assert requests > 8
    writes = [seen.number for seen in bench.registry.writes]
    # After a read was answered, nothing is other than before the next request.
    for at in writes if acts else range(requests):
        bench.reset()
        status, _ = bench.run(words, Blow(at, signal.SIGKILL, acts))
        assert status == -signal.SIGKILL, at
        if name == "rollback" and bench.state() == whole:
            continue  # nothing is left to finish: one more would be a second step
        status, said = bench.run(words)
        assert (status, bench.state()) == (0, whole), (at, said)
        assert "did not end: it was killed" in said
        if (
            name != "rollback" and at % 3 == 0
        ):  # it is where an undisturbed run ends: there nothing is written
            assert bench.run(words)[0] == 0
            assert bench.registry.writes == [], at
        assert bench.registry.broken == [], at


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *((name, signal.SIGTERM) for name in ("merge", "promote", "rollback")),
        ("rollback", signal.SIGINT),
        ("rollback", signal.SIGHUP),
    ],
)
def test_stopped_at_any_request_it_says_which_tags_moved(
    bench: Bench, name: str, number: signal.Signals
) -> None:
    words = COMMANDS[name](bench.repository)
    before = dict(bench.tags)
    assert bench.run(words)[0] == 0
    whole, requests = bench.state(), len(bench.registry.seen)
    stopped = 0
    for at in range(requests):
        bench.reset()
        status, said = bench.run(words, Blow(at, number, acts=False))
        moved = {tag for tag, digest in bench.tags.items() if before.get(tag) != digest}
        if status == 0:  # it came when everything was done
            assert at > requests - 4
            continue
        stopped += 1
        assert status == 130, said
        written = re.search(r"^  written: (.*)$", said, re.MULTILINE)
        told = {word.partition(" ")[0] for word in written[1].split(", ")} if written else set[str]()
        assert {word for word in told if ":" not in word} == moved, (at, said)
        assert "not confirmed" not in said
        assert written or "interrupted: nothing was written" in said
        assert bench.registry.broken == []
        if name != "rollback":
            status, said = bench.run(words)
            assert (status, bench.state()) == (0, whole), at
    assert stopped >= 3


def test_a_prune_that_is_stopped_finishes_the_deletion_under_way_and_says_what_is_gone(bench: Bench) -> None:
    words = COMMANDS["prune"](bench.repository)
    assert bench.run(words)[0] == 0
    whole, requests = bench.state(), len(bench.registry.seen)
    writes = [seen.number for seen in bench.registry.writes]
    stopped = 0
    for at in sorted({*range(0, requests, 4), *writes, *(at - 1 for at in writes)}):
        bench.reset()
        before = set(bench.registry.repositories.by_name["shop/api"].manifests)
        status, said = bench.run(words, Blow(at, signal.SIGTERM, acts=False))
        gone = before - bench.registry.repositories.by_name["shop/api"].manifests.keys()
        assert "not confirmed" not in said, (at, said)
        assert status == 130 or at > requests - 3, (at, said)
        if status == 130:
            stopped += 1
            told = re.search(r"^  deleted: (.*)$", said, re.MULTILINE)
            named = set(re.findall(r"sha256:[0-9a-f]{64}", told[1])) if told else set()
            assert named & before == gone, (at, said)  # and its own note, at the end
        status, said = bench.run(words)
        assert (status, bench.state()) == (0, whole), (at, said)
    assert stopped >= 8


def test_tags_that_wait_for_their_turn_are_not_written_after_a_signal(bench: Bench) -> None:
    tags = " ".join(f"branch-{number}" for number in range(60))
    words = ["promote", f"{bench.repository}:latest", "--tag", tags]
    assert bench.run(words)[0] == 0
    first = next(
        seen.number for seen in bench.registry.seen if seen.kind == "manifest" and seen.method == "PUT"
    )
    bench.reset()
    status, said = bench.run(words, Blow(first, signal.SIGTERM, acts=False))
    assert status == 130
    moved = bench.tags.keys() - {"latest"}
    assert 0 < len(moved) < 60
    assert "as they were: " in said


def test_a_second_signal_ends_it_on_the_spot(bench: Bench) -> None:
    """The registry asks to wait for a minute, and the write under way would."""
    bench.registry.faults.append(Fault("status", 503, {"Retry-After": "60"}, method="PUT", times=1000))
    bench.registry.seen.clear()
    pid = bench.program.start(COMMANDS["promote"](bench.repository))
    wait_until(lambda: bench.registry.asked("PUT", "manifest") > 0)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: "stopping: " in bench.program.said)
    os.kill(pid, signal.SIGTERM)
    assert bench.program.end()[0] == -signal.SIGTERM
    bench.registry.faults.clear()
    _, said = bench.program.run(COMMANDS["promote"](bench.repository))
    assert "begun, and not confirmed: 1.4.2 (new)" in said
    assert "as they were: stable" in said


def wait_until(holds: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(0.01)
