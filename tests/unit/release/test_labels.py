"""What an image says about itself follows from the commit: on labels, on manifests and on the index."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from anyarch.errors import ConfigError
from anyarch.oci.reference import Tag
from anyarch.release import marks
from anyarch.release.config import BuildSettings, Config, parse_config
from anyarch.release.labels import PREFIX, standard
from anyarch.release.plan import Plan, make_plan
from anyarch.release.publish import merge
from anyarch.release.tags.context import Context
from hypothesis import given
from hypothesis import strategies as st

from tests.releases import REVISION, a_plan, three_builds

COMMITTED = datetime(2020, 1, 10, 9, 30, tzinfo=timezone(timedelta(hours=9)))
RELEASE = Context(
    now=datetime(2026, 1, 1, tzinfo=UTC),
    ref="refs/tags/v1.2.3",
    sha=REVISION,
    default_branch="main",
    commit_date=COMMITTED,
    source="https://github.com/octocat/Hello-World",
)
SEMVER = parse_config("[tags]\nrules = 'type=semver,pattern={{version}}'", path="anyarch.toml")


def planned(config: Config = SEMVER, context: Context | None = RELEASE) -> Plan:
    return make_plan(config, revision=REVISION, context=context)


def test_labels_are_what_the_commit_and_its_tags_tell() -> None:
    build = planned().build
    known = {
        f"{PREFIX}created": "2020-01-10T00:30:00Z",
        f"{PREFIX}source": "https://github.com/octocat/Hello-World",
        f"{PREFIX}title": "Hello-World",
        f"{PREFIX}url": "https://github.com/octocat/Hello-World",
        f"{PREFIX}version": "1.2.3",
    }
    assert build.labels == known | {f"{PREFIX}revision": REVISION}
    assert build.annotations == known, "the engine and merge write the revision"


def test_the_clock_changes_nothing_on_an_image() -> None:
    later = replace(RELEASE, now=RELEASE.now + timedelta(days=1))
    assert planned(context=later) == planned()


def test_source_date_epoch_says_when_an_image_was_made() -> None:
    dated = replace(RELEASE, source_date=datetime(2001, 2, 3, tzinfo=UTC))
    assert planned(context=dated).build.labels[f"{PREFIX}created"] == "2001-02-03T00:00:00Z"


def test_what_is_not_known_is_not_said() -> None:
    nothing = Context(now=RELEASE.now)
    assert standard(nothing, version=None, revision=None) == {}
    assert planned(context=None).build == SEMVER.build


def test_the_authors_words_count_more_and_may_hold_expressions() -> None:
    text = """
    [build.labels]
    "org.opencontainers.image.title" = "greeter"
    "com.example.built" = "{{branch}}{{tag}}@{{sha}} of {{commit_date 'YYYY'}}"
    [build.annotations]
    "org.opencontainers.image.title" = "the greeter"
    """
    build = planned(parse_config(text, path="anyarch.toml")).build
    assert build.labels[f"{PREFIX}title"] == "greeter"
    assert build.labels["com.example.built"] == "v1.2.3@0123456 of 2020"
    assert build.annotations[f"{PREFIX}title"] == "the greeter"


def test_nobody_is_made_to_have_labels() -> None:
    config = parse_config('[build]\noci-labels = false\nlabels = { a = "b" }', path="anyarch.toml")
    assert (planned(config).build.labels, planned(config).build.annotations) == ({"a": "b"}, {})


@given(st.builds("refs/heads/{}".format, st.text(max_size=20)), st.text(max_size=20))
def test_a_plan_that_is_made_can_be_read_by_merge(ref: str, source: str) -> None:
    text = "[build]\nlabels = { a = '{{branch}}' }"
    try:
        plan = planned(parse_config(text, path="anyarch.toml"), replace(RELEASE, ref=ref, source=source))
    except ConfigError as error:
        assert 'label or annotation "a" would be' in error.what  # noqa: PT017  one of two good ends
    else:
        assert Plan.from_json(plan.to_json(), subject="plan.json") == plan


@pytest.mark.anyio
async def test_the_index_says_what_its_plan_says() -> None:
    plan = a_plan(build=BuildSettings(annotations={f"{PREFIX}version": "1.2.3", "com.example.a": "b"}))
    store, records = await three_builds(plan)
    release = await merge(store, records, plan=plan, tags=[Tag("latest")])
    said = release.index.annotations
    assert (said[f"{PREFIX}version"], said["com.example.a"]) == ("1.2.3", "b")
    assert (said[marks.PLAN], said[marks.REVISION]) == (str(plan.digest), REVISION)
    again = await merge(store, records, plan=plan, tags=[Tag("latest")])
    assert again.digest == release.digest


@pytest.mark.anyio
async def test_without_a_plan_the_index_says_nothing_of_a_version() -> None:
    plan = a_plan(build=BuildSettings(annotations={f"{PREFIX}version": "1.2.3"}))
    store, records = await three_builds(plan)
    release = await merge(store, records, tags=[Tag("latest")])
    assert f"{PREFIX}version" not in release.index.annotations
