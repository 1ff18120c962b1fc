"""Prune: only what is old and what nothing needs goes, top down, and never anything else."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pytest
from anyarch.errors import ContentError, PruneError, RegistryUnavailableError
from anyarch.oci import strict_json
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import MANIFEST_MAX_BYTES, Index, Manifest
from anyarch.oci.reference import Tag
from anyarch.registry.layout import LayoutStore
from anyarch.release.history import EMPTY, EMPTY_CONTENT, History, Move, history_tag
from anyarch.release.prune.candidates import of_digests, of_records, releases_of
from anyarch.release.prune.note import NOTE_TAG, a_note, read_note
from anyarch.release.prune.prune import LOOK_MAX, prune
from anyarch.release.prune.survey import Places, Wishes
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import BuiltImage, an_attestation, an_image, an_index, upload
from tests.memory_store import MemoryStore
from tests.releases import a_record

if TYPE_CHECKING:
    from pathlib import Path

    from anyarch.oci.descriptor import Descriptor
    from anyarch.release.prune.prune import Pruning

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATEST, V1 = Tag("latest"), Tag("1.0.0")
WEEK = timedelta(days=7)


def days_ago(days: float) -> str:
    return (NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def image(word: str, platform: str = "linux/amd64", **more: Any) -> BuiltImage:  # noqa: ANN401  of an_image
    return an_image(platform, files={"app": word.encode()}, **more)


AMD, ARM = image("a"), image("a", "linux/arm64")
OLD_AMD, OLD_ARM = image("old"), image("old", "linux/arm64")


async def a_store(*images: BuiltImage, **tagged: Index) -> MemoryStore:
    store = MemoryStore()
    await upload(store, *images)
    store.blobs[EMPTY.digest] = EMPTY_CONTENT
    for name, index in tagged.items():
        await store.put(Tag(name), index)
    return store


async def a_history(store: MemoryStore, *moves: tuple[Digest, float], tag: Tag = LATEST) -> None:
    """Write down that a tag was moved to each digest, so many days ago."""
    history, before = History(tag), None
    for digest, days in moves:
        history = history.after(Move(digest=digest, previous=before, when=days_ago(days), by="merge"))
        before = digest
    await store.put(history_tag(tag), history.manifest())


async def pruned(store: MemoryStore, *named: Digest, dry_run: bool = False, **wishes: Any) -> Pruning:  # noqa: ANN401  of Wishes
    options = {"candidates": tuple(of_digests(named)), "kept_releases": 0, "older_than": WEEK, **wishes}
    store.calls.clear()
    return await prune(Places(store=store), Wishes(now=NOW, **options), dry_run=dry_run, now=lambda: NOW)


def deleted(store: MemoryStore) -> list[str]:
    """What was deleted, but for the note that a prune leaves while it works."""
    subjects = [subject for name, subject in store.calls if name == "delete"]
    return (
        subjects[:-1] if ("put", str(NOTE_TAG)) in store.calls and NOTE_TAG not in store.tagged else subjects
    )


def broken(store: MemoryStore) -> list[str]:
    """Every index that lacks a child."""
    return [
        f"{manifest.digest.short} lacks {child.digest.short}"
        for manifest in store.manifests.values()
        if isinstance(manifest, Index)
        for child in manifest.manifests
        if child.digest not in store.manifests
    ]


async def two_releases(**more: Any) -> tuple[MemoryStore, Index, Index]:  # noqa: ANN401  days of the moves
    """``latest`` was at an old release and is at a new one; both have AMD's sibling in common."""
    old, new = an_index(OLD_AMD, ARM), an_index(AMD, ARM)
    store = await a_store(AMD, ARM, OLD_AMD)
    await store.put(old.digest, old)
    await store.put(LATEST, new)
    await a_history(store, (old.digest, more.get("first", 90)), (new.digest, more.get("second", 30)))
    return store, old, new


async def test_a_release_that_its_tag_left_goes_and_what_is_shared_stays() -> None:
    store, old, new = await two_releases()
    done = await pruned(store)
    assert deleted(store) == [str(old.digest), str(OLD_AMD.digest)], "the index first"
    assert {ARM.digest, AMD.digest, new.digest} <= store.manifests.keys()
    assert broken(store) == []
    assert [(each.node.kind, each.why) for each in done.removed] == [
        ("index", "left by latest"),
        ("image", ""),
    ]
    assert done.removed[0].since == NOW - timedelta(days=30), "when it was left, not when it was made"


async def test_a_second_run_deletes_nothing() -> None:
    store, _, _ = await two_releases()
    await pruned(store)
    done = await pruned(store)
    assert (deleted(store), done.removed, done.gone) == ([], (), ())


async def test_a_dry_run_tells_the_same_and_deletes_nothing() -> None:
    store, old, _ = await two_releases()
    planned = await pruned(store, dry_run=True)
    assert store.writes == []
    assert old.digest in store.manifests
    assert (await pruned(store)).removed == planned.removed


@pytest.mark.parametrize(
    "wishes",
    [
        pytest.param({"kept_releases": 1}, id="a rollback may want it"),
        pytest.param({"older_than": timedelta(days=31)}, id="left not long enough ago"),
        pytest.param({"keep": frozenset({an_index(OLD_AMD, ARM).digest})}, id="in use elsewhere"),
    ],
)
async def test_an_earlier_release_stays(wishes: dict[str, Any]) -> None:
    store, _, _ = await two_releases()
    done = await pruned(store, **wishes)
    assert (deleted(store), done.removed) == ([], ())


async def test_a_fixed_tag_keeps_a_release_that_another_tag_left() -> None:
    store, old, _ = await two_releases()
    await store.put(V1, old)
    done = await pruned(store)
    assert deleted(store) == []
    assert [reason for _, reason in done.kept] == ["tag 1.0.0"]


async def test_what_is_kept_says_who_needs_it() -> None:
    store, _, new = await two_releases()
    done = await pruned(store, AMD.digest)
    reasons = {each.digest: reason for each, reason in done.kept}
    assert reasons[AMD.digest] == f"named by {new.digest.short}, which stays: tag latest"


async def test_a_release_that_somebody_else_took_a_tag_from_stays() -> None:
    """Nobody wrote down when the tag was moved: that may have been a minute ago."""
    store, old, new = await two_releases()
    other = an_index(OLD_ARM)
    await upload(store, OLD_ARM)
    await store.put(LATEST, other)
    done = await pruned(store, new.digest)
    assert [each.node.digest for each in done.removed] == [old.digest, OLD_AMD.digest]
    assert [reason for _, reason in done.kept] == ["latest can be rolled back to it"]


def test_gaps_in_a_history_count_as_left_when_they_were_found() -> None:
    a, b, c = (Digest.of(word.encode()) for word in "abc")
    moves = (
        Move(digest=a, previous=None, when=days_ago(9), by="merge"),
        Move(digest=c, previous=b, when=days_ago(5), by="merge"),
    )
    found = releases_of(History(LATEST, moves), c)
    assert {(each.digest, each.left) for each in found} == {
        (a, NOW - timedelta(days=5)),
        (b, NOW - timedelta(days=5)),
    }
    assert {each.digest: each.left for each in releases_of(History(LATEST, moves), None)}[c] is None


def record_of(build: BuiltImage, *, days: float | None) -> Any:  # noqa: ANN401  a Record
    return a_record(build, ended=None if days is None else days_ago(days))


async def test_a_build_that_was_never_merged_goes_when_it_is_old() -> None:
    store = await a_store(AMD, ARM, OLD_AMD, latest=an_index(AMD))
    records = [record_of(OLD_AMD, days=8), record_of(ARM, days=6), record_of(AMD, days=90)]
    done = await pruned(store, candidates=tuple(of_records(records)))
    assert deleted(store) == [str(OLD_AMD.digest)]
    reasons = {each.digest: reason for each, reason in done.kept}
    assert reasons[ARM.digest] == "6 d old"
    assert "tag latest" in reasons[AMD.digest]


async def test_what_two_tell_is_as_young_as_the_younger_says() -> None:
    store, old, _ = await two_releases()
    built_again = replace(record_of(OLD_AMD, days=1), image=old.descriptor)
    for candidates in ([*of_records([built_again])], [*of_records([built_again]), *of_digests([old.digest])]):
        done = await pruned(store, candidates=tuple(candidates))
        assert deleted(store) == []
        assert [reason for _, reason in done.kept] == ["24 h old"]


async def test_a_build_is_as_young_as_its_last_build_whatever_it_calls_itself() -> None:
    from_an_old_commit = image("x", annotations={"org.opencontainers.image.created": "2020-01-01T00:00:00Z"})
    store = await a_store(from_an_old_commit)
    await pruned(store, candidates=tuple(of_records([record_of(from_an_old_commit, days=1)])))
    assert deleted(store) == []


@pytest.mark.parametrize(
    ("created", "goes"),
    [
        pytest.param("2026-01-01T00:00:00Z", True, id="old"),
        pytest.param("2026-01-01T00:00:00.123456789+02:00", True, id="old, to the nanosecond, elsewhere"),
        pytest.param("2026-05-31T00:00:00Z", False, id="young"),
        pytest.param(None, False, id="nobody says"),
        pytest.param("1970-01-01T00:00:00Z", False, id="the epoch of reproducible builds"),
        pytest.param("0001-01-01T00:00:00Z", False, id="the year one"),
        pytest.param("2099-01-01T00:00:00Z", False, id="the future"),
        pytest.param("yesterday", False, id="no time"),
        pytest.param("2026-01-01T00:00:00", False, id="no time zone"),
        pytest.param(7, False, id="a number"),
    ],
)
async def test_what_is_named_goes_by_what_it_says_of_its_age(created: object, goes: bool) -> None:
    build = image("named", config_fields={} if created is None else {"created": created})
    store = await a_store(build)
    await pruned(store, build.digest)
    assert deleted(store) == ([str(build.digest)] if goes else [])


async def test_an_index_is_as_young_as_its_youngest_image() -> None:
    old = image("1", config_fields={"created": days_ago(50)})
    young = image("2", "linux/arm64", config_fields={"created": days_ago(2)})
    index = an_index(old, young)
    store = await a_store(old, young)
    await store.put(index.digest, index)
    await pruned(store, index.digest)
    assert deleted(store) == []


async def test_what_is_no_manifest_any_more_is_told() -> None:
    store = await a_store(AMD, latest=an_index(AMD))
    store.plant(ARM.digest, AMD.manifest)
    absent = Digest.of(b"absent")
    done = await pruned(store, absent, ARM.digest)
    assert [each.digest for each in done.gone] == [absent]
    assert [each.digest for each, _ in done.kept] == [ARM.digest], "damaged, and left alone"


async def test_attestations_live_with_their_image() -> None:
    shared, alone = an_attestation(AMD), an_attestation(OLD_AMD, statement=b'{"alone": 1}')
    old, new = an_index(AMD, OLD_AMD, shared, alone), an_index(AMD)
    store = await a_store(AMD, OLD_AMD, shared, alone)
    await store.put(old.digest, old)
    await store.put(LATEST, new)
    await a_history(store, (old.digest, 90), (new.digest, 30))
    await pruned(store)
    assert set(deleted(store)) == {str(old.digest), str(OLD_AMD.digest), str(alone.digest)}
    assert shared.digest in store.manifests, "its image stays"


def about(subject: BuiltImage, word: str = "signature") -> Manifest:
    document = {
        **image(word).manifest.document,
        "artifactType": f"application/vnd.example.{word}",
        "subject": subject.manifest.descriptor.to_oci(),
    }
    return Manifest.from_bytes(strict_json.dumps(document))


async def signed(by: Tag | None) -> tuple[MemoryStore, BuiltImage, Manifest]:
    """An old image that nothing names but a signature, which has a tag or is a referrer."""
    old = image("named", config_fields={"created": days_ago(90)})
    store = await a_store(old, image("signature"))
    signature = about(old)
    await store.put(by or signature.digest, signature)
    return store, old, signature


async def prune_asking(store: MemoryStore, named: Digest, referrer: Manifest, **wishes: Any) -> Pruning:  # noqa: ANN401  of Wishes
    async def referrers(digest: Digest) -> list[Descriptor]:
        return [referrer.descriptor] if referrer.subject and digest == referrer.subject.digest else []

    places = Places(store=store, referrers=referrers)
    options = Wishes(now=NOW, older_than=WEEK, candidates=tuple(of_digests([named])), **wishes)
    return await prune(places, options, now=lambda: NOW)


async def test_a_referrer_keeps_what_it_is_about() -> None:
    store, old, signature = await signed(None)
    done = await prune_asking(store, old.digest, signature)
    assert deleted(store) == []
    assert "a referrer (" in done.kept[0][1]


async def test_what_a_referrer_keeps_is_named_though_its_index_goes() -> None:
    """Nothing else names it then."""
    store, old, _ = await two_releases()
    await upload(store, image("signature"))
    signature = about(OLD_AMD)
    await store.put(signature.digest, signature)
    done = await prune_asking(store, old.digest, signature, kept_releases=0)
    assert deleted(store) == [str(old.digest)]
    assert [each.digest for each, _ in done.kept] == [OLD_AMD.digest]


async def test_referrers_go_first_where_that_is_wished() -> None:
    store, old, signature = await signed(None)
    await prune_asking(store, old.digest, signature, with_referrers=True)
    assert deleted(store) == [str(signature.digest), str(old.digest)]


@pytest.mark.parametrize("suffix", ["", ".sig", ".att"])
async def test_a_tag_that_is_about_a_digest_keeps_it(suffix: str) -> None:
    old = image("named", config_fields={"created": days_ago(90)})
    tag = Tag(f"sha256-{old.digest.hex}{suffix}")
    store = await a_store(old, image("signature"))
    await store.put(tag, image("signature").manifest)  # as cosign's: no subject inside
    assert (await pruned(store, old.digest)).removed == ()
    await pruned(store, old.digest, with_referrers=True)
    assert deleted(store) == [str(image("signature").digest), str(old.digest)]


async def test_what_is_about_a_release_that_stays_is_never_touched() -> None:
    store = await a_store(AMD, image("signature"), latest=an_index(AMD))
    await store.put(Tag(f"sha256-{AMD.digest.hex}.sig"), image("signature").manifest)
    await pruned(store, AMD.digest, image("signature").digest, with_referrers=True)
    assert deleted(store) == []


async def test_nothing_is_deleted_while_a_tag_cannot_be_read() -> None:
    store, _, _ = await two_releases()
    store.tagged[Tag("odd")] = Digest.of(b"its manifest is archived")
    with pytest.raises(PruneError) as caught:
        await pruned(store)
    assert deleted(store) == []
    assert caught.value.offenders[0].startswith("odd: ")


async def test_nothing_is_deleted_while_a_history_is_damaged() -> None:
    store, _, _ = await two_releases()
    await store.put(history_tag(V1), AMD.manifest)
    with pytest.raises(PruneError, match="cannot be told"):
        await pruned(store)
    assert deleted(store) == []


async def test_a_tag_that_vanished_between_list_and_look_is_no_failure() -> None:
    store, old, _ = await two_releases()
    await store.put(V1, an_index(AMD))

    def vanish(name: str, subject: str) -> None:
        if (name, subject) == ("get", "1.0.0"):
            store.tagged.pop(V1, None)

    store.hook = vanish
    await pruned(store)
    assert str(old.digest) in deleted(store)


@pytest.mark.parametrize("target", ["the index", "its image"])
async def test_a_tag_that_is_set_meanwhile_saves_what_it_needs(target: str) -> None:
    store, old, _ = await two_releases()
    time = [NOW]
    places, wishes = Places(store=store), Wishes(now=NOW, older_than=WEEK, kept_releases=0)
    saved: Manifest = old if target == "the index" else an_index(OLD_AMD)

    def now() -> datetime:
        if store.calls and V1 not in store.tagged and time[0] == NOW:
            store.plant(V1, saved)  # a rollback, while prune was reading
            time[0] += LOOK_MAX * 2
        return time[0]

    store.calls.clear()
    done = await prune(places, wishes, now=now)
    assert deleted(store) == ([] if target == "the index" else [str(old.digest)])
    assert OLD_AMD.digest in store.manifests
    if target == "the index":
        assert [reason for _, reason in done.kept] == ["tag 1.0.0, set meanwhile"]


async def test_tags_are_looked_at_again_when_the_last_look_is_too_long_ago() -> None:
    store, _, _ = await two_releases()
    time = [NOW]

    def slow(name: str, _: str) -> None:
        time[0] += LOOK_MAX * 1.1 if name == "delete" else timedelta()

    store.hook = slow
    store.calls.clear()
    await prune(Places(store=store), Wishes(now=NOW, older_than=WEEK, kept_releases=0), now=lambda: time[0])
    names = [name for name, _ in store.calls if name in {"tags", "delete"}]
    assert names == ["tags", "delete", "tags", "delete", "delete"], "the last one is the note"


@pytest.mark.parametrize("survived", range(1, 5))
async def test_interrupted_anywhere_nothing_is_broken_and_a_rerun_ends_the_same(survived: int) -> None:
    one, other = an_index(OLD_AMD, OLD_ARM), an_index(OLD_AMD)
    store = await a_store(AMD, OLD_AMD, OLD_ARM, latest=an_index(AMD))
    for index in (one, other):
        await store.put(index.digest, index)
    await a_history(store, (one.digest, 90), (other.digest, 60), (an_index(AMD).digest, 30))

    def dies(name: str, _: str) -> None:
        if [called for called, _ in store.calls].count("delete") == survived and name == "delete":
            raise RegistryUnavailableError("the cable")

    store.hook = dies
    with pytest.raises(RegistryUnavailableError):
        await pruned(store)
    assert broken(store) == []
    store.hook = None
    await pruned(store)
    assert {one.digest, other.digest, OLD_AMD.digest, OLD_ARM.digest} & store.manifests.keys() == set()
    assert broken(store) == []
    assert NOTE_TAG not in store.tagged


async def test_what_cannot_be_deleted_keeps_what_it_needs_and_fails_at_the_end() -> None:
    store, old, _ = await two_releases()

    def refuses(name: str, subject: str) -> None:
        if (name, subject) == ("delete", str(old.digest)):
            raise ContentError("referenced by an index of somebody else")

    store.hook = refuses
    with pytest.raises(PruneError, match="could not be") as caught:
        await pruned(store)
    assert old.digest in store.manifests
    assert OLD_AMD.digest in store.manifests
    assert broken(store) == []
    assert "somebody else" in caught.value.offenders[0]


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(AMD.manifest, id="an image"),
        pytest.param("{}", id="no schema"),
        pytest.param(
            '{"schema": 1, "left": [{"digest": "sha256:beef", "since": "2026-01-01"}]}', id="no digest"
        ),
        pytest.param('{"schema": 1, "left": [{"digest": 7}]}', id="numbers"),
        pytest.param("[]", id="a list"),
    ],
)
async def test_a_damaged_note_deletes_nothing(spoilt: Manifest | str) -> None:
    store, _, _ = await two_releases()
    if isinstance(spoilt, str):
        document = {**a_note([], {}).document, "annotations": {"dev.anyarch.prune": spoilt}}
        spoilt = Manifest.from_bytes(strict_json.dumps(document))
    store.plant(NOTE_TAG, spoilt)
    with pytest.raises(PruneError):
        await pruned(store)
    assert deleted(store) == []


def test_a_note_fits_a_manifest_however_much_is_left() -> None:
    digests = [Digest("sha256", f"{number:064x}") for number in range(10_005)]
    note = a_note(digests, dict.fromkeys(digests, NOW))
    assert note.size < MANIFEST_MAX_BYTES
    assert digests[9_999].hex in note.annotations["dev.anyarch.prune"]
    again = Manifest.from_bytes(a_note(digests[:3], dict.fromkeys(digests, NOW)).raw)
    assert [(each.digest, each.since) for each in read_note(again, subject="it")] == [
        (digest, NOW) for digest in digests[:3]
    ]


async def test_bytes_that_releases_share_are_counted_as_far_as_is_known() -> None:
    store, old, _ = await two_releases()
    done = await pruned(store, dry_run=True)
    content = sum(len(raw) for raw in OLD_AMD.blobs.values())
    assert (done.freed_bytes, done.exact) == (old.size + OLD_AMD.manifest.size + content, False)


class Files:
    """A layout whose files are all ``days`` old."""

    def __init__(self, folder: Path) -> None:
        self.store = LayoutStore(folder)
        self.blobs = folder / "blobs" / "sha256"

    def age(self, days: float, *digests: Digest) -> None:
        when = (NOW - timedelta(days=days)).timestamp()
        for path in [self.blobs / each.hex for each in digests] or self.blobs.iterdir():
            os.utime(path, (when, when))

    def names(self) -> set[str]:
        return {path.name for path in self.blobs.iterdir()}

    async def prune(self, *, dry_run: bool = False) -> Pruning:
        places = Places(store=self.store, inventory=self.store)
        return await prune(places, Wishes(now=NOW, older_than=WEEK), dry_run=dry_run, now=lambda: NOW)


def files_of(*images: BuiltImage) -> set[str]:
    return {digest.hex for each in images for digest in (each.digest, *each.blobs)}


async def test_a_layout_loses_every_file_that_its_index_does_not_need(tmp_path: Path) -> None:
    files = Files(tmp_path)
    old, new = an_index(OLD_AMD, ARM), an_index(AMD, ARM)
    await upload(files.store, AMD, ARM, OLD_AMD)
    await files.store.put(LATEST, old)
    await files.store.put(LATEST, new)
    files.age(30)
    before = sum(path.stat().st_size for path in files.blobs.iterdir())
    planned = await files.prune(dry_run=True)
    done = await files.prune()
    assert files.names() == files_of(AMD, ARM) | {new.digest.hex}
    assert done.exact
    assert done.freed_bytes == before - sum(path.stat().st_size for path in files.blobs.iterdir())
    assert planned.removed == done.removed
    assert done.removed[0].node.digest == old.digest
    assert (await files.prune()).removed == ()


async def test_an_entry_without_a_tag_keeps_what_it_names(tmp_path: Path) -> None:
    files = Files(tmp_path)
    await upload(files.store, AMD, ARM)
    await files.store.put(LATEST, AMD.manifest)
    path = tmp_path / "index.json"
    document = strict_json.loads_object(path.read_bytes(), subject="it", max_bytes=10_000)
    entries = document["manifests"]
    assert isinstance(entries, list)
    path.write_bytes(strict_json.dumps({**document, "manifests": [*entries, ARM.descriptor.to_oci()]}))
    files.age(30)
    assert (await files.prune()).removed == ()


async def test_a_young_manifest_keeps_the_old_files_that_it_needs(tmp_path: Path) -> None:
    """A run has put its image and has not tagged it yet; a layer of it was there from an earlier one."""
    files = Files(tmp_path)
    await upload(files.store, AMD, ARM)
    await files.store.put(LATEST, AMD.manifest)
    files.age(30)
    files.age(1, ARM.digest)
    assert (await files.prune()).removed == ()
    files.age(8, ARM.digest)
    await files.prune()
    assert files.names() == files_of(AMD)


async def test_a_layout_whose_index_names_what_is_damaged_loses_nothing(tmp_path: Path) -> None:
    files = Files(tmp_path)
    await upload(files.store, AMD, ARM)
    await files.store.put(LATEST, AMD.manifest)
    (files.blobs / AMD.digest.hex).write_bytes(b"{}")
    files.age(30)
    before = files.names()
    with pytest.raises(PruneError):
        await files.prune()
    assert files.names() == before


async def test_a_folder_that_is_no_layout_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "blobs" / "sha256" / AMD.digest.hex).write_bytes(b"mine")
    files = Files(tmp_path)
    files.age(30)
    await files.prune()
    assert files.names() == {AMD.digest.hex}


IMAGES = [image(str(number), platform) for number in range(3) for platform in ("linux/amd64", "linux/arm64")]
INDEXES = st.lists(st.sets(st.sampled_from(range(6)), min_size=1, max_size=4), min_size=1, max_size=5)


@given(
    INDEXES,
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40)), max_size=6),
    st.sets(st.integers(0, 4), max_size=2),
    st.integers(0, 2),
    st.none() | st.integers(0, 6),
)
async def test_whatever_the_repository_holds_no_tag_loses_anything_and_no_index_a_child(
    shapes: list[set[int]],
    moved: list[tuple[int, int]],
    fixed: set[int],
    kept_releases: int,
    dies_after: int | None,
) -> None:
    indexes = [an_index(*(IMAGES[each] for each in sorted(shape))) for shape in shapes]
    store = await a_store(*IMAGES)
    known = fixed | {each % len(indexes) for each, _ in moved}  # of any other index no registry tells
    for number, index in enumerate(indexes):
        if number in known:
            await store.put(index.digest, index)
        if number in fixed:
            await store.put(Tag(f"v{number}"), index)
    moves = [
        (indexes[each % len(indexes)].digest, days)
        for each, days in sorted(moved, key=itemgetter(1), reverse=True)
    ]
    if moves:
        await a_history(store, *moves)
        await store.put(LATEST, store.manifests[moves[-1][0]])
    tagged = dict(store.tagged)
    recent = {digest for (digest, _), (_, left) in pairwise(moves) if left < 7}

    def dies(name: str, _: str) -> None:
        if name == "delete" and dies_after is not None and len(deleted(store)) > dies_after:
            raise RegistryUnavailableError("the cable")

    store.hook = dies
    with suppress(RegistryUnavailableError):
        await pruned(store, kept_releases=kept_releases)
    assert broken(store) == []
    store.hook = None
    await pruned(store, kept_releases=kept_releases)
    assert broken(store) == []
    assert {tag: digest for tag, digest in store.tagged.items() if tag in tagged} == tagged
    assert {*tagged.values(), *recent} <= store.manifests.keys()
    again = await pruned(store, kept_releases=kept_releases)
    assert again.removed == ()
    assert NOTE_TAG not in store.tagged
    if kept_releases == 0:
        old = (
            {digest for (digest, _), (_, left) in pairwise(moves) if left >= 7}
            - recent
            - set(tagged.values())
        )
        needed = {
            child.digest
            for each in store.manifests.values()
            if isinstance(each, Index)
            for child in each.manifests
        }
        orphans = {
            child.digest for each in indexes if each.digest in old for child in each.manifests
        } - needed
        assert (old | orphans) & store.manifests.keys() == set(), "what is old and unneeded is all gone"
