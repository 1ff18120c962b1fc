from __future__ import annotations

import json
import shlex

import pytest
from anyarch.errors import ContentError, UsageError
from anyarch.release.trial import OUTPUT_MAX_CHARACTERS, TRIAL_MAX_BYTES, Trial, command_line, parse_command
from hypothesis import given
from hypothesis import strategies as st

TRIAL = Trial.of(execution="native", exit_code=7, seconds=0.25, stdout="out\n", output="out\nerr\n")


@pytest.mark.parametrize(
    ("words", "entrypoint", "line"),
    [
        pytest.param(["-v"], None, ["/app", "-v"], id="the entrypoint stays in front of a command"),
        pytest.param([], None, ["/app", "serve"], id="no command: the image's own"),
        pytest.param(["-v"], "/bin/sh", ["/bin/sh", "-v"], id="another entrypoint"),
        pytest.param(["sh", "-c", "id"], "", ["sh", "-c", "id"], id="no entrypoint"),
        pytest.param([], "/bin/sh", ["/bin/sh"], id="the image's command is the entrypoint's, not another's"),
    ],
)
def test_a_command_is_put_together_as_docker_run_does(
    words: list[str], entrypoint: str | None, line: list[str]
) -> None:
    own = {"own_entrypoint": ["/app"], "own_command": ["serve"]}
    assert command_line(words, entrypoint=entrypoint, **own) == line


@pytest.mark.parametrize("entrypoint", [None, ""])
def test_an_image_that_names_no_command_cannot_be_run_without_one(entrypoint: str | None) -> None:
    with pytest.raises(UsageError, match="nothing to run"):
        command_line([], entrypoint=entrypoint, own_entrypoint=[], own_command=[])


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
def test_words_arrive_as_they_were(words: list[str]) -> None:
    assert parse_command(shlex.join(words)) == tuple(words)


def test_nothing_in_a_command_is_expanded() -> None:
    assert parse_command("echo $HOME '*' a\\ b `id`") == ("echo", "$HOME", "*", "a b", "`id`")


@pytest.mark.parametrize(
    "text", [pytest.param("sh -c 'x", id="an open quotation"), pytest.param("a\0b", id="a NUL")]
)
def test_a_command_that_cannot_be_one(text: str) -> None:
    with pytest.raises(UsageError):
        parse_command(text)


def test_a_trial_comes_back_as_it_was_written() -> None:
    assert Trial.from_json(TRIAL.to_json(), subject="x") == TRIAL


def test_of_a_long_output_the_end_is_kept() -> None:
    text = "a" * 10 + "b" * OUTPUT_MAX_CHARACTERS
    trial = Trial.of(execution="native", exit_code=0, seconds=1.0, stdout=text, output=text)
    assert trial.output == trial.stdout == "b" * OUTPUT_MAX_CHARACTERS
    assert trial.omitted == 10
    assert Trial.from_json(trial.to_json(), subject="x") == trial


def test_the_longest_answer_fits_whatever_is_in_it() -> None:
    text = "\x01" * OUTPUT_MAX_CHARACTERS
    trial = Trial.of(execution="emulated", exit_code=0, seconds=1.0, stdout=text, output=text)
    assert len(trial.to_json()) <= TRIAL_MAX_BYTES


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"exit_code": 256}, id="no exit code"),
        pytest.param({"exit_code": "0"}, id="a word for a number"),
        pytest.param({"seconds": -1}, id="negative seconds"),
        pytest.param({"execution": "magic"}, id="no way to run"),
        pytest.param({"schema": 2}, id="another version"),
        pytest.param({"surprise": 1}, id="a field that nobody knows"),
        pytest.param({"output": "x" * (OUTPUT_MAX_CHARACTERS + 1)}, id="more than is kept"),
        pytest.param({"output": "x" * TRIAL_MAX_BYTES}, id="more than is read"),
    ],
)
def test_what_an_engine_hands_over_is_checked(change: dict[str, object]) -> None:
    raw = json.dumps(json.loads(TRIAL.to_json()) | change).encode()
    with pytest.raises(ContentError, match="linux/386"):
        Trial.from_json(raw, subject="linux/386")


@given(st.binary(max_size=200))
def test_no_bytes_but_a_trial_are_one(raw: bytes) -> None:
    with pytest.raises(ContentError):
        Trial.from_json(raw, subject="x")
