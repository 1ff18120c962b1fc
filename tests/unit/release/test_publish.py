"""Publishing: checks first, tags last, nothing twice; any interruption is safe."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from anyarch.errors import (
    AnyarchError,
    ImmutableTagError,
    LostRaceError,
    MergeRefusedError,
    PlanMismatchError,
    RegistryProtocolError,
    RegistryUnavailableError,
)
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Image, Index
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.release import tagging
from anyarch.release.history import history_tag, is_history_tag
from anyarch.release.ledger import Mover
from anyarch.release.publish import Event, gather, merge

from tests.builders import an_attestation, an_image, an_index
from tests.memory_store import MemoryStore, fail_once
from tests.releases import (
    REPOSITORY,
    a_build,
    a_plan,
    a_record,
    a_store,
    planned,
    puts,
    released,
    three_builds,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.store import Store
    from anyarch.release.publish import Release
    from anyarch.release.record import Record

pytestmark = pytest.mark.anyio

TAGS = tuple(map(Tag, ("latest", "1.2.3", "1", "1.2")))
VERSION, LATEST = Tag("1.2.3"), Tag("latest")
OLD = an_index(an_image("linux/amd64"))


async def published(store: MemoryStore, records: list[Record]) -> Release:
    release = await merge(store, records, tags=TAGS)
    store.calls.clear()
    return release


async def with_old_tags() -> tuple[MemoryStore, list[Record]]:
    store, records = await three_builds()
    for tag in TAGS:
        store.plant(tag, OLD)
    store.calls.clear()
    return store, records


async def test_the_index_is_written_by_digest_and_then_the_tags_from_fixed_to_floating() -> None:
    store, records = await three_builds()
    release = await merge(store, records, tags=TAGS)
    written = puts(store)
    assert written[:2] == [str(release.digest), "1.2.3"]
    assert written[2:] == ["1.2", "1", "latest"]
    assert released(store) == dict.fromkeys(TAGS, release.digest)
    assert release.writes == len(written) == 5
    assert release.index_action == "written"


async def test_the_index_is_read_back_before_any_tag_and_every_tag_at_the_end() -> None:
    store, records = await three_builds()
    release = await merge(store, records, tags=TAGS)
    assert store.calls.index(
        ("get", str(release.digest)), store.calls.index(("put", str(release.digest)))
    ) < (store.calls.index(("put", "1.2.3")))
    histories = [call for call in store.calls if call[0] == "put" and is_history_tag(call[1])]
    ending = len(histories)
    assert ending == 3
    assert set(store.calls[-ending:]) == set(histories), "written once the tags were seen to stand"
    assert set(store.calls[-4 - ending : -ending]) == {("head", str(tag)) for tag in TAGS}


async def test_nothing_is_written_before_every_layer_was_seen() -> None:
    store, records = await three_builds()
    await merge(store, records, tags=TAGS)
    first_write = store.calls.index(store.writes[0])
    assert [name for name, _ in store.calls[:first_write]].count("has_blob") == 3
    assert "has_blob" not in [name for name, _ in store.calls[first_write:]]


async def test_a_second_identical_run_writes_nothing() -> None:
    store, records = await three_builds()
    first = await published(store, records)
    second = await merge(store, list(reversed(records)), tags=TAGS)
    assert store.writes == []
    assert (second.writes, second.index_action) == (0, "unchanged")
    assert {(result.tag, result.action, result.previous) for result in second.tags} == {
        (tag, "unchanged", first.digest) for tag in TAGS
    }


async def test_only_the_tag_that_is_new_is_written() -> None:
    store, records = await three_builds()
    await published(store, records)
    release = await merge(store, records, tags=[*TAGS, Tag("2")])
    assert puts(store) == ["2"]
    assert store.writes == [("put", "2"), ("put", str(history_tag(Tag("2"))))]
    assert release.writes == 1


async def test_the_result_says_what_each_tag_pointed_at_before() -> None:
    store, records = await three_builds()
    store.plant(LATEST, OLD)
    release = await merge(store, records, tags=[VERSION, LATEST])
    assert [(str(result.tag), result.action, result.previous) for result in release.tags] == [
        ("1.2.3", "written", None),
        ("latest", "written", OLD.digest),
    ]


async def test_the_result_has_the_facts_for_the_table() -> None:
    build = a_build("linux/arm64", execution="emulated")
    record = a_record(build, execution="emulated")
    release = await merge(await a_store(build), [record], tags=[])
    (child,) = release.children
    assert (str(child.platform), child.execution, child.digest) == ("linux/arm64", "emulated", build.digest)
    assert child.total_bytes == sum(len(blob) for blob in build.blobs.values())
    assert (child.record, child.attestations, release.repository) == (record, 0, REPOSITORY)


async def test_a_dry_run_checks_everything_and_writes_nothing() -> None:
    store, records = await with_old_tags()
    dry = await merge(store, records, tags=TAGS, dry_run=True)
    assert store.writes == []
    assert (dry.dry_run, dry.writes, dry.index_action) == (True, 0, "planned")
    assert {(result.action, result.previous) for result in dry.tags} == {("planned", OLD.digest)}
    assert (await merge(store, records, tags=TAGS)).index.raw == dry.index.raw


async def test_a_dry_run_of_what_is_published_plans_nothing() -> None:
    store, records = await three_builds()
    await published(store, records)
    dry = await merge(store, records, tags=TAGS, dry_run=True)
    assert {dry.index_action, *(result.action for result in dry.tags)} == {"unchanged"}


async def test_events_tell_what_happens() -> None:
    store, records = await three_builds()
    store.plant(LATEST, OLD)
    events: list[Event] = []
    release = await merge(store, records, tags=[LATEST, VERSION], on_event=events.append)
    assert [event.action for event in events] == ["read"] * 3 + ["written"] * 3
    assert [(event.subject, event.detail) for event in events[3:]] == [
        (f"{REPOSITORY}@{release.digest}", ""),
        (f"{REPOSITORY}:1.2.3", "new"),
        (f"{REPOSITORY}:latest", f"was {OLD.digest}"),
    ]


async def test_an_older_attempt_is_left_out_and_named() -> None:
    build = a_build("linux/amd64")
    gone = a_record(an_image("linux/amd64"), run_id="7", run_attempt=1, source="old.json")
    events: list[Event] = []
    records = [gone, a_record(build, run_id="7", run_attempt=2)]
    release = await merge(await a_store(build), records, on_event=events.append)
    assert [child.digest for child in release.children] == [build.digest]
    assert (events[0].action, events[0].subject) == ("replaced", "linux/amd64 (old.json)")


async def test_manifest_config_and_tags_are_asked_for_at_the_same_time() -> None:
    """The longest chain of requests is what a slow line costs: counted in rounds, not in seconds."""
    store, records = await three_builds()
    rounds = await count_rounds(lambda: merge(store, records, tags=TAGS))
    # children and tags; layers, index and histories; put index; read it back; fixed tags; floating tags;
    # read tags back; write histories
    assert rounds == 8
    assert await count_rounds(lambda: merge(store, records, tags=TAGS)) == 2


@pytest.mark.parametrize("force", [False, True])
async def test_nobody_waits_for_what_tags_hold_to_be_read(force: bool) -> None:
    """By force it is not read; either way takes one round more than the first release, for ``latest``."""
    store, records = await with_old_tags()
    assert await count_rounds(lambda: merge(store, records, tags=TAGS, mover=Mover(force=force))) == 9
    assert (("get", str(OLD.digest)) in store.calls) is not force


async def test_the_blob_for_histories_is_brought_beside_index_and_tags() -> None:
    """A registry is asked for it, opened for it and given it: three requests that nobody waits for."""

    class Thorough(MemoryStore):
        async def copy_blob(self, blob: Descriptor, source: Store) -> bool:
            await self.has_blob(blob)
            await self.has_blob(blob)
            return await super().copy_blob(blob, source)

    plain, records = await three_builds()
    store = Thorough()
    store.blobs, store.manifests = plain.blobs, plain.manifests
    assert await count_rounds(lambda: merge(store, records, tags=TAGS)) == 8


async def count_rounds(run: Callable[[], Awaitable[object]]) -> int:
    """How many requests follow one upon another: each call waits for the next tick of a common clock."""
    clock = anyio.Event()
    rounds = asked = 0
    called = MemoryStore._called  # noqa: SLF001  the one place that every call passes

    async def wait_a_round(self: MemoryStore, name: str, subject: object) -> None:
        nonlocal asked
        asked += 1
        await clock.wait()
        await called(self, name, subject)

    async def tick(done: anyio.Event) -> None:
        nonlocal clock, rounds
        while not done.is_set():
            await quiet(lambda: asked)
            if not done.is_set():
                rounds += 1
                clock.set()
                clock = anyio.Event()

    patch = pytest.MonkeyPatch()
    patch.setattr(MemoryStore, "_called", wait_a_round)
    try:
        async with anyio.create_task_group() as group:
            done = anyio.Event()
            group.start_soon(tick, done)
            await run()
            done.set()
            clock.set()
    finally:
        patch.undo()
    return rounds


async def quiet(count: Callable[[], int]) -> None:
    """Until nothing more is asked for, however often every task has its turn; too early only adds rounds."""
    turns = 0
    before = count()
    while turns < 50:
        await anyio.lowlevel.checkpoint()
        turns = turns + 1 if count() == before else 0
        before = count()


async def test_a_missing_child_is_refused_and_the_old_tags_stay() -> None:
    store, records = await with_old_tags()
    del store.manifests[records[2].image.digest]
    with pytest.raises(MergeRefusedError) as caught:
        await merge(store, records, tags=TAGS)
    (offender,) = caught.value.offenders
    assert offender.startswith("linux/arm64 (records/linux-arm64.json): ")
    assert str(records[2].image.digest) in offender
    assert store.writes == []
    assert set(store.tagged.values()) == {OLD.digest}


async def test_all_that_is_missing_is_listed_at_once() -> None:
    store, records = await three_builds()
    layer = store.manifests[records[0].image.digest].layers[0]  # type: ignore[attr-defined]
    del (
        store.blobs[layer.digest],
        store.blobs[records[1].config.digest],
        store.manifests[records[2].image.digest],
    )
    with pytest.raises(MergeRefusedError) as caught:
        await merge(store, records, tags=TAGS)
    i386, amd64, arm64 = sorted(caught.value.offenders)
    assert i386.endswith(
        f"expected layer {layer.digest} of {records[0].image.digest}, the registry no longer has it"
    )
    assert amd64.startswith("linux/amd64 (")
    assert str(records[1].config.digest) in amd64
    assert arm64.startswith("linux/arm64 (")


@pytest.mark.parametrize(("name", "said"), [(REPOSITORY, "the registry"), ("oci:dist", "the layout")])
async def test_what_lacks_a_layer_is_called_what_it_is(name: str, said: str) -> None:
    build = a_build("linux/amd64")
    store = await a_store(build, name=name)
    del store.blobs[build.manifest.layers[0].digest]
    with pytest.raises(MergeRefusedError) as caught:
        await merge(store, [a_record(build, repository=name)], tags=TAGS)
    assert caught.value.offenders[0].endswith(f"{said} no longer has it")


FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


async def test_a_layer_that_lives_elsewhere_is_not_asked_for() -> None:
    build = an_image("windows/amd64")
    document = dict(build.manifest.document)
    document["layers"] = [
        {**build.manifest.layers[0].to_oci(), "mediaType": FOREIGN, "urls": ["https://example.com/base"]}
    ]
    foreign = replace(build.manifest, document=document)
    store = await a_store()
    store.blobs.update(build.blobs)
    store.manifests[build.digest] = foreign
    del store.blobs[build.manifest.layers[0].digest]
    assert len((await merge(store, [a_record(build, execution=None)], dry_run=True)).children) == 1


async def test_a_record_of_another_repository_is_not_followed() -> None:
    store, records = await three_builds()
    elsewhere = replace(records[0], repository="registry.example.com/shop/api-dev")
    with pytest.raises(PlanMismatchError, match="do not belong together") as caught:
        await merge(store, [elsewhere, *records[1:]], tags=TAGS)
    assert "found one in registry.example.com/shop/api-dev" in str(caught.value)
    assert ("get", str(elsewhere.image.digest)) not in store.calls


async def test_a_registry_that_does_not_answer_is_no_offender() -> None:
    store, records = await three_builds()
    store.hook = fail_once("get", str(records[1].image.digest), RegistryUnavailableError("down"))
    with pytest.raises(RegistryUnavailableError, match="down"):
        await merge(store, records, tags=TAGS)


async def test_an_image_with_attestations_is_flattened_by_one_level() -> None:
    build = a_build("linux/arm64")
    attestation = an_attestation(build)
    outer = an_index(build, attestation)
    store = await a_store(build, attestation)
    await store.put(outer.digest, outer)
    release = await merge(store, [a_record(build, image=outer.descriptor)])
    assert [child.digest for child in release.index.manifests] == [build.digest, attestation.digest]
    assert release.index.attestations[0].attested == build.digest
    assert release.children[0].attestations == 1


@pytest.mark.parametrize(
    ("children", "said"),
    [
        pytest.param(["linux/arm64", "linux/amd64"], "an index of 2 images; expected one", id="two images"),
        pytest.param([], "an index of 0 images; expected one", id="empty index"),
        pytest.param(["index"], "is an index inside an index", id="an index inside"),
        pytest.param(["linux/arm64", "stranger"], "expected sha256:", id="attestation about another image"),
        pytest.param(["linux/arm64", "gone"], "expected attestation sha256:", id="attestation that is gone"),
        pytest.param(["liar"], "says size 1, found", id="descriptor with a wrong size"),
        pytest.param(
            ["linux/arm64", "short"], "expected attestation sha256:", id="attestation with a wrong size"
        ),
        pytest.param(["data"], "data in the descriptor of", id="descriptor with other bytes inside"),
        pytest.param(["odd data"], "data is not base64", id="descriptor with odd bytes inside"),
    ],
)
async def test_an_index_that_is_not_one_image_is_refused(children: list[str], said: str) -> None:
    build = a_build("linux/arm64")
    inner = an_index(build)
    stranger, gone = an_attestation(an_image("linux/386")), an_attestation(build, statement=b"{}")
    known: dict[str, Descriptor] = {
        "linux/arm64": build.descriptor,
        "linux/amd64": a_build("linux/amd64").descriptor,
        "index": inner.descriptor,
        "stranger": stranger.descriptor,
        "gone": gone.descriptor,
        "short": replace(an_attestation(build).descriptor, size=1),
        "liar": replace(build.descriptor, size=1),
        "data": replace(build.descriptor, extra={"data": "e30="}),
        "odd data": replace(build.descriptor, extra={"data": "%"}),
    }
    outer = Index.build([known[name] for name in children])
    store = await a_store(build, a_build("linux/amd64"), stranger)
    for index in (inner, outer):
        store.plant(index.digest, index)
    with pytest.raises(MergeRefusedError) as caught:
        await merge(store, [a_record(build, image=outer.descriptor)])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"config": None}, "a descriptor must be an object", id="no config"),
        pytest.param({"layers": {}}, "layers is not a list", id="layers no list"),
        pytest.param({"layers": [{}]}, "a descriptor has no mediaType", id="empty layer"),
        pytest.param({"layers": [None] * 1001}, "1001 layers are more than", id="very many layers"),
        pytest.param({"layers": "data"}, "data in the descriptor of", id="embedded bytes of something else"),
    ],
)
async def test_a_malformed_manifest_is_an_offender(fields: dict[str, object], said: str) -> None:
    build = a_build("linux/arm64")
    if fields.get("layers") == "data":
        fields = {"layers": [{**build.manifest.layers[0].to_oci(), "data": "e30="}]}
    store = await a_store(build)
    store.manifests[build.digest] = Image(
        raw=build.manifest.raw,
        media_type=build.manifest.media_type,
        document={**build.manifest.document, **fields},
    )
    with pytest.raises(MergeRefusedError) as caught:
        await merge(store, [a_record(build)], tags=TAGS)
    assert said in caught.value.offenders[0]


async def test_a_config_without_platform_is_an_offender() -> None:
    build = an_image("linux/arm64", config_fields={"architecture": ""})
    with pytest.raises(MergeRefusedError, match="a platform needs os and architecture"):
        await merge(await a_store(build), [a_record(build)], tags=TAGS)


async def test_an_artifact_is_no_image() -> None:
    build = a_build("linux/arm64")
    config = replace(build.manifest.config, media_type="application/vnd.cncf.helm.config.v1+json")
    document = {**build.manifest.document, "config": config.to_oci()}
    store = await a_store(build)
    store.manifests[build.digest] = replace(build.manifest, document=document)
    record = a_record(build, config=replace(config, digest=Digest.of(b"x")))
    with pytest.raises(MergeRefusedError, match="no image that a machine runs"):
        await merge(store, [record])


async def test_a_config_that_only_the_record_names_is_not_believed() -> None:
    liar, honest = an_image("linux/arm64", config_fields={"architecture": "amd64"}), an_image("linux/arm64")
    store = await a_store(liar, honest)
    with pytest.raises(MergeRefusedError) as caught:
        await merge(store, [a_record(liar, config=honest.manifest.config, execution=None)])
    assert "config of" in caught.value.offenders[-1]
    assert caught.value.offenders[-1].endswith("says linux/amd64")


async def test_the_plan_decides_what_may_be_missing() -> None:
    plan = a_plan("linux/amd64", optional=["linux/s390x"])
    build = a_build("linux/amd64", plan=plan)
    release = await merge(await a_store(build), [a_record(build, plan=plan)], plan=plan, tags=TAGS)
    assert release.missing == (Platform("linux", "s390x"),)
    with pytest.raises(MergeRefusedError, match="linux/s390x: missing"):
        await merge(
            await a_store(build),
            [a_record(build)],
            expected=[planned("linux/amd64"), planned("linux/s390x")],
        )


# What may happen on the way, and what must hold after it.


def complete(store: MemoryStore, digest: Digest) -> bool:
    """Whether everything that a digest promises is there."""
    index = store.manifests[digest]
    assert isinstance(index, Index)
    if digest == OLD.digest:
        return True
    images = [store.manifests.get(child.digest) for child in index.manifests]
    return len(images) == 3 and all(
        image is not None and all(layer.digest in store.blobs for layer in image.layers)  # type: ignore[attr-defined]
        for image in images
    )


async def calls_of_a_merge() -> int:
    store, records = await with_old_tags()
    await merge(store, records, tags=TAGS)
    return len(store.calls)


class Interrupt:
    """Do something at the n-th call, before it happens or, with ``after``, on the one behind it."""

    def __init__(self, number: int, act: Callable[[], None]) -> None:
        self.left = number
        self.act = act

    def __call__(self, _name: str, _subject: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.act()


def fail() -> None:
    raise RegistryUnavailableError("gone", hint="try again")


async def test_a_failure_of_any_request_leaves_every_tag_complete_and_a_rerun_finishes() -> None:
    for number in range(1, await calls_of_a_merge() + 1):
        store, records = await with_old_tags()
        store.hook = Interrupt(number, fail)
        try:
            release = await merge(store, records, tags=TAGS)
        except RegistryUnavailableError:
            assert not any(is_history_tag(tag.name) for tag in store.tagged), "only of moves that stand"
        else:  # what is written into histories, and only that, may fail without failing the release
            name, subject = store.calls[number - 1]
            assert name == "copy_blob" or is_history_tag(subject)
            assert len(release.warnings) == (name != "get"), "the second look is for safety"
        assert all(complete(store, digest) for digest in released(store).values()), number
        floating_moved = any(store.tagged[tag] != OLD.digest for tag in TAGS if tag != VERSION)
        assert not floating_moved or store.tagged[VERSION] != OLD.digest, number
        store.hook = None
        release = await merge(store, records, tags=TAGS)
        assert set(released(store).values()) == {release.digest}, number


async def test_cancellation_at_any_request_finishes_the_writes_under_way_and_starts_none() -> None:
    for number in range(1, await calls_of_a_merge() + 1):
        store, records = await with_old_tags()
        scope = anyio.CancelScope()
        store.hook = Interrupt(number, scope.cancel)
        with scope:
            await merge(store, records, tags=TAGS)
        assert all(complete(store, digest) for digest in released(store).values()), number
        begun = [subject for name, subject in store.calls if name == "put"]
        finished = {
            *map(str, store.manifests),
            *map(str, store.tagged.keys() - set(TAGS)),
            *(str(tag) for tag in TAGS if store.tagged[tag] != OLD.digest),
        }
        assert set(begun) <= finished, number
        begun_later = [name for name, _ in store.calls[number:] if name == "put"]
        assert len(begun_later) <= 3, number  # the other tags or histories, under way at the same time


async def test_the_message_says_which_tags_had_moved_when_one_fails() -> None:
    store, records = await with_old_tags()
    store.hook = fail_once("put", "latest", RegistryUnavailableError("gone", hint="wait", status=503))
    with pytest.raises(RegistryUnavailableError) as caught:
        await merge(store, records, tags=[LATEST, VERSION])
    assert f"wait; tags that had moved before: 1.2.3 (was {OLD.digest})" in caught.value.hint
    assert f"moved or not, it did not say: latest (was {OLD.digest})" in caught.value.hint
    assert caught.value.facts["status"] == 503
    assert store.tagged[LATEST] == OLD.digest


async def test_a_fixed_tag_that_may_not_move_keeps_the_floating_ones() -> None:
    store, records = await with_old_tags()
    store.hook = fail_once("put", "1.2.3", ImmutableTagError("1.2.3 is immutable"))
    with pytest.raises(ImmutableTagError) as caught:
        await merge(store, records, tags=TAGS)
    assert "no tag was moved" in caught.value.hint
    assert set(store.tagged.values()) == {OLD.digest}


@pytest.mark.parametrize("name", ["1.0", "2026-11", "nightly"])
async def test_a_release_by_any_name_that_may_not_move_keeps_latest(name: str) -> None:
    store, records = await with_old_tags()
    store.plant(Tag(name), OLD)
    store.hook = fail_once("put", name, ImmutableTagError(f"{name} is immutable", hint="another tag"))
    with pytest.raises(ImmutableTagError) as caught:
        await merge(store, records, tags=[LATEST, Tag(name)])
    assert caught.value.hint == "another tag; no tag was moved", "the same again would be refused again"
    assert set(store.tagged.values()) == {OLD.digest}


async def test_a_word_that_may_move_waits_for_the_number_that_may_not() -> None:
    store, records = await with_old_tags()
    store.plant(Tag("stable"), OLD)
    store.hook = fail_once("put", "1.2", ImmutableTagError("1.2 is immutable"))
    with pytest.raises(ImmutableTagError):
        await merge(store, records, tags=[Tag("stable"), Tag("1.2"), LATEST])
    assert set(store.tagged.values()) == {OLD.digest}


async def test_tags_that_have_moved_before_cost_no_step_of_their_own() -> None:
    """A new version, and 1.2, 1 and latest at the one before it."""
    store, records = await three_builds()
    rounds = []
    for number in (1, 2, 3):
        tags = [Tag(f"1.2.{number}"), *(tag for tag in TAGS if tag != VERSION)]
        rounds.append(await count_rounds(partial(merge, store, records[:number], tags=tags)))
    assert rounds == [8, 9, 8], "all new; the first time that 1 and 1.2 move; as ever after"


async def test_a_tag_that_somebody_else_moves_meanwhile_is_a_lost_race() -> None:
    store, records = await three_builds()
    stranger = an_index(an_image("linux/386"))

    def meddle(name: str, subject: str) -> None:
        if (name, subject) == ("head", "latest") and LATEST in store.tagged:
            store.manifests[stranger.digest] = stranger
            store.tagged[LATEST] = stranger.digest

    store.hook = meddle
    with pytest.raises(LostRaceError) as caught:
        await merge(store, records, tags=[LATEST])
    assert f"found {stranger.digest}: somebody else moved it" in caught.value.what


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagging, "READ_BACK_DELAYS_SECONDS", (0.0,) * 4)
    monkeypatch.setattr("anyarch.release.publish.READ_BACK_DELAYS_SECONDS", (0.0,) * 4)


class Lagging(MemoryStore):
    """A registry that shows a write only after some reads."""

    def __init__(self, reads: int, *, of: str) -> None:
        super().__init__()
        self.reads = reads
        self.of = of

    async def head(self, target: Digest | Tag) -> Descriptor | None:
        if self.lags(target) and self.of == "tag":
            return None
        return await super().head(target)

    async def get(self, target: Digest | Tag):  # type: ignore[no-untyped-def]  # noqa: ANN201
        if self.of == "index" and self.lags(target):
            return await super().get(Digest.of(b"not there"))
        return await super().get(target)

    def lags(self, target: Digest | Tag) -> bool:
        written = ("put", str(target)) in self.calls
        self.reads -= written
        return written and self.reads >= 0


async def lagging(reads: int, *, of: str) -> Release:
    plain, records = await three_builds()
    store = Lagging(reads, of=of)
    store.blobs, store.manifests = plain.blobs, plain.manifests
    return await merge(store, records, tags=[LATEST])


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize("of", ["tag", "index"])
async def test_a_registry_that_shows_a_write_late_is_waited_for_and_then_reported(of: str) -> None:
    assert (await lagging(3, of=of)).writes == 2
    with pytest.raises(RegistryProtocolError):
        await lagging(4, of=of)


async def test_gather_collects_problems_and_does_not_stop() -> None:
    store, records = await three_builds()
    del store.manifests[records[0].image.digest]
    children = await gather(store, records)
    assert [child.found is None for child in children] == [True, False, False]
    assert [len(child.problems) for child in children] == [1, 0, 0]


async def test_twenty_platforms_and_two_hundred_tags_cost_requests_in_proportion() -> None:
    names = [f"linux/amd64/v{number}" for number in range(2, 22)]
    builds = [a_build(name) for name in names]
    store = await a_store(*builds)
    tags = [Tag(f"branch-{number}") for number in range(200)]
    await merge(store, [a_record(build) for build in builds], tags=tags)
    assert len(store.calls) == 20 * 3 + 3 + 200 * 3 + (1 + 200 * 3)  # the histories


async def test_errors_are_never_wrapped_into_a_group() -> None:
    store, records = await three_builds()

    def all_fail(_name: str, _subject: str) -> None:
        fail()

    store.hook = all_fail
    with pytest.raises(AnyarchError):
        await merge(store, records, tags=TAGS)
