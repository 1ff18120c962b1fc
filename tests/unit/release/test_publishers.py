"""Several publishers on one store, some of them killed, and a foreign tool among them.

A Hypothesis state machine: whatever the order, every tag stays complete, no older run overwrites a newer
release unforced, histories know what was moved, and the second identical run writes nothing. Rules are
plain functions around ``anyio.run``: drawing inside of a running loop crashes CPython 3.11.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING, Final, TypeAlias
from unittest.mock import patch

import anyio
import anyio.lowlevel
from anyarch.errors import (
    LostRaceError,
    NotFoundError,
    OlderRunError,
    RegistryProtocolError,
    RegistryUnavailableError,
    VerifyFailedError,
)
from anyarch.oci.manifest import Image, Index
from anyarch.oci.reference import Tag
from anyarch.release.history import History, Run, history_tag
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote, rollback
from anyarch.release.publish import merge
from anyarch.release.tag_order import is_floating
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.builders import BuiltImage, upload
from tests.memory_store import MemoryStore
from tests.releases import a_build, a_record, released

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.release.promote import Promotion
    from anyarch.release.publish import Release

    Operation: TypeAlias = Callable[[], Awaitable[Release | Promotion]]

DEADLINE_SECONDS: Final = 120.0
TAGS: Final = (Tag("1.0.0"), Tag("1.0"), Tag("latest"))
BUILDS: Final = tuple(
    tuple(
        a_build(platform, files={"app": f"{platform} {version}".encode()})
        for platform in ("linux/amd64", "linux/arm64")
    )
    for version in range(3)
)
VERSIONS: Final = st.sampled_from(range(len(BUILDS)))
SOME_TAGS: Final = st.lists(st.sampled_from(TAGS), min_size=1, unique=True)
PAUSES: Final = st.lists(st.integers(0, 20), min_size=1, max_size=8)
AT: Final = st.integers(1, 40)


class KilledError(Exception):
    """What no code catches, as nothing catches ``kill -9``."""


class Pausing(MemoryStore):
    """Another way to the same repository, on which some requests take longer than others."""

    def __init__(self, store: MemoryStore, pauses: Sequence[int]) -> None:
        super().__init__(store.name, None, store.calls, store.manifests, store.blobs, store.tagged)
        self._pauses = cycle(pauses)

    async def _called(self, name: str, subject: object) -> None:
        for _ in range(next(self._pauses)):
            await anyio.lowlevel.checkpoint()
        await super()._called(name, subject)


class Publishers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.run = 1
        self.slept = 0.0
        self.moment = 0
        self._sleep = patch.object(anyio, "sleep", self._no_sleep)
        self._sleep.start()
        anyio.run(self._upload, BUILDS[0])
        self._succeeds(self._merge(0, TAGS[2:], self.run), TAGS[2:])

    def teardown(self) -> None:
        self._sleep.stop()

    def _now(self) -> str:
        """A time of our own: with the real one, what is drawn would depend on when it is drawn."""
        self.moment += 1
        return f"2026-01-31T{self.moment // 3600:02}:{self.moment // 60 % 60:02}:{self.moment % 60:02}Z"

    async def _no_sleep(self, seconds: float) -> None:
        self.slept += seconds
        await anyio.lowlevel.checkpoint()

    # What publishers do.

    @rule(version=VERSIONS, tags=SOME_TAGS, age=st.integers(-3, 1), force=st.booleans())
    def merge(self, version: int, tags: Sequence[Tag], age: int, force: bool) -> None:
        run = max(1, self.run + age)
        self.run = max(self.run, run)
        self._carried_out(self._merge(version, tags, run, force=force), tags, Run(run), force=force)

    @rule(source=st.sampled_from(TAGS), tags=SOME_TAGS, force=st.booleans())
    def promote(self, source: Tag, tags: Sequence[Tag], force: bool) -> None:
        if source not in self.store.tagged:
            return
        run = self._run_of(self.store.tagged[source], [*tags, source])
        alone = isinstance(self._at(source), Image) and any(isinstance(self._at(tag), Index) for tag in tags)
        self._carried_out(self._promote(source, tags, force=force), tags, run, force=force, loses=alone)

    @rule(tag=st.sampled_from(TAGS))
    def roll_back(self, tag: Tag) -> None:
        now, target = self.store.tagged.get(tag), self._history(tag).step_back(self.store.tagged.get(tag))
        if target is None or not self._is_complete(target):
            with suppress(NotFoundError, VerifyFailedError):
                anyio.run(lambda: rollback(self.store, tag, mover=Mover(now=self._now)))
                raise AssertionError("there was nothing to go back to")
            return
        done = anyio.run(lambda: rollback(self.store, tag, mover=Mover(now=self._now)))
        assert done.digest == self.store.tagged[tag] == target
        last = self._history(tag).moves[-1]
        assert last.digest == target
        assert last.by == "rollback" or now == target

    @rule(version=VERSIONS, tags=SOME_TAGS, at=AT, killed=st.booleans())
    def merge_interrupted(self, version: int, tags: Sequence[Tag], at: int, killed: bool) -> None:
        self.run += 1
        self._interrupted(self._merge(version, tags, self.run), tags, at, killed=killed)

    @rule(tag=st.sampled_from(TAGS), at=AT, killed=st.booleans())
    def rollback_interrupted(self, tag: Tag, at: int, killed: bool) -> None:
        now = self.store.tagged.get(tag)
        target = self._history(tag).step_back(now)
        if target is None or not self._is_complete(target):
            return
        if self._history(tag).moves[-1].digest != now:
            return  # another tool moved it: that a step away from there was begun cannot be seen
        ended = self._disturbed(
            lambda: rollback(self.store, tag, mover=Mover(now=self._now)), at, killed=killed
        )
        if not ended:
            assert anyio.run(lambda: rollback(self.store, tag, mover=Mover(now=self._now))).digest == target
        assert self.store.tagged[tag] == target

    @rule(version=VERSIONS, tags=SOME_TAGS, at=AT, theirs=st.sampled_from(TAGS))
    def merge_while_a_foreign_tool_moves_a_tag(
        self, version: int, tags: Sequence[Tag], at: int, theirs: Tag
    ) -> None:
        self.run += 1
        stranger = BUILDS[version][0].manifest
        moved_at: list[int] = []

        def meddle(_name: str, _subject: str) -> None:
            if len(self.store.calls) == at:
                self.store.plant(theirs, stranger)
                moved_at.append(at)

        self.store.calls.clear()
        self.store.hook = meddle
        before = self.store.tagged.get(theirs)
        try:
            release = anyio.run(self._merge(version, tags, self.run))
        except (LostRaceError, RegistryProtocolError) as error:
            assert moved_at
            back = before == stranger.digest  # that may also be a replica which lags
            assert isinstance(error, RegistryProtocolError) == back  # noqa: PT017  it may also win
            assert error.facts["tag"] == str(theirs)  # noqa: PT017  it may also win
            return
        finally:
            self.store.hook = None
        if moved_at and theirs in tags and self.store.tagged[theirs] == stranger.digest:
            looked = [n for n, call in enumerate(self.store.calls, 1) if call == ("head", str(theirs))]
            assert max(looked) < at, "who looks after it sees it"
        for tag in set(tags) - {theirs}:
            assert self.store.tagged[tag] == release.digest

    @rule(
        versions=st.tuples(VERSIONS, VERSIONS),
        tags=SOME_TAGS,
        pauses=st.tuples(PAUSES, PAUSES),
        force=st.booleans(),
    )
    def two_runs_at_once(
        self,
        versions: tuple[int, int],
        tags: Sequence[Tag],
        pauses: tuple[list[int], list[int]],
        force: bool,
    ) -> None:
        """Whatever comes between what: the tags end at one of the two, and the way back stays right."""
        works = []
        for version, pause in zip(versions, pauses, strict=True):
            self.run += 1
            theirs = Pausing(self.store, pause)
            works.append(self._merge(version, tags, self.run, force=force, store=theirs))
        done = anyio.run(self._both, works)
        ours = [each.digest for each in done if each is not None]
        for tag in tags:
            assert len(ours) < 2 or self.store.tagged[tag] in ours
        self._succeeds(self._merge(versions[0], tags, self.run + 1, force=True), tags)
        self.run += 1

    # What others do.

    @rule(tag=st.sampled_from(TAGS), version=VERSIONS)
    def a_foreign_tool_moves_a_tag(self, tag: Tag, version: int) -> None:
        anyio.run(self._upload, BUILDS[version])
        self.store.plant(tag, BUILDS[version][1].manifest)

    @rule(tag=st.sampled_from(TAGS), history_too=st.booleans())
    def somebody_deletes_a_tag(self, tag: Tag, history_too: bool) -> None:
        self.store.tagged.pop(tag, None)
        if history_too:
            self.store.tagged.pop(history_tag(tag), None)

    @precondition(lambda self: self._untagged())
    @rule(data=st.data())
    def a_lifecycle_rule_deletes_what_no_tag_needs(self, data: st.DataObject) -> None:
        del self.store.manifests[data.draw(st.sampled_from(self._untagged()))]

    # What holds at every moment.

    @invariant()
    def every_tag_points_at_something_complete(self) -> None:
        for digest in self.store.tagged.values():
            self._require_complete(digest)

    @invariant()
    def every_history_can_be_read(self) -> None:
        for tag in TAGS:
            self._history(tag)

    @invariant()
    def no_operation_waits_longer_than_its_deadline(self) -> None:
        assert self.slept <= DEADLINE_SECONDS
        self.slept = 0.0

    # How.

    def _merge(
        self,
        version: int,
        tags: Sequence[Tag],
        run: int,
        *,
        force: bool = False,
        store: MemoryStore | None = None,
    ) -> Operation:
        records = [replace(a_record(build), run_id=str(run), run_attempt=1) for build in BUILDS[version]]

        async def work() -> Release:
            await self._upload(BUILDS[version])
            return await merge(
                store or self.store, records, tags=tags, mover=Mover(force=force, now=self._now)
            )

        return work

    async def _both(self, works: Sequence[Operation]) -> list[Release | Promotion | None]:
        """What each of them ends with; None for a race lost or a newer run found."""
        done: list[Release | Promotion | None] = [None] * len(works)

        async def one(number: int) -> None:
            with suppress(LostRaceError, OlderRunError):
                done[number] = await works[number]()

        async with anyio.create_task_group() as group:
            for number in range(len(works)):
                group.start_soon(one, number)
        return done

    def _promote(self, source: Tag, tags: Sequence[Tag], *, force: bool) -> Operation:
        mover = Mover(by="promote", force=force, now=self._now)
        return lambda: promote(self.store, source, tags, mover=mover)

    async def _upload(self, builds: Sequence[BuiltImage]) -> None:
        await upload(self.store, *(build for build in builds if build.digest not in self.store.manifests))

    def _carried_out(
        self,
        work: Operation,
        tags: Sequence[Tag],
        run: Run | None,
        *,
        force: bool,
        loses: bool = False,
    ) -> None:
        """Carry an operation out; whether a guard must stop it is worked out here once more."""
        before = released(self.store)
        newer = [tag for tag in tags if self._is_newer(tag, run)]
        try:
            self._succeeds(work, tags)
        except OlderRunError:
            assert newer
            assert not force
            assert released(self.store) == before
            return
        except VerifyFailedError:
            assert loses
            assert not force
            assert released(self.store) == before
            return
        assert force or not loses, "a tag would have lost a platform"
        moved = [tag for tag in newer if released(self.store)[tag] != before[tag]]
        assert force or not moved

    def _succeeds(self, work: Operation, tags: Sequence[Tag]) -> None:
        before = released(self.store)
        done = anyio.run(work)
        assert done.warnings == ()
        self._require_written_down(tags, before, done.digest)
        self.store.calls.clear()
        anyio.run(work)
        assert self.store.writes == [], "the second identical run"

    def _require_written_down(self, tags: Sequence[Tag], before: dict[Tag, Digest], now: Digest) -> None:
        for tag in tags:
            assert self.store.tagged[tag] == now
            moves = self._history(tag).moves
            if is_floating(tag) or moves:
                assert moves[-1].digest == now
            if tag in before and before[tag] != now:
                assert moves[-1].previous == before[tag]

    def _interrupted(self, work: Operation, tags: Sequence[Tag], at: int, *, killed: bool) -> None:
        if self._disturbed(work, at, killed=killed):
            return
        self.every_tag_points_at_something_complete()
        done = anyio.run(work)
        for tag in tags:
            assert self.store.tagged[tag] == done.digest
            moves = self._history(tag).moves
            assert not (is_floating(tag) or moves) or moves[-1].digest == done.digest
        self.store.calls.clear()
        anyio.run(work)
        assert self.store.writes == []

    def _disturbed(self, work: Operation, at: int, *, killed: bool) -> bool:
        """Run with a fault at one request; whether it came to its end all the same."""
        self.store.calls.clear()

        def fail(_name: str, _subject: str) -> None:
            if len(self.store.calls) >= at if killed else len(self.store.calls) == at:
                raise KilledError if killed else RegistryUnavailableError("down")

        self.store.hook = fail
        try:
            anyio.run(work)
        except (KilledError, RegistryUnavailableError):
            return False
        finally:
            self.store.hook = None
        return True

    def _at(self, tag: Tag) -> Manifest | None:
        digest = self.store.tagged.get(tag)
        return None if digest is None else self.store.manifests[digest]

    def _history(self, tag: Tag) -> History:
        digest = self.store.tagged.get(history_tag(tag))
        if digest is None:
            return History(tag)
        return History.from_manifest(self.store.manifests[digest], tag, subject="it")

    def _run_of(self, digest: Digest, tags: Sequence[Tag]) -> Run | None:
        """Which run a release is of, as the histories that are looked at tell."""
        found = [self._history(tag).release_of(digest) for tag in tags]
        return max((each.run for each in found if each and each.run), default=None)

    def _is_newer(self, tag: Tag, run: Run | None) -> bool:
        digest = self.store.tagged.get(tag)
        known = self._history(tag).release_of(digest) if digest else None
        return run is not None and known is not None and known.run is not None and known.run > run

    def _untagged(self) -> list[Digest]:
        needed = set(self.store.tagged.values())
        for digest in tuple(needed):
            found = self.store.manifests[digest]
            needed |= {child.digest for child in found.manifests} if isinstance(found, Index) else set()
        return sorted(self.store.manifests.keys() - needed, key=str)

    def _is_complete(self, digest: Digest) -> bool:
        try:
            self._require_complete(digest)
        except KeyError:  # a lifecycle rule deleted it, or an image that it lists
            return False
        return True

    def _require_complete(self, digest: Digest) -> None:
        found = self.store.manifests[digest]
        if isinstance(found, Index):
            for child in found.manifests:
                self._require_complete(child.digest)
        else:
            assert isinstance(found, Image)
            assert all(blob.digest in self.store.blobs for blob in (found.config, *found.layers))


TestPublishers = Publishers.TestCase
TestPublishers.settings = settings(max_examples=settings().max_examples // 3, stateful_step_count=12)
