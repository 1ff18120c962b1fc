from __future__ import annotations

import string
from contextlib import suppress

import pytest
from anyarch.errors import RegistryProtocolError
from anyarch.registry.challenge import Challenge, parse_challenges
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.text(string.ascii_letters + string.digits + "!#$%&'*+.^_`|~-", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
CHALLENGES = st.tuples(WORDS, st.dictionaries(WORDS.map(str.lower), VALUES, max_size=4))


def written(challenge: tuple[str, dict[str, str]]) -> str:
    scheme, parameters = challenge
    escaped = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()}
    return f"{scheme} " + ", ".join(f'{name}="{value}"' for name, value in escaped.items())


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
            id="Docker Hub: commas inside quotes",
        ),
        pytest.param(
            'Basic realm="https://x.amazonaws.com/", service="ecr.amazonaws.com"',
            [Challenge("basic", {"realm": "https://x.amazonaws.com/", "service": "ecr.amazonaws.com"})],
            id="ECR",
        ),
        pytest.param(
            'Negotiate, Basic realm=plain,BEARER REALM = "https://x"',
            [
                Challenge("negotiate"),
                Challenge("basic", {"realm": "plain"}),
                Challenge("bearer", {"realm": "https://x"}),
            ],
            id="several in one header",
        ),
        pytest.param(
            "NTLM TlRMTVNTUAAB==, Basic realm=a",
            [Challenge("ntlm", {}, "TlRMTVNTUAAB=="), Challenge("basic", {"realm": "a"})],
            id="token68",
        ),
        pytest.param(
            r'Bearer realm="a\"b\\c", x=1',
            [Challenge("bearer", {"realm": 'a"b\\c', "x": "1"})],
            id="escapes",
        ),
        pytest.param(
            'Bearer note="realm=\\"https://evil.example\\"", realm="https://good.example"',
            [Challenge("bearer", {"note": 'realm="https://evil.example"', "realm": "https://good.example"})],
            id="a realm inside another value is no realm",
        ),
        pytest.param(", ,Basic realm=a ,", [Challenge("basic", {"realm": "a"})], id="empty elements"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_challenges_are_read_by_the_grammar(header: str, expected: list[Challenge]) -> None:
    found = parse_challenges([header])
    assert list(found) == expected
    assert [each.parameters for each in found] == [each.parameters for each in expected]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param('Bearer realm="open', id="quote never closed"),
        pytest.param('Bearer realm="a" service="b"', id="no comma"),
        pytest.param('Bearer realm="a", realm="b"', id="two realms"),
        pytest.param("Bearer realm=https://x/y", id="a URL needs quotes"),
        pytest.param("Negotiate Basic realm=x", id="two schemes without a comma"),
        pytest.param('="x"', id="no scheme"),
        pytest.param('Bearer realm="a\x01b"', id="control character"),
        pytest.param("Bearer x=" + "a" * 9000, id="too long"),
    ],
)
def test_malformed_challenges_are_refused(header: str) -> None:
    with pytest.raises(RegistryProtocolError):
        parse_challenges([header])


@given(st.lists(st.text(max_size=200), max_size=3))
def test_any_text_is_read_or_refused(headers: list[str]) -> None:
    with suppress(RegistryProtocolError):
        parse_challenges(headers)


@given(st.lists(st.text(' ,="\\aB9/\t', max_size=40), max_size=2))
def test_texts_near_the_grammar_are_read_or_refused(headers: list[str]) -> None:
    try:
        found = parse_challenges(headers)
    except RegistryProtocolError:
        return
    assert all(challenge.scheme for challenge in found)


@given(st.lists(CHALLENGES, min_size=1, max_size=3))
def test_what_was_written_is_read_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    found = parse_challenges([", ".join(map(written, challenges))])
    assert [(each.scheme, dict(each.parameters)) for each in found] == [
        (scheme.lower(), parameters) for scheme, parameters in challenges
    ]
