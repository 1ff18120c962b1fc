"""Beyond the documented examples: any ref gives valid tags or one clear error, and every rule says why."""

from __future__ import annotations

import re

import pytest
from anyarch.errors import ConfigError
from anyarch.oci.reference import Tag
from anyarch.release.tags.compute import compute_tags
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.release.tags.happenings import computed, happened, rules, tags

EVERY_TYPE = rules(
    """
    type=schedule
    type=semver,pattern={{version}}
    type=semver,pattern={{major}}.{{minor}},prefix=s
    type=pep440,pattern={{version}}
    type=match,pattern=(.+)-,group=1
    type=edge
    type=ref,event=branch
    type=ref,event=tag
    type=ref,event=pr
    type=raw,value=x{{branch}}{{tag}}{{base_ref}}
    type=sha
    """
)
REFS = st.builds(
    "{}{}".format, st.sampled_from(["refs/heads/", "refs/tags/", "refs/pull/", ""]), st.text(max_size=150)
) | st.from_regex(r"refs/(heads|tags)/v?[0-9.]{1,9}[-+a-z0-9./]{0,9}", fullmatch=True)


@given(REFS, st.sampled_from(["push", "schedule", "pull_request", "issues", ""]))
def test_any_ref_gives_valid_tags_or_one_clear_error(ref: str, event: str) -> None:
    try:
        names = compute_tags(EVERY_TYPE, happened(ref, event)).names
    except ConfigError as error:
        assert "which is no tag" in error.what  # noqa: PT017  one of two good ends
        assert re.search(r"rules line \d+ 'type=", error.what)  # noqa: PT017  as above
    else:
        assert [str(Tag.parse(name)) for name in names] == list(names)
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        pytest.param(
            "refs/heads/my/feature#1245", "my-feature-1245", id="a run of odd characters is one dash"
        ),
        pytest.param("refs/heads/a//##b", "a-b", id="several, too"),
        pytest.param("refs/heads/Über_1.0", "-ber_1.0", id="letters beyond ASCII"),
        pytest.param("refs/heads/UPPER", "UPPER", id="case is kept"),
    ],
)
def test_what_may_not_be_in_a_tag_becomes_a_dash(ref: str, expected: str) -> None:
    assert tags("type=ref,event=branch,prefix=x", happened(ref)) == [f"x{expected}"]


@pytest.mark.parametrize(
    ("rule", "ref", "said"),
    [
        pytest.param(
            "type=sha,prefix={{branch}}-",
            "refs/tags/1",
            "gives '-860c190', which is no tag",
            id="starts with -",
        ),
        pytest.param(
            "type=ref,event=branch", f"refs/heads/{'a' * 129}", "which is no tag", id="129 characters"
        ),
        pytest.param(
            "a,enable={{branch}}",
            "refs/heads/yes",
            "enable is 'yes'; expected true or false",
            id="odd enable",
        ),
    ],
)
def test_no_registry_takes_it(rule: str, ref: str, said: str) -> None:
    with pytest.raises(ConfigError, match="rules line 1 '") as caught:
        computed(rule, happened(ref))
    assert said in caught.value.what


@pytest.mark.parametrize(
    ("rule", "ref", "said"),
    [
        pytest.param("foo,enable=false", "refs/heads/main", "disabled", id="disabled"),
        pytest.param(
            "foo,enable={{is_default_branch}}", "refs/heads/x", "enable= is false here", id="not enabled"
        ),
        pytest.param("type=schedule", "refs/heads/x", "the event is push, not schedule", id="no schedule"),
        pytest.param(
            "type=semver,pattern={{raw}}", "refs/heads/x", "not a git tag: refs/heads/x", id="no git tag"
        ),
        pytest.param(
            "type=semver,pattern={{raw}}", "refs/tags/x", "'x' is not a valid semver", id="no version"
        ),
        pytest.param(
            "type=pep440,pattern={{raw}}", "refs/tags/x", "'x' is not a valid pep440", id="no PEP 440"
        ),
        pytest.param("type=match,pattern=v", "refs/tags/x", "does not match 'x'", id="no match"),
        pytest.param(
            "type=match,pattern=x,group=1", "refs/tags/x", "there is no group 1", id="no such group"
        ),
        pytest.param(
            "type=match,pattern=x(y)?,group=1", "refs/tags/x", "no group 1", id="a group without part"
        ),
        pytest.param("type=ref,event=pr", "", "nothing is known of a ref", id="no ref at all"),
        pytest.param("type=edge", "refs/heads/x", "the branch is x, not master", id="another branch"),
        pytest.param("{{tag}}", "refs/heads/x", "its value is empty", id="empty"),
    ],
)
def test_a_rule_without_a_tag_says_why(rule: str, ref: str, said: str) -> None:
    (outcome,) = computed(rule, happened(ref)).outcomes
    assert outcome.tag is None
    assert said in outcome.reason


def test_what_is_not_known_gives_no_tag() -> None:
    (edge,) = computed("type=edge", happened("refs/heads/x", default_branch="")).outcomes
    (sha,) = computed("type=sha", happened("refs/heads/x", sha="")).outcomes
    (latest,) = computed(
        "x,enable={{is_default_branch}}", happened("refs/heads/x", default_branch="")
    ).outcomes
    assert "set-head origin --auto; or write branch=" in edge.reason
    assert "set-head origin --auto" in latest.reason
    assert "the commit is not known" in sha.reason


def test_a_tag_that_two_rules_give_is_there_once() -> None:
    found = computed("a\na\nlatest\ntype=ref,event=tag", happened("refs/tags/a"))
    assert found.names == ("a", "latest")
    assert [each.reason for each in found.outcomes].count("there already") == 2


def test_a_rules_own_affix_takes_the_place_of_the_flavors_even_if_empty() -> None:
    text = "type=raw,value=x\ntype=raw,value=y,prefix=,suffix=\ntype=ref,event=pr"
    found = tags(text, happened("refs/pull/7/merge"), "prefix=f-\nsuffix=-{{sha}}")
    assert found == ["pr-7-860c190", "f-x-860c190", "y"]


def test_handlebars_writes_for_html_unless_there_are_three_braces() -> None:
    master = happened("refs/heads/a&b")
    assert tags("x{{branch}}\nx{{{branch}}}\nx{{&branch}}", master) == ["xa-amp-b", "xa-b"]


def test_the_first_match_of_all_is_not_the_first_group() -> None:
    tagged = happened("refs/tags/v12.34")
    assert tags(r"type=match,pattern=/\d+/g,group=1", tagged, "latest=false") == ["34"]
    assert tags(r"type=match,pattern=/V(\d+)/i,group=1", tagged, "latest=false") == ["12"]
    assert tags(r"type=match,pattern=v(?<x>\d+),group=1", tagged, "latest=false") == ["12"]


@pytest.mark.parametrize(
    "git_tag",
    [
        "v1.2",
        "1.2.3.4",
        "01.2.3",
        "1.2.3-01",
        "=1.2.3",
        "vv1.2.3",
        "V1.2.3",
        "9007199254740992.0.0",
        "1" * 260,
    ],
)
def test_npm_takes_none_of_these_for_a_version(git_tag: str) -> None:
    assert tags("type=semver,pattern={{version}}", happened(f"refs/tags/{git_tag}")) == []


@pytest.mark.parametrize(
    ("git_tag", "expected"),
    [
        pytest.param("v1.2.3+build.5", ["1.2.3", "latest"], id="build metadata is not part of it"),
        pytest.param("1.0.0-rc-1", ["1.0.0-rc-1"], id="a dash in a pre-release"),
        pytest.param("1.0.0-rc/1", ["1.0.0-rc-1"], id="a slash is a dash before it is read"),
        pytest.param("9007199254740991.0.0", ["9007199254740991.0.0", "latest"], id="the largest number"),
    ],
)
def test_npm_takes_these(git_tag: str, expected: list[str]) -> None:
    assert tags("type=semver,pattern={{version}}", happened(f"refs/tags/{git_tag}")) == expected


def test_a_local_version_of_python_has_dashes() -> None:
    found = tags("type=pep440,pattern={{version}}", happened("refs/tags/1.0+Ubuntu.01"), "latest=false")
    assert found == ["1.0-ubuntu-1"]


@pytest.mark.parametrize("event", ["schedule", "issues", "discussion_comment", "create"])
def test_some_events_are_always_about_the_default_branch(event: str) -> None:
    rule = "x,enable={{is_default_branch}}"
    assert tags(rule, happened("refs/heads/elsewhere", event)) == ["x"]
    assert tags(rule, happened("", event)) == []


def test_a_short_commit_may_be_longer() -> None:
    wide = rules("type=sha\nx{{sha}}", short_sha_length=12)
    assert compute_tags(wide, happened("refs/heads/x")).names == ("x860c1904a1ce", "sha-860c1904a1ce")


def test_without_a_commit_date_it_is_now() -> None:
    rule = "x{{commit_date 'YYYY'}}"
    assert tags(rule, happened("refs/heads/x", commit_date=None)) == ["x2020"]


@pytest.mark.parametrize("kind", ["semver", "pep440"])
def test_a_match_that_does_not_match_leaves_the_whole_tag_and_says_so(kind: str) -> None:
    rule = f"type={kind},pattern={{{{version}}}},match=app-(.*)$"
    found = computed(rule, happened("refs/tags/1.2.3")).outcomes[0]
    assert (found.tag, found.reason) == ("1.2.3", "match= does not match '1.2.3', so all of it counts")
    other = computed(rule, happened("refs/tags/v1x")).outcomes[0]
    assert (other.tag, other.reason) == (
        None,
        f"'v1x' is not a valid {kind} version: match= does not match 'v1x', so all of it counts",
    )
    assert computed(rule, happened("refs/tags/app-1.2.3")).outcomes[0].reason == ""


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        pytest.param("app-(.*)$,group=1", "the pattern does not match 'v1.2.3'", id="no match"),
        pytest.param("v(x)?,group=1", "there is no group 1 in the match", id="a group that took no part"),
        pytest.param("v(.*),group=2", "there is no group 2 in the match", id="no such group"),
        pytest.param("v(x*),group=1", "its value is empty", id="an empty group"),
    ],
)
def test_a_match_of_nothing_gives_no_tag_and_says_why(pattern: str, said: str) -> None:
    (found,) = computed(f"type=match,pattern={pattern}", happened("refs/tags/v1.2.3")).outcomes
    assert (found.tag, found.reason) == (None, said)
