"""The plan: flags over the file over defaults; a digest of what decides the images; a strict file."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from anyarch.errors import PlanError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.release.config import BuildSettings, Config, PlatformSettings, parse_config
from anyarch.release.plan import Plan, PlannedPlatform, make_plan, select
from anyarch.release.tags.context import Context
from anyarch.release.tags.lines import entries
from anyarch.release.tags.rules import TagRules, parse_rules
from hypothesis import given
from hypothesis import strategies as st

from tests.releases import a_plan

AMD64, ARM64, I386 = (Platform("linux", name) for name in ("amd64", "arm64", "386"))
FILE = Config(
    image="registry.example.com/shop/api",
    platforms=(PlatformSettings(platform=AMD64), PlatformSettings(platform=ARM64, engine="tcp://old:1")),
    tags=TagRules(rules=parse_rules(entries(["1.2.3", "{{branch}}"], where="tags.rules"), [])),
)
MAIN = Context(now=datetime(2020, 1, 10, tzinfo=UTC), ref="refs/heads/main", sha="0" * 40)


def test_without_file_and_flags_two_platforms_go_to_a_layout() -> None:
    plan = make_plan(Config())
    assert [(each.platform, each.why) for each in plan.platforms] == [(AMD64, "default"), (ARM64, "default")]
    assert (plan.destination, plan.tags, plan.revision) == ("oci:dist", (), None)


def test_without_platforms_in_the_file_the_flag_is_the_set() -> None:
    plan = make_plan(Config(), platforms=[I386, I386])
    assert [(each.platform, each.why) for each in plan.platforms] == [(I386, "--platform")]


def test_the_flag_chooses_among_the_files_platforms_and_does_not_change_the_plan() -> None:
    plan = make_plan(FILE, platforms=[ARM64])
    assert plan == make_plan(FILE)
    assert [each.platform for each in select(plan, [ARM64])] == [ARM64]
    assert select(plan, []) == plan.platforms


def test_rules_give_tags_and_flags_take_their_place() -> None:
    assert make_plan(FILE, context=MAIN).tags == ("1.2.3", "main")
    assert make_plan(FILE, context=MAIN, tags=["2"]).tags == ("2",)
    assert make_plan(Config(), context=MAIN).tags == ()


def test_a_flag_for_tags_leaves_finished_images_good() -> None:
    """Their version is the rules', or images would be foreign to a plan that only adds a tag."""
    plans = [make_plan(FILE, context=MAIN, tags=tags) for tags in ([], ["2"])]
    assert {plan.digest for plan in plans} == {plans[0].digest}
    assert {plan.build.labels["org.opencontainers.image.version"] for plan in plans} == {"1.2.3"}


def test_flags_override_the_file() -> None:
    plan = make_plan(
        FILE, engines={ARM64: "tcp://new:1"}, destination="oci:out", tags=["2", "2"], revision="abc"
    )
    assert plan.platforms[1].engine == "tcp://new:1"
    assert (plan.destination, plan.tags, plan.revision) == ("oci:out", ("2",), "abc")


def test_further_destinations_are_the_files_unless_a_flag_names_one() -> None:
    """Whoever says where to on the command line says all of it: nothing goes elsewhere besides."""
    file = replace(FILE, image="a.example.com/api", also=("b.example.com/api",))
    assert make_plan(file).destinations == ("a.example.com/api", "b.example.com/api")
    assert make_plan(file, destination="oci:out").destinations == ("oci:out",)
    plan = make_plan(file, destination="oci:out", also=["c.example.com/api"])
    assert plan.destinations == ("oci:out", "c.example.com/api")


def test_another_further_destination_leaves_finished_images_good() -> None:
    plan = a_plan()
    assert replace(plan, also=("far.example.com/api",)).digest == plan.digest


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(
            {"platforms": [I386]}, "--platform linux/386: this platform is not planned", id="platform"
        ),
        pytest.param({"engines": {I386: "tcp://x:1"}}, "--engine linux/386", id="engine"),
        pytest.param({"tags": ["a b"]}, "'a b' is not a tag", id="tag"),
        pytest.param({"destination": "a/B"}, "'a/B' is not a repository", id="destination"),
        pytest.param({"revision": "a\nb"}, "is not a revision", id="revision"),
    ],
)
def test_a_flag_that_cannot_be_followed_is_refused(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_plan(FILE, **flags)


def test_choosing_a_platform_that_is_not_planned_is_refused() -> None:
    with pytest.raises(UsageError, match="linux/386"):
        select(make_plan(FILE), [I386])


def test_the_digest_is_of_these_very_bytes() -> None:
    """Spelled out, since a changed spelling would make every finished image foreign to its plan."""
    spelled = (
        '{"build":{"args":{"VERSION":"1.2.3"},"context":".","dockerfile":"Dockerfile","labels":{},"secrets":[]},'
        '"destination":"registry.example.com/shop/api",'
        '"platforms":[["linux/386",true],["linux/amd64",true],["linux/arm64",true]],'
        '"revision":"0123456789abcdef0123456789abcdef01234567","schema":1}'
    )
    assert a_plan().digest == Digest.of(spelled.encode())
    edit = Digest.of(b"an edit")
    spelled = spelled.replace('"destination"', f'"changes":"{edit}","destination"')
    assert a_plan(changes=edit).digest == Digest.of(spelled.encode())


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"tags": ("1", "2")}, id="tags"),
        pytest.param({"platforms": tuple(reversed(a_plan().platforms))}, id="order of platforms"),
        pytest.param(
            {
                "platforms": tuple(
                    replace(each, engine="tcp://x:1", runner="big", fallback="fail", why="--platform")
                    for each in a_plan().platforms
                )
            },
            id="engines, runners and why",
        ),
        pytest.param({"build": BuildSettings(args={"VERSION": "1.2.3"})}, id="equal settings"),
    ],
)
def test_the_digest_leaves_out_what_does_not_decide_the_images(changes: dict[str, Any]) -> None:
    assert a_plan(**changes).digest == a_plan().digest


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"destination": "oci:dist"}, id="destination"),
        pytest.param({"revision": None}, id="revision"),
        pytest.param({"changes": Digest.of(b"an edit")}, id="what is not committed"),
        pytest.param({"platforms": a_plan().platforms[1:]}, id="one platform less"),
        pytest.param(
            {"platforms": tuple(replace(each, required=False) for each in a_plan().platforms)}, id="optional"
        ),
        pytest.param({"build": BuildSettings(args={"VERSION": "1.2.4"})}, id="argument"),
        pytest.param({"build": BuildSettings(args={"VERSION": "1.2.3"}, target="x")}, id="target"),
        pytest.param({"build": BuildSettings(args={"VERSION": "1.2.3"}, labels={"a": "b"})}, id="label"),
        pytest.param(
            {"build": BuildSettings(args={"VERSION": "1.2.3"}, annotations={"a": "b"})}, id="annotation"
        ),
        pytest.param(
            {"build": BuildSettings(args={"VERSION": "1.2.3"}, secrets={"n": "env:X"})}, id="secret"
        ),
        pytest.param({"build": BuildSettings(args={"VERSION": "1.2.3"}, dockerfile="D")}, id="dockerfile"),
        pytest.param({"build": BuildSettings(args={"VERSION": "1.2.3"}, context="app")}, id="context"),
    ],
)
def test_the_digest_covers_what_decides_the_images(changes: dict[str, Any]) -> None:
    assert a_plan(**changes).digest != a_plan().digest


def test_where_a_secret_comes_from_does_not_decide_the_image() -> None:
    laptop, ci = (a_plan(build=BuildSettings(secrets={"npm": place})) for place in ("file:~/npm", "env:NPM"))
    assert laptop.digest == ci.digest


words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
platforms = st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7", "windows/amd64"])
plans = st.builds(
    Plan,
    destination=st.sampled_from(["oci:dist", "oci:a b", "registry.example.com/shop/api"]),
    also=st.lists(st.sampled_from(["oci:far", "far.example.com/shop/api"]), max_size=2).map(tuple),
    tags=st.lists(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,9}", fullmatch=True), max_size=3).map(tuple),
    revision=st.none() | st.from_regex(r"[0-9a-f]{7,40}", fullmatch=True),
    changes=st.none() | st.binary(max_size=4).map(Digest.of),
    build=st.builds(
        BuildSettings,
        target=st.just("") | names,
        args=st.dictionaries(names, st.just("") | words, max_size=3),
        secrets=st.dictionaries(names, names.map("env:{}".format), max_size=2),
        labels=st.dictionaries(names, words, max_size=2),
        annotations=st.dictionaries(names, words, max_size=2),
    ),
    platforms=st.lists(
        st.builds(
            PlannedPlatform,
            platform=platforms.map(Platform.parse),
            engine=st.none() | names.map("tcp://{}:1".format),
            runner=st.none() | words,
            required=st.booleans(),
            fallback=st.sampled_from(["emulate", "fail", "skip"]),
            why=st.sampled_from(["default", "anyarch.toml"]),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda each: each.platform,
    ).map(tuple),
)


@given(plans)
def test_a_plan_survives_its_file(plan: Plan) -> None:
    raw = plan.to_json()
    again = Plan.from_json(raw, subject="plan.json")
    assert again == plan
    assert (again.digest, again.to_json()) == (plan.digest, raw)


def changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(a_plan().to_json()), **changes}).encode()


def without(key: str) -> bytes:
    return json.dumps({k: v for k, v in json.loads(a_plan().to_json()).items() if k != key}).encode()


TWICE = [json.loads(a_plan().to_json())["platforms"][0]] * 2


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(b"", "plan.json: not valid JSON", id="empty file"),
        pytest.param(a_plan().to_json()[:-20], "not valid JSON", id="truncated"),
        pytest.param(b"[]", "expected a JSON object", id="a list"),
        pytest.param(
            changed(schema=2), "schema: expected 1, got 2: a newer anyarch made this", id="a later schema"
        ),
        pytest.param(
            changed(revision="other"), "the file was changed by hand", id="changed, digest as before"
        ),
        pytest.param(changed(tags=["a b"]), "'a b' is not a tag", id="odd tag"),
        pytest.param(changed(tags=["_anyarch.prune"]), "is anyarch's own", id="a tag of our own"),
        pytest.param(changed(platforms=[]), "a plan builds something", id="no platform"),
        pytest.param(changed(platforms=TWICE), "the same platform is there twice", id="a platform twice"),
        pytest.param(
            changed(platforms=[1]), "platforms[0]: expected a table, got 1", id="number for a platform"
        ),
        pytest.param(changed(platforms={}), "platforms: expected a list", id="platforms no list"),
        pytest.param(changed(extra=1), "extra: unknown key", id="unknown key"),
        pytest.param(without("destination"), "destination: missing; expected a string", id="no destination"),
        pytest.param(
            changed(build={"args": {"A": 1}}), "build.args.A: expected a string", id="number argument"
        ),
        pytest.param(b'{"schema": 1, "schema": 1}', "duplicate keys", id="duplicate key"),
        pytest.param(b"[" * 100_000, "nested too deep", id="nested too deep"),
        pytest.param(b" " * 2_000_000, "more than the", id="far too long"),
    ],
)
def test_known_bad_plan_files(raw: bytes, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_json(raw, subject="plan.json")
    assert said in str(caught.value)
    assert "plan.json" in str(caught.value)


def test_the_file_reaches_the_plan() -> None:
    config = parse_config('[platforms."linux/arm64"]\nrunner = "arm"\nrequired = false', path="anyarch.toml")
    assert make_plan(config).platforms == (
        PlannedPlatform(platform=ARM64, runner="arm", required=False, why="anyarch.toml"),
    )
