from __future__ import annotations

import re

import pytest
from anyarch.errors import UsageError
from anyarch.release.secret_lines import parse_secret_lines
from hypothesis import given
from hypothesis import strategies as st

CANARY = "canary-J4"
VALUES = st.text(st.characters(exclude_characters="\r", codec="utf-8")).filter(
    lambda text: "=end=" not in text
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param("npm=abc", {"npm": "abc"}, id="one line"),
        pytest.param("npm= a=b== \r\nkey=\r\n", {"npm": " a=b== ", "key": ""}, id="values as they are"),
        pytest.param("npm<<EOF\none\n\nkey=x\nEOF\nkey=y", {"npm": "one\n\nkey=x", "key": "y"}, id="a block"),
        pytest.param("\n\nnpm=abc\n\n", {"npm": "abc"}, id="empty lines between"),
    ],
)
def test_what_lines_say(text: str, values: dict[str, str]) -> None:
    assert parse_secret_lines(text, known=["npm", "key"]) == values


@given(st.dictionaries(st.sampled_from(["npm", "key", "a.b-c_9"]), VALUES))
def test_any_value_can_be_handed_over(values: dict[str, str]) -> None:
    text = "".join(f"{name}<<=end=\n{value}\n=end=\n" for name, value in values.items())
    assert parse_secret_lines(text, known=list(values)) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(f"npm=a\n{CANARY}", "line 2 is not ID=value", id="no line of ours"),
        pytest.param(
            f"nmp={CANARY}", "line 1 is for no secret of this build", id="an id that nobody asks for"
        ),
        pytest.param(f"npm={CANARY}\nnpm={CANARY}", "line 2 gives npm again", id="twice"),
        pytest.param(f"\nnpm<<EOF\n{CANARY}\n EOF", "what begins in line 2 does not end", id="no end"),
        pytest.param(f"a b={CANARY}", "line 1 is not ID=value", id="no id"),
    ],
)
def test_a_mistake_is_named_by_its_line_and_never_by_its_value(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        parse_secret_lines(text, known=["npm"])
    assert CANARY not in str(caught.value)


def test_a_build_without_secrets_says_where_they_are_named() -> None:
    with pytest.raises(UsageError, match=r"\[build.secrets\]"):
        parse_secret_lines("npm=x", known=[])
