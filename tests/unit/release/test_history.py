"""The history of a tag: what it remembers, how it reads strangers' bytes, which way back it names."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import ContentError
from anyarch.oci import strict_json
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Image, Manifest
from anyarch.oci.reference import Tag
from anyarch.release.history import (
    MOVES_MAX,
    History,
    Move,
    Run,
    history_tag,
    is_history,
    is_history_tag,
    rfc3339_now,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import an_image, an_index
from tests.releases import a_build, a_record

if TYPE_CHECKING:
    from anyarch.release.history import By

LATEST = Tag("latest")
WHEN = "2026-01-31T12:00:00Z"
A, B, C, D = (Digest.of(word.encode()) for word in "abcd")


def a_move(digest: Digest, previous: Digest | None = None, by: By = "merge", run: Run | None = None) -> Move:
    return Move(digest=digest, previous=previous, when=WHEN, by=by, run=run)


def moved(*steps: Digest | str) -> History:
    """The history of a tag moved to each digest in turn; ``"back"`` behind one: by a rollback."""
    history, now = History(LATEST), None
    for number, step in enumerate(steps):
        if isinstance(step, str):
            continue
        back = steps[number + 1 : number + 2] == ("back",)
        history = history.after(a_move(step, now, "rollback" if back else "merge"))
        now = step
    return history


def read(manifest: Manifest) -> History:
    again = Manifest.from_bytes(manifest.raw, media_type=manifest.media_type)
    return History.from_manifest(again, LATEST, subject="history")


DIGESTS = st.binary(max_size=2).map(Digest.of)
MOVES = st.builds(
    Move,
    digest=DIGESTS,
    previous=st.none() | DIGESTS,
    when=st.just(WHEN),
    by=st.sampled_from(["merge", "promote", "rollback"]),
    run=st.none() | st.builds(Run, st.integers(0, 2**63 - 1), st.integers(1, 99)),
    revision=st.none() | st.text("0123456789abcdef-ü", min_size=1, max_size=64),
)


@given(st.lists(MOVES, max_size=20).map(tuple))
def test_what_was_written_is_read(moves: tuple[Move, ...]) -> None:
    history = History(LATEST, moves)
    assert read(history.manifest()) == history


@given(st.lists(MOVES, max_size=20).map(tuple), st.none() | DIGESTS)
def test_the_way_back_never_leads_to_where_the_tag_is(moves: tuple[Move, ...], now: Digest | None) -> None:
    back = History(LATEST, moves).before(now)
    assert back is None or back != now


@pytest.mark.parametrize(
    ("steps", "now", "back"),
    [
        pytest.param((), A, None, id="nothing known"),
        pytest.param((A,), A, None, id="the first release"),
        pytest.param((A, B), B, A, id="one step"),
        pytest.param((A, B, A, "back"), A, None, id="a second step back finds nothing earlier"),
        pytest.param((A, B, C, B, "back"), B, A, id="a second step back goes further"),
        pytest.param((A, B, C, B, "back", D), D, B, id="a release after a step back"),
        pytest.param((A, B, C, A, "back"), A, None, id="two steps back at once"),
        pytest.param((A, B, A), A, B, id="an old release published again is a step forward"),
        pytest.param((A, B, C, "back"), C, B, id="going back to what the history does not know"),
        pytest.param((A, B), C, B, id="somebody else moved the tag"),
        pytest.param((A, B), None, B, id="somebody deleted the tag"),
    ],
)
def test_the_way_back(steps: tuple[Digest | str, ...], now: Digest | None, back: Digest | None) -> None:
    assert moved(*steps).before(now) == back


def test_a_move_that_was_not_written_down_shows_in_the_next_one() -> None:
    history = History(LATEST, (a_move(A), a_move(C, B)))
    assert history.before(C) == B


def test_the_oldest_moves_are_forgotten() -> None:
    digests = [Digest.of(str(number).encode()) for number in range(MOVES_MAX + 5)]
    history = moved(*digests)
    assert [move.digest for move in history.moves] == digests[5:]
    assert read(history.manifest()) == history


def test_the_release_of_a_digest_is_the_move_that_knows_its_run() -> None:
    known, later = a_move(A, run=Run(7)), a_move(A, B, "rollback")
    assert History(LATEST, (known, a_move(B, A), later)).release_of(A) == known
    assert History(LATEST, (a_move(A), later)).release_of(A) == later
    assert History(LATEST).release_of(A) is None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("latest", id="short"),
        pytest.param("x" * 111, id="the longest that fits"),
        pytest.param("x" * 112, id="one longer"),
        pytest.param("x" * 128, id="the longest tag"),
    ],
)
def test_a_history_has_a_tag_of_its_own_that_is_no_release(name: str) -> None:
    tag = history_tag(Tag(name))
    assert Tag.parse(tag.name) == tag
    assert is_history_tag(tag.name)
    assert not is_history_tag(name)


def test_long_tags_do_not_share_a_history() -> None:
    assert history_tag(Tag("x" * 127 + "a")) != history_tag(Tag("x" * 127 + "b"))
    short = history_tag(Tag("x" * 112)).name.removeprefix("_anyarch.history")
    assert history_tag(Tag(short.removeprefix("-hash."))) != history_tag(Tag("x" * 112))


def test_an_image_is_no_history() -> None:
    assert is_history(moved(A).manifest())
    for manifest in (an_image().manifest, an_index(an_image())):
        assert not is_history(manifest)
        with pytest.raises(ContentError, match="is not the history of tag latest"):
            History.from_manifest(manifest, LATEST, subject="it")


def test_the_history_of_another_tag_is_refused() -> None:
    with pytest.raises(ContentError, match="is not the history of tag 1"):
        History.from_manifest(moved(A).manifest(), Tag("1"), subject="it")


def with_content(content: str) -> Image:
    """A history whose annotation is ``content``."""
    document = dict(moved(A).manifest().document)
    annotations = document["annotations"]
    assert isinstance(annotations, dict)
    document["annotations"] = {**annotations, "dev.anyarch.history": content}
    raw = strict_json.dumps(document)
    return replace(moved(A).manifest(), raw=raw, document=MappingProxyType(document))


def with_move(**changes: object) -> Image:
    content = {"schema": 1, "moves": [a_move(A, B, run=Run(7)).document() | changes]}
    return with_content(json.dumps(content))


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        pytest.param(with_content(""), "not valid JSON", id="nothing"),
        pytest.param(with_content("[]"), "expected a JSON object", id="a list"),
        pytest.param(with_content('{"moves": [], "moves": []}'), "duplicate keys", id="a key twice"),
        pytest.param(with_content('{"schema": 2, "moves": []}'), "schema: expected 1", id="another schema"),
        pytest.param(with_content('{"schema": 1}'), "moves: missing", id="no moves"),
        pytest.param(
            with_content(json.dumps({"schema": 1, "moves": [{}] * (MOVES_MAX + 1)})),
            "101 entries are more than the 100",
            id="too many moves",
        ),
        pytest.param(with_move(digest="sha256:beef"), r"moves\[0\]\.digest", id="no digest"),
        pytest.param(with_move(when="yesterday"), "is not a time", id="no time"),
        pytest.param(with_move(by="magic"), "expected merge or promote or rollback", id="unknown command"),
        pytest.param(with_move(run={"id": -1, "attempt": 1}), r"run\.id: expected 0", id="negative run"),
        pytest.param(with_move(run={"id": True, "attempt": 1}), r"run\.id: expected a whole", id="run true"),
        pytest.param(with_move(revision="\x1b[31m"), "control characters", id="escape sequence"),
        pytest.param(with_move(surprise=1), "unknown key", id="unknown field"),
    ],
)
def test_a_damaged_history_is_refused(manifest: Manifest, said: str) -> None:
    with pytest.raises(ContentError, match=said):
        read(manifest)


def test_runs_have_an_order() -> None:
    assert Run(7, 2) > Run(7, 1)
    assert Run(10) > Run(9, 3)
    assert str(Run(7, 2)) == "run 7 attempt 2"


@pytest.mark.parametrize(
    ("runs", "newest"),
    [
        pytest.param([("7", 1), ("7", 2)], Run(7, 2), id="attempts"),
        pytest.param([("7", 2), ("10", 1)], Run(10), id="numbers, not words"),
        pytest.param([("7", None)], Run(7), id="no attempt is the first"),
        pytest.param([("7", 1), (None, None)], None, id="one does not say"),
        pytest.param([("build-7", 1)], None, id="no number"),
        pytest.param([("\uff19", 1)], None, id="a digit of another script"),
        pytest.param([("9" * 19, 1)], None, id="a number beyond every counter"),
        pytest.param([], None, id="no records"),
    ],
)
def test_the_newest_run_of_records(runs: list[tuple[str | None, int | None]], newest: Run | None) -> None:
    build = a_build("linux/amd64")
    assert Run.newest([a_record(build, run_id=one, run_attempt=two) for one, two in runs]) == newest


def test_the_time_is_one_that_a_history_takes() -> None:
    history = History(LATEST, (replace(a_move(A), when=rfc3339_now()),))
    assert read(history.manifest()) == history
