"""Histories after interruptions and among several writers: what was moved is known in the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import OlderRunError, RegistryUnavailableError
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.release.history import History, Move, Run, history_tag
from anyarch.release.ledger import Mover, read_history
from anyarch.release.promote import promote, rollback
from anyarch.release.publish import merge

from tests.builders import an_image, upload
from tests.memory_store import MemoryStore
from tests.releases import THREE, released, three_builds

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyarch.oci.digest import Digest
    from anyarch.release.record import Record

pytestmark = pytest.mark.anyio

WHEN = "2026-01-31T12:00:00Z"
LATEST, STABLE, FIXED = Tag("latest"), Tag("stable"), Tag("1.4.2")
STRANGER = an_image(files={"app": b"somebody else's"})


class KilledError(Exception):
    """What no code catches."""


def killed_at(name: str, subject: str) -> Callable[[str, str], None]:
    def hook(called: str, about: str) -> None:
        if (called, about) == (name, subject):
            raise KilledError

    return hook


async def two_releases() -> tuple[MemoryStore, list[Record], list[Digest]]:
    store, records = await three_builds()
    digests = [(await merge(store, by_run(records[:n], n), tags=[LATEST])).digest for n in (1, 2)]
    store.calls.clear()
    return store, records, digests


def by_run(records: list[Record], run: int) -> list[Record]:
    return [replace(each, run_id=str(run), run_attempt=1) for each in records]


async def moves(store: MemoryStore, tag: Tag = LATEST) -> list[tuple[str, Digest, Digest | None]]:
    return [(move.by, move.digest, move.previous) for move in (await read_history(store, tag)).moves]


async def test_a_rerun_writes_down_what_a_killed_run_moved() -> None:
    store, records, (_, second) = await two_releases()
    store.hook = killed_at("put", str(history_tag(LATEST)))
    with pytest.raises(KilledError):
        await merge(store, by_run(records, 3), tags=[LATEST, FIXED])
    store.hook = None
    store.calls.clear()
    release = await merge(store, by_run(records, 3), tags=[LATEST, FIXED])
    assert store.writes == [("put", str(history_tag(LATEST)))], "and nothing else"
    assert (await moves(store))[-1] == ("merge", release.digest, second)
    assert (await read_history(store, LATEST)).moves[-1].run == Run(3)
    with pytest.raises(OlderRunError):
        await merge(store, by_run(records[:1], 2), tags=[LATEST])
    store.calls.clear()
    await merge(store, by_run(records, 3), tags=[LATEST, FIXED])
    assert store.writes == []


async def test_a_rerun_of_the_first_release_begins_its_history() -> None:
    store, records = await three_builds()
    store.hook = killed_at("put", str(history_tag(LATEST)))
    with pytest.raises(KilledError):
        await merge(store, records, tags=[LATEST, FIXED])
    store.hook = None
    release = await merge(store, records, tags=[LATEST, FIXED])
    assert await moves(store) == [("merge", release.digest, None)]
    assert history_tag(FIXED) not in store.tagged


async def test_a_rollback_that_was_killed_after_its_step_takes_no_second_one() -> None:
    """Asked from what the history knows, the next step would lead forward to the release just left."""
    store, _, (first, second) = await two_releases()
    store.hook = killed_at("put", str(history_tag(LATEST)))
    with pytest.raises(KilledError):
        await rollback(store, LATEST)
    assert released(store)[LATEST] == first
    store.hook = None
    done = await rollback(store, LATEST)
    assert (done.digest, done.tags[0].action) == (first, "unchanged")
    assert (await moves(store))[-1] == ("rollback", first, second)


async def test_a_promotion_that_was_killed_is_written_down_by_the_next() -> None:
    store, _, (first, second) = await two_releases()
    await promote(store, first, [STABLE])
    store.hook = killed_at("put", str(history_tag(STABLE)))
    with pytest.raises(KilledError):
        await promote(store, second, [STABLE])
    store.hook = None
    await promote(store, second, [STABLE], mover=Mover(by="promote"))
    assert await moves(store, STABLE) == [("promote", first, None), ("promote", second, first)]


async def test_a_move_that_another_run_wrote_meanwhile_is_kept() -> None:
    """Between our first look at the history and our writing of it lies a whole release."""
    store, records, (first, second) = await two_releases()
    theirs = Move(digest=STRANGER.digest, previous=second, when=WHEN, by="promote")
    before = await read_history(store, LATEST)

    def meddle(name: str, subject: str) -> None:
        if (name, subject) == ("put", "latest"):
            store.plant(history_tag(LATEST), before.after(theirs).manifest())

    store.hook = meddle
    release = await merge(store, records, tags=[LATEST])
    assert [digest for _, digest, _ in await moves(store)] == [first, second, STRANGER.digest, release.digest]
    assert release.warnings == ()


@pytest.mark.parametrize(("times", "warned"), [(1, False), (2, False), (99, True)])
async def test_where_others_write_too_ours_is_looked_for_and_added_again(times: int, warned: bool) -> None:
    store, records, _ = await two_releases()
    written: list[int] = []

    def meddle(name: str, subject: str) -> None:
        """Another run writes over what is there: first as the tag moves, then each time after us."""
        ours = (name, subject) == ("get", str(history_tag(LATEST))) and len(written) > 0
        if ((name, subject) == ("put", "latest") or ours) and len(written) <= times:
            written.append(1)
            theirs = Move(
                digest=STRANGER.digest, previous=None, when=f"{WHEN[:-3]}{len(written):02}Z", by="merge"
            )
            store.plant(history_tag(LATEST), History(LATEST, (theirs,)).manifest())

    store.hook = meddle
    release = await merge(store, records, tags=[LATEST])
    assert bool(release.warnings) == warned
    assert (("merge", release.digest) in [each[:2] for each in await moves(store)]) != warned


async def test_a_registry_that_fails_at_the_second_look_fails_no_release() -> None:
    store, records, _ = await two_releases()

    def down(name: str, subject: str) -> None:
        if name == "get" and subject == str(history_tag(LATEST)) and ("put", "latest") in store.calls:
            raise RegistryUnavailableError("down")

    store.hook = down
    release = await merge(store, records, tags=[LATEST])
    assert release.warnings == ()
    store.hook = None
    assert (await moves(store))[-1][1] == release.digest


async def test_two_runs_one_behind_the_other_lose_no_entry() -> None:
    store, records, _ = await two_releases()
    build = an_image("linux/s390x")
    await upload(store, build)
    other = MemoryStore(store.name, None, [], store.manifests, store.blobs, store.tagged)

    async def overtake() -> None:
        await promote(other, build.digest, [LATEST], mover=Mover(by="promote", force=True))

    class Between(MemoryStore):
        async def put(self, target, manifest):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if target == LATEST:
                await overtake()
            await super().put(target, manifest)

    slow = Between(store.name, None, [], store.manifests, store.blobs, store.tagged)
    release = await merge(slow, records, tags=[LATEST])
    assert [digest for _, digest, _ in await moves(store)][-2:] == [build.digest, release.digest]


NEWER = Move(digest=STRANGER.digest, previous=None, when=WHEN, by="merge", run=Run(9))


def newer_run_comes(store: MemoryStore, before: History, *, at: tuple[str, str]) -> None:
    """A newer run moves ``latest`` and writes that down, just before a call of ours."""

    def meddle(name: str, subject: str) -> None:
        if (name, subject) == at:
            store.hook = None
            store.plant(LATEST, STRANGER.manifest)
            store.plant(history_tag(LATEST), before.after(NEWER).manifest())

    store.hook = meddle


async def test_a_newer_run_that_came_meanwhile_gets_its_tag_back() -> None:
    store, records, _ = await two_releases()
    await upload(store, STRANGER)
    newer_run_comes(store, await read_history(store, LATEST), at=("put", "latest"))
    with pytest.raises(OlderRunError, match="older than what came while it was publishing") as failed:
        await merge(store, by_run(records, 8), tags=[FIXED, LATEST])
    assert failed.value.offenders == (f"latest: points at {STRANGER.digest} of run 9 again",)
    assert store.tagged[LATEST] == STRANGER.digest
    assert FIXED in store.tagged, "nobody else wanted that one"
    assert (await moves(store))[-1] == ("merge", STRANGER.digest, None)
    store.calls.clear()
    with pytest.raises(OlderRunError):
        await merge(store, by_run(records, 8), tags=[FIXED, LATEST])
    assert store.writes == []


async def test_a_promotion_gives_a_newer_runs_tag_back_too() -> None:
    store, _, (first, _) = await two_releases()
    await upload(store, STRANGER)
    newer_run_comes(store, await read_history(store, LATEST), at=("put", "latest"))
    with pytest.raises(OlderRunError):
        await promote(
            store,
            first,
            [LATEST],
            platforms=[Platform.parse(THREE[0])],
            mover=Mover(by="promote", run=Run(8)),
        )
    assert store.tagged[LATEST] == STRANGER.digest


@pytest.mark.parametrize(
    ("run", "force"), [pytest.param(8, True, id="by force"), pytest.param(9, False, id="of the same run")]
)
async def test_who_may_move_it_keeps_what_it_moved(run: int, force: bool) -> None:
    store, records, (_, second) = await two_releases()
    await upload(store, STRANGER)
    newer_run_comes(store, await read_history(store, LATEST), at=("put", "latest"))
    release = await merge(store, by_run(records, run), tags=[LATEST], mover=Mover(force=force))
    assert store.tagged[LATEST] == release.digest
    assert [each[1] for each in await moves(store)][-3:] == [second, STRANGER.digest, release.digest]


async def test_a_newer_release_that_was_deleted_since_is_not_given_back() -> None:
    store, records, _ = await two_releases()
    newer_run_comes(store, await read_history(store, LATEST), at=("put", "latest"))

    release_of = merge(store, by_run(records, 8), tags=[LATEST])
    real = store.get

    async def get(target):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if target == STRANGER.digest:
            store.manifests.pop(target, None)
        return await real(target)

    store.get = get  # type: ignore[method-assign]
    release = await release_of
    assert store.tagged[LATEST] == release.digest


async def test_a_newer_run_that_came_between_two_reads_is_seen_before_anything_moves() -> None:
    """The tags are read first and the histories after them; between the two somebody moved a tag."""
    store, records, _ = await two_releases()
    await upload(store, STRANGER)
    newer_run_comes(store, await read_history(store, LATEST), at=("get", str(history_tag(LATEST))))
    store.calls.clear()
    with pytest.raises(OlderRunError, match="no tag was moved"):
        await merge(store, by_run(records, 8), tags=[LATEST])
    assert store.writes == []


async def test_a_fixed_tag_that_was_deleted_goes_on_with_the_history_it_had() -> None:
    store, records, (first, second) = await two_releases()
    for digest in (first, second):
        await promote(store, digest, [FIXED], mover=Mover(force=True))
    del store.tagged[FIXED]
    release = await merge(store, records, tags=[FIXED])
    assert [each[1] for each in await moves(store, FIXED)] == [second, release.digest]
    store.calls.clear()
    await merge(store, records, tags=[FIXED])
    assert store.writes == []
