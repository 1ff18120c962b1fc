"""A rule that means nothing is refused, with its line and the nearest word there is."""

from __future__ import annotations

import re

import pytest
from anyarch.errors import ConfigError
from anyarch.release.config import parse_config
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.release.tags.happenings import faults, happened, rules, tags


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("type=semvr", "unknown type 'semvr'; did you mean semver?", id="type"),
        pytest.param("type=zzz", "expected one of schedule, semver, pep440, match, edge", id="no near type"),
        pytest.param("type=Semver", "did you mean semver?", id="type in capitals"),
        pytest.param(
            "type=semver,patern={{raw}}", "attribute 'patern'; did you mean pattern?", id="attribute"
        ),
        pytest.param("type=sha,value=x", "known for type=sha: type, enable", id="another type's attribute"),
        pytest.param("type=semver", "type=semver needs pattern=", id="semver without pattern"),
        pytest.param("type=match,group=1", "type=match needs pattern=", id="match without pattern"),
        pytest.param("type=ref", "type=ref needs event=", id="ref without event"),
        pytest.param("type=raw", "type=raw needs value=", id="raw without value"),
        pytest.param("type=ref,event=push", "event=push: expected branch or tag or pr", id="event"),
        pytest.param("type=sha,format=tiny", "format=tiny: expected short or long", id="format"),
        pytest.param("a,priority=high", "priority=high: expected a whole number", id="priority"),
        pytest.param("a,enable=yes", "enable=yes: expected true, false or", id="enable"),
        pytest.param("type=match,pattern=a,group=x", "group=x: expected a number", id="group"),
        pytest.param("type=match,pattern=(", "'(' is not a regular expression", id="pattern"),
        pytest.param("type=match,pattern=/a/q", "unknown flag 'q'", id="flag"),
        pytest.param(
            "type=semver,pattern={{raw}},match=v", "there is no group in it", id="match without group"
        ),
        pytest.param(r"type=match,pattern=\d{1,3}", "needs quotes", id="a comma in a pattern"),
        pytest.param(
            r'type=match,pattern="\d{1,3}"', "quotes around the whole attribute", id="quotes around a value"
        ),
        pytest.param("a,b", "more than one value", id="two values"),
        pytest.param("type=semver,pattern={{versio}}", "did you mean {{version}}?", id="expression"),
        pytest.param("type=semver,pattern={{branch}}", "known here: major, minor", id="not in a pattern"),
        pytest.param("x{{version}}", "unknown expression", id="only in a pattern"),
        pytest.param("x{{branch", "{{ is not closed", id="open expression"),
        pytest.param("x{{#if a}}", "unknown expression", id="a block of Handlebars"),
        pytest.param("x{{date}}", "no format", id="date without format"),
        pytest.param("x{{date YYYY}}", "format and time zone stand in quotes", id="format without quotes"),
        pytest.param("x{{date 'Y' tz=UTC}}", "time zone stand in quotes", id="time zone without quotes"),
        pytest.param("type=schedule,pattern={{date YYYY}}", "{{date 'YYYYMMDD'}}", id="in a pattern"),
        pytest.param("x{{date 'Y' tz='Mars'}}", "'Mars' is not a time zone", id="time zone"),
        pytest.param("x{{date 'Y' tz='../etc/passwd'}}", "is not a time zone", id="a path for a time zone"),
        pytest.param("x{{date 'Y' zone='UTC'}}", "unknown attribute zone", id="attribute of a date"),
        pytest.param("x{{sha 'Y'}}", "takes nothing behind it", id="format for a commit"),
        pytest.param("x,enable=${{ github.ref == 'x' }}", "only GitHub evaluates", id="GitHub's expressions"),
    ],
)
def test_a_faulty_rule_names_its_line(text: str, said: str) -> None:
    (fault,) = faults(f"# first\nfoo\n{text}")
    assert fault.startswith("rules line 3 ")
    assert said in fault


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("lastest=auto", "unknown flavor 'lastest'; did you mean latest?", id="key"),
        pytest.param("latest", "unknown flavor 'latest'", id="no value"),
        pytest.param("latest=yes", "latest=yes: expected auto or true or false", id="latest"),
        pytest.param("prefix=a,onlatest=1", "onlatest=1: expected true or false", id="onlatest"),
        pytest.param("onlatest=true", "belongs behind a prefix or a suffix", id="onlatest alone"),
        pytest.param("suffix={{shaa}}", "did you mean {{sha}}?", id="expression"),
    ],
)
def test_a_faulty_flavor_names_its_line(text: str, said: str) -> None:
    (fault,) = faults("", f"latest=auto\n{text}")
    assert fault.startswith("flavor line 2 ")
    assert said in fault


WORDS = st.sampled_from(
    [
        *("type=semver", "type=match", "type=ref", "pattern=", "event=pr", "value=", "enable=", "prefix="),
        *("{{branch}}", "{{", "{{date 'Y' tz='UTC'}}", "latest=true", "\\d{1,", "(", '"', ",", "="),
        *("\n", "\x00", "é"),
    ]
)


@given(st.lists(WORDS | st.text(max_size=5), max_size=12).map("".join))
def test_any_block_is_read_or_its_faults_are_told(text: str) -> None:
    told = faults(text, text)
    assert all(re.match(r"(rules|flavor) line \d+ ", each) for each in told)
    if not told:
        assert rules(text, text).rules


def test_all_faults_are_told_at_once() -> None:
    text = "[tags]\nrules = ['type=semvr', 'foo', 'type=ref']\nflavor = 'x=1'"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, path="anyarch.toml")
    assert [each.partition(" ")[0] for each in caught.value.offenders] == [
        "tags.rules[0]",
        "tags.rules[2]",
        "tags.flavor",
    ]


def test_comments_and_empty_lines_of_a_block_are_no_rules() -> None:
    assert [rule.text for rule in rules("\n# one\n\n   foo  \n  # two").rules] == ["foo"]


def test_names_of_attributes_may_be_in_capitals_and_have_spaces_around() -> None:
    assert tags("TYPE = raw , Value = Up", happened("")) == ["Up"]


def test_a_value_may_hold_an_equals_sign() -> None:
    assert tags("type=raw,value=a=b", happened("")) == ["a-b"]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(r'type=match,"pattern=^\d{1,3}"', id="an attribute in quotes"),
        pytest.param(
            r'"type=match,""pattern=^\d{1,3}"""', id="the whole line in quotes, those inside doubled"
        ),
        pytest.param(r'type=match,"""pattern=^\d{1,3}"""', id="an attribute in quotes twice"),
    ],
)
def test_quotes_keep_a_comma_in_a_block(line: str) -> None:
    """The first as the action's own tests have it; the other two are what it takes in a workflow."""
    assert tags(line, happened("refs/tags/12345")) == ["123", "latest"]


def test_a_rule_is_told_as_it_was_written() -> None:
    (fault,) = faults(r'type=match,"pattern=(\d{1,3}"')
    assert fault.startswith(r"""rules line 1 'type=match,"pattern=(\d{1,3}"': '(\d{1,3}' is not a regular""")
    (fault,) = faults("type=\x1b[31m,\x07")
    assert fault.isprintable()


def test_quotes_keep_a_comma_in_a_list() -> None:
    text = """[tags]\nrules = ['type=match,"pattern=^\\d{1,3}"']"""
    config = parse_config(text, path="anyarch.toml")
    assert config.tags is not None
    (rule,) = config.tags.rules
    assert rule.matcher is not None
    assert rule.matcher.match("12345") == ("123",)
