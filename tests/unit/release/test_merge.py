"""The decision: the exact set or nothing, every offender named, the same bytes for the same images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from anyarch.errors import MergeRefusedError, OffendersError, PlanMismatchError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import ImageConfig
from anyarch.oci.media_type import MediaType
from anyarch.oci.platforms import Platform
from anyarch.release import marks
from anyarch.release.child import Child
from anyarch.release.expectation import Expectation
from anyarch.release.found import FoundImage
from anyarch.release.merge import Decision, decide, newest_attempts
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import an_attestation, an_image, an_index
from tests.releases import REPOSITORY, REVISION, THREE, a_build, a_plan, a_record, planned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyarch.release.plan import Plan

    from tests.builders import BuiltImage

PLAN = a_plan()
BUILDS = {platform: a_build(platform, plan=PLAN) for platform in THREE}


def a_child(build: BuiltImage, *, plan: Plan | None = PLAN, **record: Any) -> Child:  # noqa: ANN401
    return Child(record=a_record(build, plan=plan, **record), found=found(build))


def found(build: BuiltImage) -> FoundImage:
    config = ImageConfig.from_bytes(build.blobs[build.manifest.config.digest], subject="config")
    return FoundImage(
        root=build.manifest.descriptor,
        descriptor=build.manifest.descriptor,
        manifest=build.manifest,
        platform=config.platform,
        labels=config.labels,
    )


def three() -> list[Child]:
    return [a_child(build) for build in BUILDS.values()]


def with_record(child: Child, **changes: Any) -> Child:  # noqa: ANN401
    return replace(child, record=replace(child.record, **changes))


def refused(children: Sequence[Child], expectation: Expectation) -> OffendersError:
    with pytest.raises((MergeRefusedError, PlanMismatchError)) as caught:
        decide(children, expectation)
    assert "no tag was touched" in caught.value.what
    return caught.value


EXPECTED = Expectation.of(REPOSITORY, plan=PLAN)


def test_three_platforms_make_an_index_in_the_order_of_their_names() -> None:
    index = decide(three(), EXPECTED).index
    assert [str(child.platform) for child in index.manifests] == list(THREE)
    assert [child.digest for child in index.manifests] == [BUILDS[each].digest for each in THREE]
    assert index.media_type == MediaType.OCI_INDEX
    assert index.annotations == {marks.PLAN: str(PLAN.digest), marks.REVISION: REVISION}


@given(st.permutations(range(3)))
def test_records_in_any_order_give_the_same_bytes(order: list[int]) -> None:
    children = three()
    assert (
        decide([children[each] for each in order], EXPECTED).index.raw == decide(children, EXPECTED).index.raw
    )


def test_with_or_without_the_plan_file_the_bytes_are_the_same() -> None:
    without = Expectation.of(REPOSITORY, platforms=[planned(each) for each in THREE])
    assert decide(three(), without).index.raw == decide(three(), EXPECTED).index.raw
    assert decide(three(), Expectation.of(REPOSITORY)).index.raw == decide(three(), EXPECTED).index.raw


def test_the_index_says_what_was_emulated() -> None:
    build = a_build("linux/arm64", execution="emulated")
    index = decide([a_child(build, plan=None, execution="emulated")], Expectation.of(REPOSITORY)).index
    assert index.manifests[0].annotations == {marks.EXECUTION: "emulated"}


def test_an_index_can_be_annotated_without_a_plan() -> None:
    wanted = {"com.example.team": "shop"}
    index = decide(three(), Expectation.of(REPOSITORY, annotations=wanted)).index
    assert wanted.items() <= index.annotations.items()


def test_an_image_that_does_not_say_how_it_was_built_is_not_given_a_mark() -> None:
    index = decide([a_child(an_image(), plan=None)], Expectation.of(REPOSITORY)).index
    assert index.manifests[0].annotations == {}


def test_only_dockers_images_make_dockers_list() -> None:
    docker = [an_image(platform, docker=True) for platform in THREE]
    children = [a_child(build, plan=None, execution=None) for build in docker]
    index = decide(children, Expectation.of(REPOSITORY)).index
    assert index.media_type == MediaType.DOCKER_LIST
    assert set(index.document) == {"schemaVersion", "mediaType", "manifests"}
    mixed = [*children[:2], a_child(a_build("linux/arm64"), plan=None)]
    assert decide(mixed, Expectation.of(REPOSITORY)).index.media_type == MediaType.OCI_INDEX


def test_an_annotation_that_dockers_list_cannot_hold_is_kept_in_an_oci_index() -> None:
    child = a_child(an_image(docker=True), plan=None, execution=None)
    assert child.found is not None
    said = child.found.descriptor.with_annotations({"com.example.kept": "yes"})
    child = replace(child, found=replace(child.found, descriptor=said))
    index = decide([child], Expectation.of(REPOSITORY)).index
    assert index.media_type == MediaType.OCI_INDEX
    assert index.manifests[0].annotations == {"com.example.kept": "yes"}


def test_an_optional_platform_may_be_missing_and_the_index_says_so() -> None:
    plan = a_plan("linux/amd64", optional=["linux/s390x", "linux/riscv64"])
    children = [a_child(a_build("linux/amd64", plan=plan), plan=plan)]
    decision = decide(children, Expectation.of(REPOSITORY, plan=plan))
    assert [str(each) for each in decision.missing] == ["linux/riscv64", "linux/s390x"]
    assert decision.index.annotations[marks.MISSING] == "linux/riscv64,linux/s390x"
    assert len(decision.index.manifests) == 1


def test_a_list_of_docker_images_that_lacks_one_becomes_an_oci_index_to_say_so() -> None:
    expected = Expectation.of(
        REPOSITORY, platforms=[planned("linux/amd64"), planned("linux/s390x", required=False)]
    )
    index = decide([a_child(an_image(docker=True), plan=None, execution=None)], expected).index
    assert index.media_type == MediaType.OCI_INDEX
    assert index.annotations[marks.MISSING] == "linux/s390x"


def attested(platform: str, *, about: BuiltImage | None = None) -> tuple[Child, BuiltImage]:
    """A child whose record points at BuildKit's index of one image and its attestation."""
    build = a_build(platform)
    attestation = an_attestation(about or build)
    outer = an_index(build, attestation)
    child = Child(
        record=a_record(build, image=outer.descriptor),
        found=replace(
            found(build),
            root=outer.descriptor,
            descriptor=outer.images[0].with_annotations({"com.example.kept": "yes"}),
            attestations=outer.attestations,
        ),
    )
    return child, attestation


def test_attestations_come_along_behind_all_images_and_do_not_count() -> None:
    (arm, arm_attestation), (amd, amd_attestation) = attested("linux/arm64"), attested("linux/amd64")
    expected = Expectation.of(REPOSITORY, platforms=[planned("linux/amd64"), planned("linux/arm64")])
    index = decide([arm, amd], expected).index
    assert [str(child.platform) for child in index.images] == ["linux/amd64", "linux/arm64"]
    assert [child.digest for child in index.manifests[2:]] == [amd_attestation.digest, arm_attestation.digest]
    assert index.manifests[2].annotations == amd_attestation.marks
    assert index.manifests[0].annotations["com.example.kept"] == "yes"


def test_platforms_are_written_normalised_and_with_windows_versions() -> None:
    config = {
        "os": "windows",
        "architecture": "amd64",
        "os.version": "10.0.20348.1",
        "os.features": ["win32k"],
    }
    windows = an_image(Platform("windows", "amd64"), config_fields=config)
    arm = an_image("linux/arm64", config_fields={"variant": "v8"})
    children = [a_child(build, plan=None, execution=None) for build in (windows, arm)]
    first, second = decide(children, Expectation.of(REPOSITORY)).index.manifests
    assert first.to_oci()["platform"] == {"architecture": "arm64", "os": "linux"}
    assert second.to_oci()["platform"] == {
        "architecture": "amd64",
        "os": "windows",
        "os.version": "10.0.20348.1",
        "os.features": ["win32k"],
    }


OTHER = a_plan(revision="fedcba9876543210")
FOREIGN = a_build("linux/arm64", plan=OTHER)
ARM = BUILDS["linux/arm64"]
ARM_FILE = "linux/arm64 (records/linux-arm64.json)"


def lying(**config: object) -> Child:
    return a_child(a_build("linux/arm64", plan=PLAN, config_fields=config))


def in_an_index_that_says(platform: str) -> Child:
    child = a_child(ARM)
    assert child.found is not None
    descriptor = child.found.descriptor.with_platform(Platform.parse(platform))
    return replace(child, found=replace(child.found, descriptor=descriptor))


def case(change: Callable[[Child], list[Child]], said: str, name: str) -> Any:  # noqa: ANN401
    return pytest.param(change, said, id=name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        case(lambda _: [], "linux/arm64: missing; expected one image for it, found none", "missing platform"),
        case(
            lambda arm: [arm, with_record(arm, source="records/again.json")],
            "linux/arm64: expected one image, found 2: records/linux-arm64.json (sha256:",
            "two records of one platform",
        ),
        case(
            lambda arm: [arm, with_record(arm, platform=Platform("linux", "arm64", "v8"))],
            "linux/arm64: expected one image, found 2",
            "the same platform under another name",
        ),
        case(
            lambda arm: [arm, a_child(a_build("linux/s390x", plan=PLAN))],
            "linux/s390x (records/linux-s390x.json): not expected; expected only linux/386, linux/amd64",
            "a platform that is not planned",
        ),
        case(
            lambda _: [lying(architecture="amd64")],
            f"{ARM_FILE}: expected an image for linux/arm64, but the config of sha256:",
            "config for another platform",
        ),
        case(lambda _: [lying(variant="v9")], "says linux/arm64/v9", "config for another variant"),
        case(
            lambda arm: [with_record(arm, config=replace(arm.record.config, digest=Digest.of(b"x")))],
            f"{ARM_FILE}: its record says config sha256:2d711642",
            "record with another image's config",
        ),
        case(
            lambda arm: [with_record(arm, config=replace(arm.record.config, size=7))],
            f"{ARM_FILE}: its record says config size 7, found ",
            "record with a wrong config size",
        ),
        case(
            lambda arm: [with_record(arm, image=replace(arm.record.image, size=9))],
            f"{ARM_FILE}: its record says size 9, found ",
            "record with a wrong size",
        ),
        case(
            lambda arm: [
                with_record(arm, image=replace(arm.record.image, media_type=MediaType.DOCKER_MANIFEST))
            ],
            f"its record says media type {MediaType.DOCKER_MANIFEST}, found {MediaType.OCI_MANIFEST}",
            "record with a wrong media type",
        ),
        case(
            lambda arm: [with_record(arm, execution="emulated")],
            f"{ARM_FILE}: its record says it was built emulated, but the image says native",
            "record that lies about emulation",
        ),
        case(
            lambda _: [in_an_index_that_says("linux/arm/v7")],
            f"{ARM_FILE}: its index says linux/arm/v7, but its config says linux/arm64",
            "index around the image that lies",
        ),
        case(
            lambda _: [a_child(a_build("linux/arm64", plan=PLAN, execution="fast"))],
            "expected an image that says native or emulated, found fast",
            "image with an odd execution",
        ),
        case(
            lambda _: [a_child(FOREIGN)],
            f"expected an image of plan {PLAN.digest}, but {FOREIGN.digest} belongs to {OTHER.digest}",
            "image of another plan under an honest-looking record",
        ),
        case(
            lambda _: [a_child(an_image("linux/arm64"))],
            "belongs to none",
            "image without a plan's mark",
        ),
        case(
            lambda _: [a_child(FOREIGN)],
            f"expected revision {REVISION}, but {FOREIGN.digest} is of fedcba9876543210",
            "image of another commit",
        ),
        case(
            lambda _: [a_child(FOREIGN, plan=OTHER)],
            f"{ARM_FILE}: expected plan {PLAN.digest}, found {OTHER.digest}",
            "record of another plan",
        ),
        case(
            lambda _: [a_child(FOREIGN, plan=OTHER)],
            f"{ARM_FILE}: expected revision {REVISION}, found fedcba9876543210",
            "record of another commit",
        ),
        case(
            lambda arm: [with_record(arm, plan=None)],
            f"{ARM_FILE}: expected plan {PLAN.digest}, found none",
            "record without a plan",
        ),
        case(
            lambda arm: [with_record(arm, repository="registry.example.com/shop/api-dev")],
            f"{ARM_FILE}: expected an image in {REPOSITORY}, found one in registry.example.com/shop/api-dev",
            "record of another repository",
        ),
        case(
            lambda arm: [replace(arm, found=None, problems=("no manifest sha256:1 there",))],
            f"{ARM_FILE}: no manifest sha256:1 there",
            "image that is gone",
        ),
    ],
)
def test_known_bad(change: Callable[[Child], list[Child]], said: str) -> None:
    i386, amd64, arm64 = three()
    error = refused([i386, amd64, *change(arm64)], EXPECTED)
    assert any(said in offender for offender in error.offenders), error


def test_what_only_belongs_elsewhere_is_a_plan_mismatch() -> None:
    i386, amd64, _ = three()
    assert isinstance(refused([i386, amd64, a_child(FOREIGN)], EXPECTED), PlanMismatchError)
    assert isinstance(refused([i386, a_child(FOREIGN)], EXPECTED), MergeRefusedError)


def test_every_offender_is_listed_at_once() -> None:
    i386, _, arm64 = three()
    children = [with_record(i386, execution="emulated"), arm64, with_record(arm64, source="b.json")]
    children.append(a_child(a_build("linux/s390x", plan=OTHER), plan=OTHER))
    text = str(refused(children, EXPECTED))
    for said in ("linux/amd64: missing", "built emulated", "found 2", "linux/s390x", "expected plan"):
        assert said in text


def test_two_records_may_not_pass_one_image_off_as_two() -> None:
    amd64 = BUILDS["linux/amd64"]
    twice = [
        a_child(amd64),
        a_child(amd64, platform=Platform("linux", "386"), source="records/linux-386.json"),
    ]
    error = refused([*twice, a_child(ARM)], EXPECTED)
    (offender,) = error.offenders
    assert offender.startswith("linux/386 (records/linux-386.json): expected an image for linux/386, but")
    assert offender.endswith(f"the config of {amd64.digest} says linux/amd64")


def test_no_record_at_all_is_refused_without_a_plan_too() -> None:
    assert "no image at all" in str(refused([], Expectation.of(REPOSITORY)))


def test_without_a_plan_the_records_must_agree() -> None:
    i386, amd64, _ = three()
    error = refused([i386, amd64, a_child(FOREIGN, plan=OTHER)], Expectation.of(REPOSITORY))
    assert f"{ARM_FILE}: expected the same plan in every record, found {OTHER.digest}" in error.offenders
    assert any(
        f"expected the same revision in every record, found {REVISION}" in each for each in error.offenders
    )


def said_by(words: str, how: str, platform: str) -> Child:
    """An image about which its record says nothing; ``how`` it says ``words`` itself."""
    said = {how: {marks.REVISION: words}} if words else {}
    return a_child(an_image(platform, **said), plan=None, execution=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["annotations", "labels"])
def test_where_records_say_nothing_images_of_two_commits_say_it_themselves(how: str) -> None:
    children = [said_by(words, how, each) for words, each in zip("aab", THREE, strict=True)]
    error = refused(children, Expectation.of(REPOSITORY))
    assert isinstance(error, PlanMismatchError)
    assert f"{ARM_FILE}: expected the same revision in every image, found b" in error.offenders
    assert "--mixed-revisions" in error.hint
    assert decide(children, Expectation.of(REPOSITORY, mixed=True)).children


def test_images_of_two_plans_say_it_themselves() -> None:
    i386, amd64, _ = [with_record(each, plan=None, revision=None) for each in three()]
    other = with_record(a_child(FOREIGN, plan=OTHER), plan=None, revision=None)
    error = refused([i386, amd64, other], Expectation.of(REPOSITORY))
    assert f"{ARM_FILE}: expected the same plan in every image, found {OTHER.digest}" in error.offenders


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([("a", "annotations"), ("b", "labels")], id="a label of its base beside an annotation"),
        pytest.param([("a", "annotations"), ("", "")], id="an image that says nothing"),
        pytest.param([("a", "labels"), ("a", "labels")], id="the same"),
    ],
)
def test_images_that_may_be_of_one_commit_are_joined(words: list[tuple[str, str]]) -> None:
    children = [said_by(*each, platform) for each, platform in zip(words, THREE, strict=False)]
    assert len(decide(children, Expectation.of(REPOSITORY)).children) == 2


def test_a_plan_for_another_place_is_refused() -> None:
    error = refused(three(), Expectation.of("registry.example.com/other", plan=PLAN))
    assert (
        f"the plan: expected a merge in {REPOSITORY}, this one is in registry.example.com/other"
        in error.offenders
    )


def test_where_a_layout_lies_does_not_matter() -> None:
    plan = a_plan(destination="oci:dist")
    children = [a_child(a_build(each, plan=plan), plan=plan, repository="oci:/tmp/x") for each in THREE]
    assert len(decide(children, Expectation.of("oci:/elsewhere", plan=plan)).children) == 3


def test_a_plan_and_other_platforms_contradict_each_other() -> None:
    with pytest.raises(
        UsageError, match="the plan names linux/386, linux/amd64, linux/arm64, --platform linux/386"
    ):
        Expectation.of(REPOSITORY, plan=PLAN, platforms=[planned("linux/386")])


platform_names = st.sampled_from(
    ["linux/386", "linux/amd64", "linux/arm64", "linux/arm64/v8", "linux/arm", "linux/arm/v7"]
)


@given(
    st.lists(platform_names, max_size=5),
    st.lists(platform_names, min_size=1, max_size=4, unique_by=Platform.parse),
)
def test_an_index_is_made_exactly_if_the_sets_are_equal(built: list[str], expected: list[str]) -> None:
    children = [
        a_child(a_build(name), plan=None, source=f"{number}.json") for number, name in enumerate(built)
    ]
    decision: Decision | None = None
    error: MergeRefusedError | None = None
    try:
        decision = decide(
            children, Expectation.of(REPOSITORY, platforms=[planned(name) for name in expected])
        )
    except MergeRefusedError as caught:
        error = caught
    platforms = sorted(map(str, map(Platform.parse, built)))
    wanted = sorted(map(str, map(Platform.parse, expected)))
    if platforms == wanted:
        assert decision is not None
        assert [str(child.platform) for child in decision.index.manifests] == wanted
    else:
        assert error is not None
        wrong = set(platforms) ^ set(wanted) | {name for name in platforms if platforms.count(name) > 1}
        assert all(any(name in offender for offender in error.offenders) for name in wrong)


def attempt(number: int | None, run: str | None = "77", **changes: Any) -> Any:  # noqa: ANN401
    return a_record(ARM, source=f"{run}-{number}.json", run_id=run, run_attempt=number, **changes)


def test_the_newest_attempt_of_a_run_wins() -> None:
    other = a_record(BUILDS["linux/386"], run_id="77", run_attempt=1)
    chosen, replaced = newest_attempts([attempt(2), attempt(10), other, attempt(1)])
    assert chosen == [attempt(10), other]
    assert [each.source for each in replaced] == ["77-1.json", "77-2.json"]


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([attempt(1), attempt(2, run="78")], id="different runs"),
        pytest.param([attempt(1), attempt(1)], id="the same attempt twice"),
        pytest.param([attempt(1, run=None), attempt(2, run=None)], id="no run"),
        pytest.param([attempt(None), attempt(2)], id="an attempt without number"),
    ],
)
def test_any_other_double_stays_for_the_decision_to_refuse(records: list[Any]) -> None:
    chosen, replaced = newest_attempts(records)
    assert (len(chosen), replaced) == (2, [])
