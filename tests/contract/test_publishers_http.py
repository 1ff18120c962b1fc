"""Several publishers over real HTTP, while requests of theirs fail at random: a Hypothesis state machine.

As ``test_publishers`` on a store in memory, with the registry client, its retries and its tokens between:
whatever fails, every tag stays complete, what ended well is what was asked for, what did not is finished by
the same again, and once more writes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
from anyarch.errors import AnyarchError, LostRaceError, NotFoundError, OlderRunError
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.store import RegistryStore
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote, rollback
from anyarch.release.publish import merge
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.builders import upload
from tests.contract.test_faults import DEADLINE_SECONDS
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Fault
from tests.releases import a_record
from tests.unit.registry.clocks import FakeClock
from tests.unit.release.test_publishers import BUILDS, SOME_TAGS, TAGS, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Operation: TypeAlias = Callable[[RegistryStore], Awaitable[str]]

PATH: Final = "team/app"
AT: Final = st.integers(0, 40)
FAULTS: Final = st.lists(
    st.one_of(
        st.builds(Fault, st.sampled_from(["reset before", "reset after", "truncated"]), at=AT),
        st.builds(Fault, st.just("expired token"), at=AT),
        st.builds(Fault, st.just("status"), st.sampled_from([429, 500, 502, 503]), at=AT),
        st.builds(Fault, st.just("status"), st.just(429), st.just({"Retry-After": "3"}), at=AT),
        # For good: it gives up, and has written what it has written.
        st.builds(Fault, st.just("reset after"), since=AT, times=st.just(1000)),
    ),
    max_size=3,
)


class PublishersOverHttp(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.registry = FakeRegistry(auth="bearer").start()
        self.slept: list[float] = []
        self.run = 0
        anyio.run(self._fill)
        self._publish(self._merge(0, TAGS), TAGS, [])

    def teardown(self) -> None:
        self.registry.stop()

    @rule(version=VERSIONS, tags=SOME_TAGS, faults=FAULTS)
    def merge(self, version: int, tags: Sequence[Tag], faults: list[Fault]) -> None:
        self._publish(self._merge(version, tags), tags, faults)

    @rule(source=st.sampled_from(TAGS), tags=SOME_TAGS, faults=FAULTS)
    def promote(self, source: Tag, tags: Sequence[Tag], faults: list[Fault]) -> None:
        digest = Digest.parse(self.tags[source.name])

        async def work(store: RegistryStore) -> str:
            mover = Mover(by="promote", force=True)
            done = await promote(store, digest, tags, mover=mover)
            return str(done.digest)

        self._publish(work, tags, faults)

    @rule(tag=st.sampled_from(TAGS), faults=FAULTS)
    def roll_back(self, tag: Tag, faults: list[Fault]) -> None:
        async def work(store: RegistryStore) -> str:
            return str((await rollback(store, tag)).digest)

        with suppress(NotFoundError):  # nothing to go back to
            digest, error = self._carried_out(work, faults)
            assert error is not None or self.tags[tag.name] == digest

    @rule(versions=st.tuples(VERSIONS, VERSIONS), tags=SOME_TAGS, faults=FAULTS)
    def two_runs_at_once(self, versions: tuple[int, int], tags: Sequence[Tag], faults: list[Fault]) -> None:
        works = [self._merge(version, tags) for version in versions]

        async def one(work: Operation) -> None:
            with suppress(AnyarchError):
                async with self._store() as store:
                    await work(store)

        async def both() -> None:
            async with anyio.create_task_group() as group:
                for work in works:
                    group.start_soon(one, work)

        self._disturb(faults)
        anyio.run(both)
        self._publish(self._merge(versions[0], tags), tags, [])

    @invariant()
    def every_tag_points_at_something_complete(self) -> None:
        assert self.registry.repositories.incomplete() == []

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.registry.repositories.by_name[PATH].tags)

    async def _fill(self) -> None:
        async with self._store() as store:
            for builds in BUILDS:
                await upload(store, *builds)

    def _store(self) -> RegistryStore:
        options = Options(
            credential=Credential(USERNAME, PASSWORD),
            deadline_seconds=DEADLINE_SECONDS,
            clock=FakeClock(slept=self.slept).clock,
        )
        return RegistryStore(Repository(self.registry.host, PATH), options)

    def _merge(self, version: int, tags: Sequence[Tag]) -> Operation:
        self.run += 1
        run = str(self.run)

        async def work(store: RegistryStore) -> str:
            records = [
                replace(a_record(build, repository=store.name), run_id=run, run_attempt=1)
                for build in BUILDS[version]
            ]
            return str((await merge(store, records, tags=tags)).digest)

        return work

    def _disturb(self, faults: Sequence[Fault]) -> None:
        """The faults themselves stay as they were drawn."""
        self.registry.seen.clear()
        self.registry.faults[:] = [replace(fault) for fault in faults]
        self.slept.clear()

    def _carried_out(self, work: Operation, faults: Sequence[Fault]) -> tuple[str, AnyarchError | None]:
        async def whole() -> str:
            async with self._store() as store:
                return await work(store)

        self._disturb(faults)
        try:
            return anyio.run(whole), None
        except (NotFoundError, LostRaceError, OlderRunError):
            raise  # all is there, and nobody else is
        except AnyarchError as error:
            if not faults:
                raise
            return "", error
        finally:
            self.registry.faults.clear()
            assert sum(self.slept) <= DEADLINE_SECONDS

    def _publish(self, work: Operation, tags: Sequence[Tag], faults: Sequence[Fault]) -> None:
        digest, error = self._carried_out(work, faults)
        if error is not None:
            digest, _ = self._carried_out(work, [])
        assert {self.tags[tag.name] for tag in tags} == {digest}
        self._carried_out(work, [])
        assert self.registry.writes == [], "the second identical run"


TestPublishersOverHttp = PublishersOverHttp.TestCase
TestPublishersOverHttp.settings = settings(
    max_examples=max(1, settings().max_examples // 5), stateful_step_count=8
)
