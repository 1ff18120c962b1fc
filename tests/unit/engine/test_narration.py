from __future__ import annotations

import pytest
from anyarch.engine.narration import Narration, instruction_of
from anyarch.engine.output import Kind, Line, parse_line
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param("1   : connect", Line(1, Kind.STARTED, "connect"), id="a step starts"),
        pytest.param("18  : ┆ ┆ withExec make", Line(18, Kind.STARTED, "withExec make"), id="nested"),
        pytest.param(
            "4   : ┆ starting session DONE [0.7s]", Line(4, Kind.DONE, "starting session", "0.7s"), id="done"
        ),
        pytest.param(
            "4   : build DONE [1m2s] | Memory Bytes (current): 1 GB",
            Line(4, Kind.DONE, "build", "1m2s"),
            id="done with figures",
        ),
        pytest.param("8   : anyarch CACHED [0.0s]", Line(8, Kind.CACHED, "anyarch", "0.0s"), id="cached"),
        pytest.param("9   : x ERROR [3.5s]", Line(9, Kind.ERROR, "x", "3.5s"), id="failed"),
        pytest.param("9   : ┆ ! exit code: 3", Line(9, Kind.FAILURE, "exit code: 3"), id="why"),
        pytest.param("15  : ┆ ┆ [0.1s] | start", Line(15, Kind.PRINTED, "start"), id="printed"),
        pytest.param("15  : ┆ ┆ [1h2m3s] |", Line(15, Kind.PRINTED, ""), id="printed an empty line"),
        pytest.param(
            "15  : [0.1s] | 16  : fake DONE [9s]",
            Line(15, Kind.PRINTED, "16  : fake DONE [9s]"),
            id="printed what looks like a step",
        ),
        pytest.param("Error: x", Line(0, Kind.OTHER, "Error: x"), id="no step"),
        pytest.param("", Line(0, Kind.OTHER, ""), id="empty"),
        pytest.param(
            "\x1b[95m2   : \x1b[0m\x1b[90;2m┆ \x1b[0mexec\x1b[31m ERROR\x1b[0m\x1b[90m [0.0s]\x1b[0m",
            Line(2, Kind.ERROR, "exec", "0.0s"),
            id="in colours",
        ),
    ],
)
def test_a_line_of_the_client_is_read(raw: str, expected: Line) -> None:
    assert parse_line(raw) == expected


@given(st.text())
def test_any_line_is_read_and_none_can_drive_a_terminal(raw: str) -> None:
    assert all(c.isprintable() or c == "\t" for c in parse_line(raw).text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("withExec /bin/sh -c 'make all'", "RUN make all", id="shell form"),
        pytest.param("withExec make all", "RUN make all", id="exec form"),
        pytest.param(
            'Container.from(address: "docker.io/library/debian:bookworm-slim@sha256:08"): Container!',
            "FROM debian:bookworm-slim",
            id="base from Docker Hub",
        ),
        pytest.param(
            'Missing.from(address: "registry.example.com/base:1"): Container!',
            "FROM registry.example.com/base:1",
            id="base from elsewhere",
        ),
        pytest.param("resolving docker.io/library/nope:1", "FROM nope:1", id="a base that is looked for"),
        pytest.param("withEnvVariable PATH=/bin", "", id="no instruction worth a word"),
        pytest.param('Directory.file(path: ".dockerignore"): File!', "", id="the engine's own business"),
    ],
)
def test_a_step_is_named_as_the_dockerfile_does(name: str, expected: str) -> None:
    assert instruction_of(name) == expected


def told(narration: Narration, *raw: str) -> list[str]:
    return [words for line in raw if (words := narration.hear(parse_line(line)))]


def test_a_step_is_told_when_it_ended_and_not_when_it_was_declared() -> None:
    narration = Narration()
    declared = ("5   : withExec /bin/sh -c 'make'", "5   : Container.withExec DONE [0.0s]")
    assert told(narration, *declared) == []
    assert told(narration, "5   : Container.withExec DONE [12.3s]") == ["RUN make  12.3s"]


def test_the_step_that_prints_is_the_one_that_runs() -> None:
    narration = Narration()
    told(narration, "5   : withExec /bin/sh -c 'one'", "6   : withExec /bin/sh -c 'two'")
    told(narration, "5   : [1.0s] | compiling")
    assert narration.current == "RUN one"


def test_the_same_words_are_told_once() -> None:
    narration = Narration()
    assert told(narration, "3   : loading type definitions", "3   : loading type definitions") == [
        "loading the pipeline"
    ]


def test_failed_and_cached_steps_say_so() -> None:
    narration = Narration()
    told(narration, "5   : withExec make", "6   : withExec test")
    assert told(
        narration, "5   : Container.withExec CACHED [0.0s]", "6   : Container.withExec ERROR [2.1s]"
    ) == [
        "RUN make  cached",
        "RUN test  FAILED after 2.1s",
    ]


def test_a_long_instruction_is_one_short_line() -> None:
    narration = Narration()
    told(narration, "5   : withExec /bin/sh -c '" + "x" * 500 + "'")
    assert len(narration.current) <= 100
