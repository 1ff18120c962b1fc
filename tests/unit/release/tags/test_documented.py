"""Every example that docker/metadata-action documents: its rules and events give the tags it promises.

The tables are those of its README (https://github.com/docker/metadata-action, release 6): facts, checked
against that action itself too when they were written down.
"""

from __future__ import annotations

import pytest

from tests.unit.release.tags.happenings import computed, happened, tags

MASTER, MY_BRANCH = "refs/heads/master", "refs/heads/my/branch"
PULL, V123, BETA = "refs/pull/2/merge", "refs/tags/v1.2.3", "refs/tags/v2.0.8-beta.67"
SEMVER = """
type=ref,event=branch
type=ref,event=pr
type=semver,pattern={{version}}
type=semver,pattern={{major}}.{{minor}}
"""


@pytest.mark.parametrize(
    ("event", "ref", "expected"),
    [
        pytest.param("pull_request", PULL, ["pr-2"], id="a pull request"),
        pytest.param("push", MASTER, ["master"], id="a branch"),
        pytest.param("push", "refs/heads/releases/v1", ["releases-v1"], id="a branch with a slash"),
        pytest.param("push", V123, ["v1.2.3", "latest"], id="a tag"),
        pytest.param("push", BETA, ["v2.0.8-beta.67", "latest"], id="a pre-release: no rule reads versions"),
        pytest.param("workflow_dispatch", MASTER, ["master"], id="started by hand"),
        pytest.param("schedule", MASTER, ["nightly", "master"], id="a schedule"),
    ],
)
def test_without_rules_there_are_four(event: str, ref: str, expected: list[str]) -> None:
    assert tags("", happened(ref, event)) == expected


@pytest.mark.parametrize(
    ("event", "ref", "expected"),
    [
        pytest.param("pull_request", PULL, ["pr-2"], id="a pull request"),
        pytest.param("push", MASTER, ["master"], id="a branch"),
        pytest.param("push", "refs/heads/releases/v1", ["releases-v1"], id="a branch with a slash"),
        pytest.param("push", V123, ["1.2.3", "1.2", "latest"], id="a version"),
        pytest.param("push", BETA, ["2.0.8-beta.67"], id="a pre-release, neither 2.0 nor latest"),
    ],
)
def test_the_example_for_versions(event: str, ref: str, expected: list[str]) -> None:
    assert tags(SEMVER, happened(ref, event)) == expected


def test_the_example_for_bake_says_its_version() -> None:
    found = computed(SEMVER + "type=sha", happened(V123))
    assert list(found.names) == ["1.2.3", "1.2", "sha-860c190", "latest"]
    assert found.version == "1.2.3"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("", "nightly", id="without pattern"),
        pytest.param(",pattern=nightly", "nightly", id="a word"),
        pytest.param(",pattern={{date 'YYYYMMDD'}}", "20200110", id="a date"),
        pytest.param(
            ",pattern={{date 'YYYYMMDD-HHmmss' tz='Asia/Tokyo'}}", "20200110-093000", id="a date in Tokyo"
        ),
    ],
)
def test_schedule(pattern: str, expected: str) -> None:
    assert tags(f"type=schedule{pattern}", happened(MASTER, "schedule")) == [expected]
    assert tags(f"type=schedule{pattern}", happened(MASTER)) == []


@pytest.mark.parametrize(
    ("git_tag", "rule", "expected"),
    [
        pytest.param("v1.2.3", "pattern={{raw}}", "v1.2.3", id="as it is"),
        pytest.param("v1.2.3", "pattern={{version}}", "1.2.3", id="the version"),
        pytest.param("v1.2.3", "pattern={{major}}.{{minor}}", "1.2", id="two numbers"),
        pytest.param("v1.2.3", "pattern=v{{major}}", "v1", id="one with a letter"),
        pytest.param("v1.2.3", "pattern={{minor}}", "2", id="the second number"),
        pytest.param("v1.2.3", "pattern={{patch}}", "3", id="the third number"),
        pytest.param("p1/v1.2.3", r"pattern={{version}},match=v(\d.\d.\d)$", "1.2.3", id="a part of the tag"),
        pytest.param("v2.0.8-beta.67", "pattern={{raw}}", "v2.0.8-beta.67", id="a pre-release as it is"),
        pytest.param("v2.0.8-beta.67", "pattern={{version}}", "2.0.8-beta.67", id="a pre-release"),
        pytest.param("v2.0.8-beta.67", "pattern={{major}}", "2.0.8-beta.67", id="a pre-release never floats"),
        pytest.param("v2.0.8-beta.67", "pattern={{major}}.{{minor}}", "2.0.8-beta.67", id="nor with two"),
        pytest.param("any", "pattern={{version}},value=v1.0.0", "1.0.0", id="a value of its own"),
        pytest.param(
            "any", r"pattern={{version}},value=p1/v1.0.0,match=v(\d.\d.\d)$", "1.0.0", id="a part of a value"
        ),
    ],
)
def test_semver(git_tag: str, rule: str, expected: str) -> None:
    found = tags(f"type=semver,{rule}", happened(f"refs/tags/{git_tag}"))
    assert found == ([expected] if "beta" in git_tag else [expected, "latest"])


@pytest.mark.parametrize(
    ("git_tag", "rule", "expected"),
    [
        pytest.param("1.2.3", "pattern={{raw}}", ["1.2.3", "latest"], id="as it is"),
        pytest.param("1.2.3", "pattern={{version}}", ["1.2.3", "latest"], id="the version"),
        pytest.param("v1.2.3", "pattern={{version}}", ["1.2.3", "latest"], id="without its v"),
        pytest.param("1.2.3", "pattern={{major}}.{{minor}}", ["1.2", "latest"], id="two numbers"),
        pytest.param("1.2.3", "pattern=v{{major}}", ["v1", "latest"], id="one with a letter"),
        pytest.param("v1.2.3rc2", "pattern={{raw}}", ["v1.2.3rc2"], id="a candidate as it is"),
        pytest.param("1.2.3rc2", "pattern={{version}}", ["1.2.3rc2"], id="a candidate"),
        pytest.param(
            "p1/v1.2.3",
            r"pattern={{version}},match=v(\d.\d.\d)$",
            ["1.2.3", "latest"],
            id="a part of the tag",
        ),
        pytest.param("1.2.3rc2", "pattern={{major}}.{{minor}}", ["1.2.3rc2"], id="a candidate never floats"),
        pytest.param("1.2.3post1", "pattern={{major}}.{{minor}}", ["1.2.3.post1"], id="nor a post-release"),
        pytest.param("1.2.3beta2", "pattern={{major}}.{{minor}}", ["1.2.3b2"], id="nor a beta"),
        pytest.param("1.0dev4", "pattern={{major}}.{{minor}}", ["1.0.dev4"], id="nor a dev release"),
        pytest.param("any", "pattern={{version}},value=1.0.0", ["1.0.0", "latest"], id="a value of its own"),
    ],
)
def test_pep440(git_tag: str, rule: str, expected: list[str]) -> None:
    assert tags(f"type=pep440,{rule}", happened(f"refs/tags/{git_tag}")) == expected


@pytest.mark.parametrize(
    ("git_tag", "rule", "expected"),
    [
        pytest.param("v1.2.3", r"pattern=\d.\d.\d", "1.2.3", id="the whole match"),
        pytest.param("v2.0.8-beta.67", "pattern=v(.*),group=1", "2.0.8-beta.67", id="a group"),
        pytest.param("v2.0.8-beta.67", r"pattern=v(\d.\d),group=1", "2.0", id="a group in the middle"),
        pytest.param("20200110-RC2", r"pattern=\d+", "20200110", id="digits"),
        pytest.param("p1/v1.2.3", r"pattern=p1/v(\d.\d.\d),group=1", "1.2.3", id="behind a slash"),
        pytest.param("any", "pattern=v(.*),group=1,value=v1.0.0", "1.0.0", id="a value of its own"),
    ],
)
def test_match(git_tag: str, rule: str, expected: str) -> None:
    assert tags(f"type=match,{rule}", happened(f"refs/tags/{git_tag}")) == [expected, "latest"]


@pytest.mark.parametrize(
    ("event", "ref", "expected"),
    [
        pytest.param("pull_request", PULL, ["pr-2"], id="a pull request"),
        pytest.param("push", MASTER, ["master"], id="a branch"),
        pytest.param("push", MY_BRANCH, ["my-branch"], id="a branch with a slash"),
        pytest.param("push", V123, ["v1.2.3", "latest"], id="a tag"),
        pytest.param("push", BETA, ["v2.0.8-beta.67", "latest"], id="a tag of a pre-release"),
        pytest.param("workflow_dispatch", MASTER, ["master"], id="started by hand"),
    ],
)
def test_ref(event: str, ref: str, expected: list[str]) -> None:
    assert (
        tags("type=ref,event=branch\ntype=ref,event=tag\ntype=ref,event=pr", happened(ref, event)) == expected
    )


@pytest.mark.parametrize(
    ("rule", "ref", "expected"),
    [
        pytest.param("type=edge", MASTER, ["edge"], id="the default branch"),
        pytest.param("type=edge", MY_BRANCH, [], id="another branch"),
        pytest.param("type=edge,branch=my/branch", MY_BRANCH, ["edge"], id="the branch that it names"),
        pytest.param("type=edge,branch=main", MASTER, [], id="not the branch that it names"),
        pytest.param("type=edge", V123, [], id="a tag"),
        pytest.param("type=sha", MASTER, ["sha-860c190"], id="the short commit"),
        pytest.param(
            "type=sha,format=long",
            MASTER,
            ["sha-860c1904a1ce19322e91ac35af1ab07466440c37"],
            id="the long commit",
        ),
        pytest.param("type=sha,prefix=", MASTER, ["860c190"], id="the commit alone"),
        pytest.param("type=raw,value=foo\ntype=raw,value=bar", MASTER, ["foo", "bar"], id="words as values"),
        pytest.param("type=raw,foo\ntype=raw,bar", MASTER, ["foo", "bar"], id="words with a type"),
        pytest.param("foo\nbar", MASTER, ["foo", "bar"], id="words alone"),
        pytest.param("type=sha,prefix={{branch}}-", MASTER, ["master-860c190"], id="a branch as prefix"),
        pytest.param(
            "type=raw,value=mytag-{{branch}}-{{sha}}",
            MASTER,
            ["mytag-master-860c190"],
            id="branch and commit",
        ),
        pytest.param(
            "type=raw,value=latest,enable={{is_default_branch}}",
            MASTER,
            ["latest"],
            id="latest, default branch",
        ),
        pytest.param(
            "type=raw,value=latest,enable={{is_default_branch}}", MY_BRANCH, [], id="latest, another branch"
        ),
        pytest.param(
            "type=raw,value=x,enable={{is_not_default_branch}}", MY_BRANCH, ["x"], id="not the default branch"
        ),
    ],
)
def test_edge_sha_and_raw(rule: str, ref: str, expected: list[str]) -> None:
    assert tags(rule, happened(ref)) == expected


@pytest.mark.parametrize(
    ("expression", "pull", "master", "my_branch", "git_tag"),
    [
        pytest.param("branch", "", "master", "my-branch", "", id="branch"),
        pytest.param("tag", "", "", "", "v1.2.3", id="tag"),
        pytest.param("base_ref", "main", "", "", "main", id="base_ref"),
        pytest.param("sha", "860c190", "860c190", "860c190", "860c190", id="sha"),
        pytest.param("is_default_branch", "false", "true", "false", "false", id="is_default_branch"),
        pytest.param("is_not_default_branch", "true", "false", "true", "true", id="is_not_default_branch"),
    ],
)
def test_expressions(expression: str, pull: str, master: str, my_branch: str, git_tag: str) -> None:
    found = [
        tags(f"type=raw,value=x{{{{{expression}}}}}", happened(ref, base_ref="main"))
        for ref in (PULL, MASTER, MY_BRANCH, V123)
    ]
    assert found == [[f"x{each}"] for each in (pull, master, my_branch, git_tag)]


def test_major_version_zero_has_its_rule_without_github_expressions() -> None:
    """What ``enable=${{ !startsWith(github.ref, 'refs/tags/v0.') }}`` does there."""
    rule = "type=semver,pattern={{version}}\n" + r"type=match,pattern=^v?([1-9]\d*)\.\d+\.\d+$,group=1"
    assert tags(rule, happened("refs/tags/v0.1.2")) == ["0.1.2", "latest"]
    assert tags(rule, happened("refs/tags/v1.1.2")) == ["1.1.2", "1", "latest"]
    assert tags(rule, happened("refs/tags/v1.1.2-rc1")) == ["1.1.2-rc1"]


@pytest.mark.parametrize(
    ("flavor", "expected"),
    [
        pytest.param("", ["1.2.3", "sha-860c190", "latest"], id="none"),
        pytest.param("latest=auto\nprefix=\nsuffix=", ["1.2.3", "sha-860c190", "latest"], id="the defaults"),
        pytest.param("latest=false", ["1.2.3", "sha-860c190"], id="never latest"),
        pytest.param("prefix=a-", ["a-1.2.3", "sha-860c190", "latest"], id="prefix, not before one's own"),
        pytest.param("suffix=-z", ["1.2.3-z", "sha-860c190-z", "latest"], id="suffix"),
        pytest.param(
            "prefix=a-,onlatest=true", ["a-1.2.3", "sha-860c190", "a-latest"], id="prefix on latest"
        ),
        pytest.param(
            "suffix=-z,onlatest=true", ["1.2.3-z", "sha-860c190-z", "latest-z"], id="suffix on latest"
        ),
    ],
)
def test_flavor(flavor: str, expected: list[str]) -> None:
    assert tags("type=semver,pattern={{version}}\ntype=sha", happened(V123), flavor) == expected


def test_latest_may_be_wanted_for_every_event() -> None:
    assert tags("type=ref,event=branch", happened(MASTER), "latest=true") == ["master", "latest"]
    assert tags("type=ref,event=tag", happened(MASTER), "latest=true") == [], "no tag, no latest"


def test_the_highest_priority_is_the_version_and_says_whether_there_is_a_latest() -> None:
    every = """
    type=sha
    foo
    type=ref,event=tag
    type=match,pattern=v(.*),group=1
    type=semver,pattern={{major}}
    """
    assert tags(every, happened(V123)) == ["1", "1.2.3", "v1.2.3", "foo", "sha-860c190", "latest"]
    assert tags("type=semver,pattern={{version}}\nfoo,priority=901", happened(V123)) == ["foo", "1.2.3"]
    assert tags("type=sha,priority=-1\ntype=raw,value=a,priority=-2", happened(V123)) == ["sha-860c190", "a"]
