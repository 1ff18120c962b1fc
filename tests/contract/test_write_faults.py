"""Every request of every command that writes, in turn, meets every fault; the end is always the same.

Merge, promote, rollback, prune, and images from another registry, with a token server and a storage host
of their own: whatever goes wrong once is healed within the deadline, a second run writes nothing, and
nobody is shown a credential that is not for them. ``test_faults`` does the same to a store's own calls.
"""

from __future__ import annotations

import copy
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from anyarch.errors import AnyarchError, AuthenticationError
from anyarch.oci.manifest import Index
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.bring import bring
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.referrers import list_referrers
from anyarch.registry.store import RegistryStore
from anyarch.registry.wire import Timeouts
from anyarch.release.assemble import Order, assemble
from anyarch.release.history import Run, is_history_tag
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote, rollback
from anyarch.release.prune.candidates import of_digests
from anyarch.release.prune.prune import prune
from anyarch.release.prune.survey import Places, Wishes
from anyarch.release.publish import merge
from anyarch.release.references import Reference

from tests.builders import a_referrer, an_image, an_index, upload
from tests.contract.test_faults import DEADLINE_SECONDS
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Fault
from tests.releases import a_build, a_record
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from tests.fake_registry import Action
    from tests.fake_repositories import Repository as Held

AMD, ARM = a_build("linux/amd64"), a_build("linux/arm64")
OLD: Final = an_image("linux/386")
FIRST, SECOND = an_index(AMD, OLD), an_index(AMD, ARM)
THEIRS: Final = a_build("linux/s390x")
THIRD: Final = an_index(THEIRS)
SIGNATURE: Final = a_referrer(THEIRS.manifest, b"signature")
FIXED, LATEST, STABLE = Tag("1.4.2"), Tag("latest"), Tag("stable")
WRITES: Final = {"PUT", "POST", "PATCH", "DELETE"}
LONG: Final = 50
PATH: Final = "team/app"
NEXT_YEAR: Final = datetime.now(UTC) + timedelta(days=365)


@dataclass
class Scene:
    """A registry with two releases behind ``latest``, another with images to bring, and their helpers.

    Each registry's blobs are read from a storage host of its own.
    """

    registry: FakeRegistry
    source: FakeRegistry
    storages: tuple[FakeRegistry, FakeRegistry]
    start: Mapping[str, Held] = field(default_factory=dict)
    slept: list[float] = field(default_factory=list)
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def registries(self) -> tuple[FakeRegistry, ...]:
        return (self.registry, self.source, *self.storages)

    def store(self, registry: FakeRegistry | None = None) -> RegistryStore:
        clock = FakeClock(slept=self.slept).clock
        if self.timeouts.document < 1:  # what another request sleeps must not take this one's time
            clock = replace(clock, now=time.monotonic)
        options = Options(
            credential=Credential(USERNAME, PASSWORD),
            deadline_seconds=DEADLINE_SECONDS,
            clock=clock,
            timeouts=self.timeouts,
        )
        return RegistryStore(Repository((registry or self.registry).host, PATH), options)

    def reset(self) -> None:
        for registry in self.registries:
            registry.faults.clear()
        self.registry.repositories.by_name.clear()
        self.registry.repositories.by_name.update(copy.deepcopy(self.start))
        self.forget()

    def forget(self) -> None:
        """Count from 0 again."""
        for registry in self.registries:
            registry.seen.clear()
        self.slept.clear()

    def state(self) -> dict[str, object]:
        """Manifests, what every tag points at, and what its history says, times aside."""
        held = self.registry.repositories.by_name[PATH]
        state: dict[str, object] = {"": sorted(held.manifests.keys() - set(held.tags.values()))}
        for tag, digest in held.tags.items():
            document = json.loads(held.manifests[digest][1])
            if is_history_tag(tag):
                moves = json.loads(document["annotations"]["dev.anyarch.history"])["moves"]
                state[tag] = [{key: value for key, value in move.items() if key != "when"} for move in moves]
                state[""] = []  # the number of histories that were, is no matter
            else:
                state[tag] = digest
        return state

    def require_good(self) -> None:
        """What holds at every moment."""
        assert self.registry.repositories.incomplete() == []
        assert all(not seen.authorization for each in self.storages for seen in each.seen)
        for registry, other in ((self.registry, self.source), (self.source, self.registry)):
            foreign = [token for token in other.tokens if token not in registry.tokens]
            shown = " ".join(seen.authorization for seen in registry.seen)
            assert not any(token in shown for token in foreign)


async def _merge(scene: Scene) -> None:
    async with scene.store() as store:
        records = [a_record(build, repository=store.name) for build in (AMD, ARM)]
        await merge(store, records, tags=[FIXED, LATEST], mover=Mover(run=Run(7)))


async def _promote(scene: Scene) -> None:
    async with scene.store() as store:
        await promote(store, LATEST, [STABLE, FIXED])


async def _rollback(scene: Scene) -> None:
    async with scene.store() as store:
        await rollback(store, LATEST, FIRST.digest)


async def _prune(scene: Scene) -> None:
    async with scene.store() as store:
        places = Places(store=store, referrers=partial(list_referrers, store))
        wishes = Wishes(
            older_than=timedelta(days=7),
            now=NEXT_YEAR,
            kept_releases=0,
            candidates=tuple(of_digests([FIRST.digest])),
        )
        await prune(places, wishes, now=lambda: NEXT_YEAR)


async def _bring(scene: Scene) -> None:
    async with scene.store() as store, scene.store(scene.source) as source:
        one = Reference(store=source, target=THIRD.digest, name="theirs")
        order = Order(records=[], references=[one], sources=[], tags=[Tag("brought")], dry_run=False)
        await assemble(store, order, bring=bring)


COMMANDS: Final[Mapping[str, Callable[[Scene], Awaitable[None]]]] = {
    "merge": _merge,
    "promote": _promote,
    "rollback": _rollback,
    "prune": _prune,
    "merge from another registry": _bring,
}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as opened:
        registry, source = (opened.enter_context(FakeRegistry(auth="bearer")) for _ in range(2))
        behind = (FakeRegistry(repositories=each.repositories) for each in (registry, source))
        ours, theirs = (opened.enter_context(each) for each in behind)
        made = Scene(registry, source, (ours, theirs))
        anyio.run(_fill, made)
        registry.switches.blob_redirect, source.switches.blob_redirect = ours.origin, theirs.origin
        made.start = copy.deepcopy(registry.repositories.by_name)
        yield made


async def _fill(scene: Scene) -> None:
    async with scene.store() as store:
        await upload(store, AMD, ARM, OLD)
        for number, index in ((1, FIRST), (2, SECOND)):
            await store.put(index.digest, index)
            await promote(store, index.digest, [LATEST], mover=Mover(run=Run(number), force=True))
    async with scene.store(scene.source) as store:
        await upload(store, THEIRS, SIGNATURE)
        await store.put(THIRD.digest, THIRD)
        listed = Index.build([SIGNATURE.manifest.descriptor])
        await store.put(Tag(f"sha256-{THEIRS.digest.hex}"), listed)


def attempt(scene: Scene, name: str) -> AnyarchError | None:
    """Run a command; what it ends with if it is an error of ours, anything else is a bug."""
    try:
        anyio.run(COMMANDS[name], scene)
    except AnyarchError as error:
        return error
    finally:
        scene.require_good()
    return None


@dataclass(frozen=True)
class Turn:
    """One request of an undisturbed run: which one, of which kind where that is not the registry's API."""

    registry: int
    at: int
    kind: str
    writes: bool


def turns(scene: Scene) -> list[Turn]:
    """Every request that was seen."""
    return [
        Turn(number, seen.number, "" if seen.is_api else seen.kind, seen.method in WRITES)
        for number, registry in enumerate(scene.registries)
        for seen in registry.seen
    ]


def in_turns(seen: list[Turn], schedule: str) -> list[Turn]:
    """All of them; of a long run's reads, every other one: those with one schedule, these with the next."""
    take_odd = (*SCHEDULES, "lying digest", "slow").index(schedule) % 2
    return [turn for turn in seen if len(seen) < LONG or turn.writes or turn.at % 2 == take_odd]


def whole(scene: Scene, name: str) -> tuple[dict[str, object], list[Turn]]:
    """Where an undisturbed run ends, and its requests; the second identical run writes nothing."""
    scene.reset()
    anyio.run(COMMANDS[name], scene)
    state, seen = scene.state(), turns(scene)
    scene.forget()
    anyio.run(COMMANDS[name], scene)
    assert scene.registry.writes == []
    assert scene.state() == state
    return state, seen


def _once(action: Action, turn: Turn) -> Fault:
    return Fault(action, at=turn.at, kind=turn.kind)


def _status(status: int, turn: Turn, *, after: str = "") -> Fault:
    headers = {"Retry-After": after} if after else {}
    return Fault("status", status, headers, since=turn.at, kind=turn.kind, code="UNKNOWN")


def released(state: Mapping[str, object]) -> dict[str, object]:
    """What tags point at; what histories say of a registry that lied is not held against them."""
    return {tag: digest for tag, digest in state.items() if tag and not is_history_tag(tag)}


@dataclass(frozen=True)
class Schedule:
    """Faults from one request on, and which requests they can make a difference to."""

    faults: Sequence[Callable[[Turn], Fault]]
    concerns: Callable[[Turn], bool] = lambda _: True


SCHEDULES: Final[Mapping[str, Schedule]] = {
    "reset before the server did it": Schedule([partial(_once, "reset before")]),
    "reset after the server did it": Schedule([partial(_once, "reset after")], lambda turn: turn.writes),
    "truncated": Schedule([partial(_once, "truncated")]),
    "an expired token": Schedule([partial(_once, "expired token")], lambda turn: not turn.kind),
    "one status after another": Schedule(
        [
            partial(_status, 429),
            partial(_status, 500),
            partial(_status, 429, after="3"),
            partial(_status, 502),
            partial(_status, 429, after="Fri, 15 Jan 2027 08:00:05 GMT"),
        ]
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_fault_at_any_request_is_healed(scene: Scene, name: str, schedule: str) -> None:
    state, seen = whole(scene, name)
    failed = 0
    for turn in filter(SCHEDULES[schedule].concerns, in_turns(seen, schedule)):
        scene.reset()
        faults = scene.registries[turn.registry].faults
        faults += [make(turn) for make in SCHEDULES[schedule].faults]
        error = attempt(scene, name)
        if isinstance(error, AuthenticationError) and schedule == "an expired token":
            failed += 1  # refused right after it was bought: that is final
            error = attempt(scene, name)
        assert error is None, turn
        assert scene.state() == state, turn
        assert sum(scene.slept) <= DEADLINE_SECONDS
    assert failed < len(seen) / 2, "only where a token was bought just before, for this one or its wave"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_lying_digest_is_found_out_or_has_no_effect(scene: Scene, name: str) -> None:
    state, seen = whole(scene, name)
    found_out = 0
    for turn in in_turns(seen, "lying digest"):
        if turn.kind:
            continue
        scene.reset()
        scene.registries[turn.registry].faults.append(_once("lying digest", turn))
        if attempt(scene, name) is not None:
            found_out += 1
            assert attempt(scene, name) is None
        assert released(scene.state()) == released(state), turn
    assert found_out >= 1, "each manifest that is written"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_slow_drip_is_cut_off_and_tried_again(
    scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some requests one after another: those of one wave are slow at the same time."""
    state, seen = whole(scene, name)
    monkeypatch.setattr(scene, "timeouts", Timeouts(document=0.08, blob=0.08))
    slowed = in_turns(seen, "slow")
    for begin in range(0, len(slowed), 4):  # not six: one request may meet them all
        scene.reset()
        for turn in slowed[begin : begin + 4]:
            scene.registries[turn.registry].faults.append(_once("slow", turn))
        assert attempt(scene, name) is None
        assert scene.state() == state, begin
