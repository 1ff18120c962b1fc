"""Promotion, the way back, and the guard: verified first, remembered, never backwards by accident."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import (
    DeniedError,
    ImmutableTagError,
    LostRaceError,
    NotFoundError,
    OlderRunError,
    RegistryUnavailableError,
    VerifyFailedError,
)
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.release.history import Run, history_tag, is_history_tag
from anyarch.release.ledger import Mover, read_history
from anyarch.release.promote import promote, rollback
from anyarch.release.publish import Event, merge

from tests.builders import an_image, an_index
from tests.memory_store import fail_once
from tests.releases import REVISION, a_build, a_record, a_store, puts, released, three_builds

if TYPE_CHECKING:
    from anyarch.release.publish import Release
    from anyarch.release.record import Record

    from tests.memory_store import MemoryStore

pytestmark = pytest.mark.anyio

WHEN = "2026-01-31T12:00:00Z"
LATEST, STABLE, FIXED = Tag("latest"), Tag("stable"), Tag("1.4.2")
PROMOTE = Mover(by="promote", now=lambda: WHEN)


async def three_releases(runs: tuple[int | None, ...] = (7, 8, 9)) -> tuple[MemoryStore, list[Release]]:
    """Releases of one, two and three platforms by three CI runs; ``latest`` points at the last one."""
    store, records = await three_builds()
    done = [
        await merge(store, by_run(records[: number + 1], run), tags=[LATEST])
        for number, run in enumerate(runs)
    ]
    store.calls.clear()
    return store, done


def by_run(records: list[Record], run: int | None, attempt: int = 1) -> list[Record]:
    word = None if run is None else str(run)
    return [replace(each, run_id=word, run_attempt=attempt, revision=REVISION) for each in records]


async def test_a_promotion_moves_fixed_tags_first_and_remembers() -> None:
    store, (_, second, third) = await three_releases()
    await promote(store, second.digest, [STABLE], mover=PROMOTE)
    store.calls.clear()
    done = await promote(store, LATEST, [LATEST, STABLE, FIXED], mover=PROMOTE)
    assert done.digest == third.digest
    assert puts(store) == ["1.4.2", "stable"]
    assert [(str(each.tag), each.action, each.previous) for each in done.tags] == [
        ("1.4.2", "written", None),
        ("stable", "written", second.digest),
        ("latest", "unchanged", third.digest),
    ]
    (_, move) = (await read_history(store, STABLE)).moves
    assert (move.digest, move.previous, move.by, move.when) == (third.digest, second.digest, "promote", WHEN)
    assert (move.run, move.revision) == (Run(9), REVISION), "of the release, as its own tag's history tells"
    assert not (await read_history(store, FIXED)).moves, "it was new: nothing to go back to"
    assert done.warnings == ()


@pytest.mark.parametrize("name", ["1.0", "2026-11", "nightly"])
async def test_an_immutable_tag_of_any_name_leaves_latest_where_it_was(name: str) -> None:
    store, (first, _, third) = await three_releases()
    store.plant(Tag(name), first.index)
    store.plant(LATEST, first.index)
    store.hook = fail_once("put", name, ImmutableTagError(f"{name} is immutable"))
    with pytest.raises(ImmutableTagError) as caught:
        await promote(store, third.digest, [LATEST, Tag(name)], mover=PROMOTE)
    assert caught.value.hint == "no tag was moved"
    assert store.tagged[LATEST] == store.tagged[Tag(name)] == first.digest


async def test_a_second_identical_promotion_writes_nothing() -> None:
    store, _ = await three_releases()
    await promote(store, LATEST, [STABLE, FIXED])
    store.calls.clear()
    again = await promote(store, LATEST, [STABLE, FIXED])
    assert store.writes == []
    assert {each.action for each in again.tags} == {"unchanged"}


async def test_a_dry_run_tells_what_would_move_and_writes_nothing() -> None:
    store, _ = await three_releases()
    done = await promote(store, LATEST, [STABLE], dry_run=True)
    assert store.writes == []
    assert [each.action for each in done.tags] == ["planned"]
    back = await rollback(store, LATEST, dry_run=True)
    assert store.writes == []
    assert back.tags[0].action == "planned"


async def test_what_does_not_verify_is_not_promoted() -> None:
    store, (_, second, third) = await three_releases()
    with pytest.raises(VerifyFailedError, match="linux/arm64: missing"):
        await promote(store, second.digest, [STABLE], platforms=[Platform.parse("linux/arm64")])
    del store.manifests[third.index.manifests[0].digest]
    with pytest.raises(VerifyFailedError):
        await promote(store, LATEST, [STABLE])
    assert store.writes == []


async def test_a_history_is_not_promoted() -> None:
    store, _ = await three_releases()
    with pytest.raises(VerifyFailedError):
        await promote(store, history_tag(LATEST), [STABLE])
    assert store.writes == []


async def test_a_single_image_can_be_promoted() -> None:
    build = a_build("linux/amd64")
    store = await a_store(build)
    assert (await promote(store, build.digest, [STABLE])).digest == build.digest
    assert store.tagged[STABLE] == build.digest


async def test_a_tag_that_somebody_else_moves_meanwhile_is_a_lost_race() -> None:
    store, (first, _, _) = await three_releases()

    def meddle(name: str, subject: str) -> None:
        if (name, subject) == ("head", "stable") and STABLE in store.tagged:
            store.tagged[STABLE] = first.digest

    store.hook = meddle
    with pytest.raises(LostRaceError):
        await promote(store, LATEST, [STABLE])
    assert history_tag(STABLE) not in store.tagged, "a move that does not stand is not written down"


async def test_rolling_back_twice_goes_back_two_releases() -> None:
    store, (first, second, third) = await three_releases()
    done = await rollback(store, LATEST, mover=Mover(now=lambda: WHEN))
    assert (done.digest, done.tags[0].previous) == (second.digest, third.digest)
    assert (await rollback(store, LATEST)).digest == first.digest
    with pytest.raises(NotFoundError, match="its history knows nothing earlier"):
        await rollback(store, LATEST)
    moves = (await read_history(store, LATEST)).moves
    assert [(move.by, move.run) for move in moves[-2:]] == [("rollback", Run(8)), ("rollback", Run(7))]


async def test_going_back_to_what_is_gone_moves_nothing_and_says_so() -> None:
    store, (_, second, third) = await three_releases()
    del store.manifests[second.digest]
    with pytest.raises(NotFoundError, match=f"latest cannot go back to {second.digest}"):
        await rollback(store, LATEST)
    assert released(store)[LATEST] == third.digest
    assert store.writes == []


async def test_a_rollback_without_history_asks_for_a_digest() -> None:
    store, _ = await three_builds()
    store.plant(LATEST, an_index(an_image()))
    with pytest.raises(NotFoundError) as caught:
        await rollback(store, LATEST)
    assert "--to sha256:" in caught.value.hint


# No older run over a newer release.


async def test_an_older_run_that_finishes_late_moves_no_tag() -> None:
    store, records = await three_builds()
    newer = await merge(store, by_run(records, 10), tags=[LATEST, Tag("1")])
    store.calls.clear()
    with pytest.raises(OlderRunError) as caught:
        await merge(store, by_run(records[:2], 9), tags=[FIXED, LATEST, Tag("1")])
    assert store.writes == [], "neither the index nor the tags that were free"
    assert caught.value.offenders == (
        f"latest: expected run 9 or older, found run 10 at {newer.digest}",
        f"1: expected run 9 or older, found run 10 at {newer.digest}",
    )
    forced = await merge(store, by_run(records[:2], 9), tags=[LATEST], mover=Mover(force=True))
    assert released(store)[LATEST] == forced.digest


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((9, 1), (10, 1), id="a newer run"),
        pytest.param((9, 1), (9, 2), id="a newer attempt"),
        pytest.param((9, 1), (9, 1), id="the same run"),
        pytest.param((None, 1), (9, 1), id="the tag's run is not known"),
        pytest.param((9, 1), (None, 1), id="our run is not known"),
    ],
)
async def test_what_is_not_known_to_be_older_moves_tags(
    first: tuple[int | None, int], second: tuple[int | None, int]
) -> None:
    store, records = await three_builds()
    await merge(store, by_run(records[:2], *first), tags=[LATEST])
    release = await merge(store, by_run(records, *second), tags=[LATEST])
    assert released(store)[LATEST] == release.digest


async def test_an_older_attempt_of_the_same_run_is_older() -> None:
    store, records = await three_builds()
    await merge(store, by_run(records, 9, attempt=2), tags=[LATEST])
    with pytest.raises(OlderRunError, match="run 9 is older"):
        await merge(store, by_run(records[:2], 9), tags=[LATEST])


async def test_a_dry_run_is_refused_as_the_real_one_would_be() -> None:
    store, records = await three_builds()
    await merge(store, by_run(records, 10), tags=[LATEST])
    with pytest.raises(OlderRunError):
        await merge(store, by_run(records[:2], 9), tags=[LATEST], dry_run=True)


async def test_the_run_that_merges_counts_more_than_those_that_built() -> None:
    """Nothing changed since run 8, so that run 10 publishes what run 8 built."""
    store, records = await three_builds()
    await merge(store, by_run(records[:2], 9), tags=[LATEST])
    release = await merge(store, by_run(records, 8), tags=[LATEST], mover=Mover(run=Run(10)))
    assert released(store)[LATEST] == release.digest
    assert (await read_history(store, LATEST)).moves[-1].run == Run(10)


async def test_an_older_release_is_promoted_only_by_force() -> None:
    store, (_, second, third) = await three_releases()
    await promote(store, LATEST, [STABLE])
    with pytest.raises(OlderRunError, match="run 8 is older"):
        await promote(store, second.digest, [LATEST])
    await promote(store, second.digest, [LATEST], mover=Mover(by="promote", force=True))
    assert released(store) == {LATEST: second.digest, STABLE: third.digest}


async def test_after_a_rollback_the_next_run_counts_from_there() -> None:
    store, records = await three_builds()
    for run in (7, 10):
        await merge(store, by_run(records[: run // 3], run), tags=[LATEST])
    await rollback(store, LATEST)
    build = a_build("linux/s390x")
    later = await a_store(build)
    store.manifests |= later.manifests
    store.blobs |= later.blobs
    with pytest.raises(OlderRunError):
        await merge(store, by_run([*records, a_record(build)], 6), tags=[LATEST])
    await merge(store, by_run([*records, a_record(build)], 8), tags=[LATEST])


# What is written down must not be in the way of a release.


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param(("put", str(history_tag(LATEST))), id="the history"),
        pytest.param(
            ("copy_blob", str(Digest.of(b"{}"))),
            id="the empty blob",
        ),
    ],
)
async def test_a_history_that_cannot_be_written_is_a_warning(failing: tuple[str, str]) -> None:
    store, records = await three_builds()
    store.hook = fail_once(*failing, DeniedError("no such permission"))
    events: list[Event] = []
    release = await merge(store, records, tags=[LATEST, STABLE], on_event=events.append)
    assert set(released(store).values()) == {release.digest}
    (warning,) = release.warnings
    assert "the move is not in the history of latest" in warning
    assert [event.detail for event in events if event.action == "warning"] == [warning]


async def test_a_damaged_history_is_a_warning_and_stays() -> None:
    store, (_, second, _) = await three_releases()
    stranger = an_image(files={"app": b"not a history"})
    store.plant(history_tag(LATEST), stranger.manifest)
    done = await rollback(store, LATEST, second.digest)
    assert released(store)[LATEST] == second.digest
    (warning,) = done.warnings
    assert "is not the history of tag latest: delete the tag _anyarch.history.latest" in warning
    assert store.tagged[history_tag(LATEST)] == stranger.digest


async def test_a_registry_that_does_not_tell_the_history_moves_no_tag() -> None:
    """Without it nobody knows whether the release at the tag is newer."""
    store, (_, second, third) = await three_releases()
    store.hook = fail_once("get", str(history_tag(LATEST)), RegistryUnavailableError("down"))
    with pytest.raises(RegistryUnavailableError):
        await promote(store, second.digest, [LATEST])
    assert released(store)[LATEST] == third.digest


async def test_no_history_is_kept_where_none_is_wanted() -> None:
    store, records = await three_builds()
    await merge(store, records, tags=[LATEST], mover=Mover(history=False))
    assert not any(is_history_tag(tag.name) for tag in store.tagged)
    assert ("copy_blob", str(Digest.of(b"{}"))) not in store.calls


async def test_a_layout_directory_holds_images_only() -> None:
    build = a_build("linux/amd64")
    store = await a_store(build, name="oci:dist")
    await merge(store, [a_record(build, repository="oci:dist")], tags=[LATEST])
    await promote(store, LATEST, [STABLE])
    assert store.tagged.keys() == {LATEST, STABLE}
    assert not [call for call in store.calls if is_history_tag(call[1])]
