"""Every request of every command that writes meets every fault in turn; the end is always the same.

Merge, also to several registries, promote, rollback, prune, images from another registry and from another
repository of the same one, with attestations and signatures, an upload in parts; with a token server and a
storage host of their own. Whatever goes wrong once is healed within the deadline, a second run writes
nothing, and nobody is shown a credential that is not for them. What ``run`` publishes goes the way of
``merge``. ``test_faults`` does the same to a store's own calls. Two processes share the work.

A run has one fault. Only of the statuses that end like 503, which has a schedule of that kind, a run meets
one at every seventh request: over seven runs each request meets it, and none of them another one.
"""

from __future__ import annotations

import copy
import json
import multiprocessing
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Final, cast

import anyio
import pytest
from anyarch.errors import AnyarchError, AuthenticationError
from anyarch.oci.manifest import Index
from anyarch.oci.reference import Repository, Tag
from anyarch.registry import upload as uploading
from anyarch.registry.bring import bring
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.referrers import list_referrers
from anyarch.registry.store import RegistryStore
from anyarch.registry.wire import Timeouts
from anyarch.release.assemble import Destination, Order, assemble
from anyarch.release.history import Run, is_history_tag
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote, rollback
from anyarch.release.prune.candidates import of_digests
from anyarch.release.prune.prune import prune
from anyarch.release.prune.survey import Places, Wishes
from anyarch.release.publish import merge
from anyarch.release.references import Reference

from tests.builders import a_referrer, an_attestation, an_image, an_index, blob_of, upload
from tests.contract.test_faults import DEADLINE_SECONDS
from tests.contract.test_resumed_uploads import Breaking
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Fault
from tests.releases import a_build, a_record
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from anyarch.oci.store import Store

    from tests.fake_registry import Action
    from tests.fake_repositories import Repository as Held
    from tests.fake_repositories import Seen

AMD, ARM = a_build("linux/amd64"), a_build("linux/arm64")
OLD: Final = an_image("linux/386")
FIRST, SECOND = an_index(AMD, OLD), an_index(AMD, ARM)
THEIRS: Final = a_build("linux/s390x")
ATTESTED: Final = an_attestation(THEIRS)
THIRD: Final = an_index(THEIRS, ATTESTED)
PLAIN: Final = an_index(THEIRS)
SIGNATURE: Final = a_referrer(THEIRS.manifest, b"signature")
COSIGN: Final = an_image("linux/s390x", files={"signature": b"cosign"})
FIXED, LATEST, STABLE = Tag("1.4.2"), Tag("latest"), Tag("stable")
WRITES: Final = {"PUT", "POST", "PATCH", "DELETE"}
PATH, STAGE, FAR = "team/app", "team/stage", "far/app"
PARTED: Final = bytes(range(256)) * 1200
PARTED_MIN_BYTES: Final = 100_000  # smaller than in life, for the sake of time
PROCESSES: Final = 2
NEXT_YEAR: Final = datetime.now(UTC) + timedelta(days=365)


@dataclass
class Scene:
    """A registry with two releases behind ``latest``, another with images to bring, and their helpers.

    Each registry's blobs are read from a storage host of its own.
    """

    registry: FakeRegistry
    source: FakeRegistry
    storages: tuple[FakeRegistry, FakeRegistry]
    start: Sequence[Mapping[str, Held]] = ()
    slept: list[float] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def registries(self) -> tuple[FakeRegistry, ...]:
        return (self.registry, self.source, *self.storages)

    def store(self, registry: FakeRegistry | None = None, path: str = PATH) -> RegistryStore:
        clock = FakeClock(slept=self.slept).clock
        if self.timeouts.document < 1:  # what another request sleeps must not take this one's time
            clock = replace(clock, now=time.monotonic)
        options = Options(
            credential=Credential(USERNAME, PASSWORD),
            deadline_seconds=DEADLINE_SECONDS,
            clock=clock,
            timeouts=self.timeouts,
        )
        return RegistryStore(Repository((registry or self.registry).host, path), options)

    def reset(self) -> None:
        for registry in self.registries:
            registry.faults.clear()
        for registry, start in zip((self.registry, self.source), self.start, strict=True):
            registry.repositories.by_name.clear()
            registry.repositories.by_name.update(copy.deepcopy(start))
        self.forget()

    def forget(self) -> None:
        """Count from 0 again."""
        for registry in self.registries:
            registry.seen.clear()
        self.slept.clear()
        self.warned.clear()

    def state(self) -> list[dict[str, object]]:
        """Of every repository blobs, manifests, what every tag points at, and histories, times aside."""
        return [
            _state(held)
            for registry in (self.registry, self.source)
            for _, held in sorted(registry.repositories.by_name.items())
        ]

    def require_good(self) -> None:
        """What holds at every moment."""
        assert self.registry.repositories.incomplete() + self.source.repositories.incomplete() == []
        assert all(not seen.authorization for each in self.storages for seen in each.seen)
        for registry, other in ((self.registry, self.source), (self.source, self.registry)):
            foreign = [token for token in other.tokens if token not in registry.tokens]
            shown = " ".join(seen.authorization for seen in registry.seen)
            assert not any(token in shown for token in foreign)


def _state(held: Held) -> dict[str, object]:
    state: dict[str, object] = {"": sorted(held.manifests.keys() - set(held.tags.values()))}
    for tag, digest in held.tags.items():
        document = json.loads(held.manifests[digest][1])
        if is_history_tag(tag):
            moves = json.loads(document["annotations"]["dev.anyarch.history"])["moves"]
            state[tag] = [{key: value for key, value in move.items() if key != "when"} for move in moves]
            state[""] = []  # the number of histories that were, is no matter
        else:
            state[tag] = digest
    return {**state, "blobs:": sorted(held.blobs)}


async def _merge(scene: Scene) -> None:
    async with scene.store() as store:
        records = [a_record(build, repository=store.name) for build in (AMD, ARM)]
        await merge(store, records, tags=[FIXED, LATEST], mover=Mover(run=Run(7)))


async def _merge_to_several(scene: Scene) -> None:
    async with scene.store() as store, scene.store(scene.source, FAR) as far:
        records = [a_record(AMD, repository=store.name)]
        tags = [FIXED, Tag("edge")]
        order = Order(records=records, tags=tags, also=[Destination(store=far, tags=tags)])
        await assemble(store, order, bring=bring)


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


async def _bring(scene: Scene, *, mounted: bool = False) -> None:
    other = scene.store(path=STAGE) if mounted else scene.store(scene.source)
    async with scene.store() as store, other as source:
        index = THIRD if mounted else PLAIN
        one = Reference(store=source, target=index.digest, name="theirs")
        order = Order(records=[], references=[one], sources=[], tags=[Tag("brought")], dry_run=False)
        scene.warned.extend((await assemble(store, order, bring=bring)).release.warnings)
    posts = [seen.query for seen in scene.registry.seen if seen.method == "POST"]
    assert all(("mount=" in query) == mounted for query in posts)


async def _upload_in_parts(scene: Scene) -> None:
    """What arrives breaks off once."""
    async with scene.store() as store:
        source = Breaking(len(PARTED) // 2, content=PARTED)
        await store.copy_blob(blob_of(PARTED), cast("Store", source))


COMMANDS: Final[Mapping[str, Callable[[Scene], Awaitable[None]]]] = {
    "merge": _merge,
    "merge to several registries": _merge_to_several,
    "promote": _promote,
    "rollback": _rollback,
    "prune": _prune,
    "merge from another registry": _bring,
    "merge from another repository of the registry": partial(_bring, mounted=True),
    "an upload in parts": _upload_in_parts,
}


@cache
def the_scene() -> Scene:
    """This process's own; its registries end with it."""
    uploading.RESUMED_MIN_BYTES = PARTED_MIN_BYTES  # type: ignore[misc]
    registry, source = (FakeRegistry(auth="bearer").start() for _ in range(2))
    ours, theirs = (FakeRegistry(repositories=each.repositories).start() for each in (registry, source))
    scene = Scene(registry, source, (ours, theirs))
    anyio.run(_fill, scene)
    registry.switches.blob_redirect, source.switches.blob_redirect = ours.origin, theirs.origin
    scene.start = [copy.deepcopy(each.repositories.by_name) for each in (registry, source)]
    return scene


async def _fill(scene: Scene) -> None:
    async with scene.store() as store:
        await upload(store, AMD, ARM, OLD)
        for number, index in ((1, FIRST), (2, SECOND)):
            await store.put(index.digest, index)
            await promote(store, index.digest, [LATEST], mover=Mover(run=Run(number), force=True))
    async with scene.store(scene.source) as store:
        await upload(store, THEIRS)
        await store.put(PLAIN.digest, PLAIN)
    async with scene.store(path=STAGE) as store:
        await upload(store, THEIRS, ATTESTED, SIGNATURE, COSIGN)
        await store.put(THIRD.digest, THIRD)
        listed = Index.build([SIGNATURE.manifest.descriptor])
        await store.put(Tag(f"sha256-{THEIRS.digest.hex}"), listed)
        await store.put(Tag(f"sha256-{THIRD.digest.hex}.sig"), COSIGN.manifest)


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
    method: str

    @property
    def writes(self) -> bool:
        return self.method in WRITES


def turns(scene: Scene) -> list[Turn]:
    """Every request that was seen."""
    return [
        Turn(number, seen.number, "" if seen.is_api else seen.kind, seen.method)
        for number, registry in enumerate(scene.registries)
        for seen in registry.seen
    ]


@cache
def whole(name: str) -> tuple[list[dict[str, object]], list[Turn]]:
    """Where an undisturbed run ends, and its requests; the second identical run writes nothing."""
    scene = the_scene()
    scene.reset()
    anyio.run(COMMANDS[name], scene)
    state, seen = scene.state(), turns(scene)
    if "parts" in name and not any(turn.method == "PATCH" for turn in seen):
        return whole.__wrapped__(name)  # asked before the registry had noticed the break: it began anew
    scene.forget()
    anyio.run(COMMANDS[name], scene)
    assert scene.registry.writes + scene.source.writes == []
    assert scene.state() == state
    return state, seen


def _once(action: Action, turn: Turn) -> Fault:
    return Fault(action, at=turn.at, kind=turn.kind)


def _status(status: int, turn: Turn, *, after: str = "") -> Fault:
    headers = {"Retry-After": after} if after else {}
    return Fault("status", status, headers, at=turn.at, kind=turn.kind, code="UNKNOWN")


def was_refused_twice(seen: Sequence[Seen]) -> bool:
    """Whether a request got 401, and again with the token that it was then given: that is final."""
    shown: dict[tuple[str, str, str, bytes], str] = {}
    for each in seen:
        which = (each.method, each.path, each.query, each.body)
        if not each.refused:
            shown.pop(which, None)
        elif shown.setdefault(which, each.authorization) != each.authorization:
            return True
    return False


def released(states: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """What tags point at; what histories say of a registry that lied is not held against them."""
    return [
        {tag: digest for tag, digest in state.items() if tag and not is_history_tag(tag)} for state in states
    ]


@dataclass(frozen=True)
class Schedule:
    """A fault, which requests it can make a difference to, and what may come of it."""

    fault: Callable[[Turn], Fault]
    concerns: Callable[[Turn], bool] = lambda _: True
    ends: Callable[[Scene, str], bool] | None = None  # healed, if nothing else is said
    every: int = 0  # as many requests apart within one run; 0: one in a run


def _is_healed(scene: Scene, name: str) -> bool:
    error = attempt(scene, name)
    assert error is None, error
    return False


def _fails_if_refused_twice(scene: Scene, name: str) -> bool:
    """It fails where the token that was taken away had only just been bought, and nowhere else."""
    error = attempt(scene, name)
    expected = any(was_refused_twice(each.seen) for each in scene.registries)
    assert (error is not None) == expected, error
    if error is not None:
        assert isinstance(error, AuthenticationError), error
        assert attempt(scene, name) is None
    return expected


def _is_found_out_or_has_no_effect(scene: Scene, name: str) -> bool:
    """What belongs to an image is an error, what is only attached a warning; again, and all is there."""
    error = attempt(scene, name)
    found_out = error is not None or bool(scene.warned)
    scene.warned.clear()
    assert not found_out or (attempt(scene, name), scene.warned) == (None, [])
    return found_out


SCHEDULES: Final[Mapping[str, Schedule]] = {
    "reset before the server did it": Schedule(partial(_once, "reset before")),
    "reset after the server did it": Schedule(partial(_once, "reset after"), lambda turn: turn.writes),
    "429 without Retry-After": Schedule(partial(_status, 429), every=7),
    "429 with seconds": Schedule(partial(_status, 429, after="3"), every=7),
    "429 with a date": Schedule(partial(_status, 429, after="Fri, 15 Jan 2027 08:00:05 GMT"), every=7),
    "500": Schedule(partial(_status, 500), every=7),
    "502": Schedule(partial(_status, 502), every=7),
    "503": Schedule(partial(_status, 503)),
    "truncated": Schedule(partial(_once, "truncated")),
    "slow": Schedule(partial(_once, "slow")),
    "an expired token": Schedule(
        partial(_once, "expired token"), lambda turn: not turn.kind, _fails_if_refused_twice
    ),
    "a lying digest": Schedule(
        partial(_once, "lying digest"), lambda turn: not turn.kind, _is_found_out_or_has_no_effect
    ),
}


def runs(of: Schedule, seen: Sequence[Turn]) -> list[list[tuple[int, Fault]]]:
    """The faults of each run. One that is met puts a try between the requests, so numbers go on longer."""
    if not of.every:
        return [[(turn.registry, of.fault(turn))] for turn in seen if of.concerns(turn)]
    kinds = {(turn.registry, turn.kind): turn for turn in seen}.values()
    return [
        [
            (kind.registry, of.fault(replace(kind, at=at)))
            for kind in kinds
            for at in range(first, 2 * len(seen), of.every)
        ]
        for first in range(of.every)
    ]


def carry_out(name: str, schedule: str, part: int) -> tuple[int, int, int]:
    """Every other run; of how many requests, how many faults were met, how many runs failed."""
    scene, of = the_scene(), SCHEDULES[schedule]
    scene.timeouts = Timeouts()
    state, seen = whole(name)
    if schedule == "slow":
        scene.timeouts = Timeouts(document=0.08, blob=0.08)
    met = failed = 0
    for faults in runs(of, seen)[part::PROCESSES]:
        scene.reset()
        for registry, fault in faults:
            scene.registries[registry].faults.append(fault)
        try:
            failed += (of.ends or _is_healed)(scene, name)
            if schedule == "a lying digest":
                assert released(scene.state()) == released(state)
            else:
                assert scene.state() == state
            assert sum(scene.slept) <= DEADLINE_SECONDS
        except Exception as error:  # noqa: BLE001  many cannot go from one process to another
            words = "".join(traceback.format_exception(error))
            raise AssertionError(f"{name}, {schedule}: {faults[0]}\n{words}") from None
        met += sum(fault.times == 0 for _, fault in faults)
    return len(seen), met, failed


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", COMMANDS)
def test_each_request_in_turn_meets_a_fault(workers: ProcessPoolExecutor, name: str, schedule: str) -> None:
    parts = [workers.submit(carry_out, name, schedule, part) for part in range(PROCESSES)]
    (count, *others), met, failed = zip(*(part.result() for part in parts), strict=True)
    assert others == [count] * (PROCESSES - 1), "the same requests in each process"
    if schedule in {"reset after the server did it", "an expired token", "a lying digest"} or "parts" in name:
        assert sum(met) > 0
    else:
        assert sum(met) >= count
    if schedule == "an expired token" or (schedule == "a lying digest" and "parts" not in name):
        assert sum(failed) > 0, "the one sent with the first token; each manifest that is written"
