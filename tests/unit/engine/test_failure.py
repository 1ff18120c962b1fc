from __future__ import annotations

from dataclasses import replace

import pytest
from anyarch import errors
from anyarch.engine.failure import Subject, Transcript, explain
from anyarch.engine.output import parse_line

SUBJECT = Subject(
    platform="linux/arm64",
    engine="tcp://arm:1234",
    repository="registry.example.com/shop/api",
    log=".anyarch/logs/linux-arm64.log",
)


def explained(text: str, lack: str = "") -> errors.AnyarchError:
    transcript = Transcript()
    for raw in text.strip("\n").splitlines():
        transcript.add(parse_line(raw))
    return explain(transcript, status=1, subject=replace(SUBJECT, lack=lack))


OURS = """
9   : Anyarch.build ERROR [3.5s]
9   : ! anyarch.BuildFailedError: linux/arm64: RUN make ended with 3
    first
    second

Error: anyarch.BuildFailedError: linux/arm64: RUN make ended with 3
    first
    second [traceparent:2395cb29d3f0db53d0920bc888165df3-eebb24df6289f411]
"""
RUN_FAILED = """
15  : ┆ ┆ withExec /bin/sh -c 'make'
15  : ┆ ┆ [0.1s] | cc -c main.c
15  : ┆ ┆ [0.2s] | main.c:1: error: no
15  : ┆ ┆ Container.withExec ERROR [2.1s]
15  : ┆ ┆ ! exit code: 2
11  : ┆ Directory.dockerBuild ERROR [2.1s]
Error: failed
"""


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        pytest.param(
            OURS,
            errors.BuildFailedError,
            "RUN make ended with 3\n    first\n    second",
            id="our module's own error",
        ),
        pytest.param(
            RUN_FAILED, errors.BuildFailedError, "RUN make failed: exit code: 2", id="the engine's error"
        ),
        pytest.param(
            "Error: anyarch.AuthenticationError: registry.example.com wants credentials\n  → log in",
            errors.AuthenticationError,
            "registry.example.com wants credentials",
            id="credentials",
        ),
        pytest.param(
            "Error: anyarch.RegistryUnavailableError: connection refused",
            errors.RegistryUnavailableError,
            "connection refused",
            id="registry down",
        ),
        pytest.param(
            "7   : write layer ERROR [1.0s]\n7   : ! write /x: no space left on device",
            errors.EngineDiskFullError,
            "no room left",
            id="disk full",
        ),
        pytest.param(
            "Error: start engine: failed to run command [docker version]: exit status 1 [traceparent:ab-cd]",
            errors.EngineUnreachableError,
            "docker version",
            id="no engine",
        ),
        pytest.param(
            "5   : pushing x ERROR [1.0s]\n5   : ! failed to push: HEAD request: 401 Unauthorized",
            errors.AuthenticationError,
            "publishing to registry.example.com/shop/api failed",
            id="the engine's push is not let in",
        ),
        pytest.param(
            "5   : pushing x ERROR [1.0s]\n5   : ! failed to push x: denied: requested access is denied",
            errors.DeniedError,
            "denied",
            id="the engine's push is denied",
        ),
        pytest.param(
            '5   : ! failed to do request: Head "https://r": http: server gave HTTP response to HTTPS client',
            errors.RegistryUnavailableError,
            "HTTP response to HTTPS client",
            id="a registry without TLS",
        ),
        pytest.param("Error: something new", errors.BuildFailedError, "something new", id="anything else"),
        pytest.param("", errors.BuildFailedError, "exit status 1", id="silence"),
    ],
)
def test_the_cause_has_its_class_and_its_words(text: str, kind: type[errors.AnyarchError], said: str) -> None:
    error = explained(text)
    assert type(error) is kind
    assert said in error.what
    assert error.what.count("linux/arm64") == 1
    assert error.facts["platform"] == "linux/arm64"


def test_the_lines_that_show_a_failure_are_the_failing_steps_own() -> None:
    error = explained("3   : withExec /bin/sh -c 'other'\n3   : [0.1s] | not me\n" + RUN_FAILED.strip())
    assert "main.c:1: error: no" in error.what
    assert "not me" not in error.what


def test_a_program_that_prints_a_registrys_error_fails_as_a_build() -> None:
    """What a RUN instruction prints must not be taken for the engine's own trouble."""
    error = explained(RUN_FAILED.replace("main.c:1: error: no", "curl: 401 Unauthorized; failed to push"))
    assert type(error) is errors.BuildFailedError


def test_hint_and_offenders_of_our_own_errors_survive() -> None:
    error = explained(
        "Error: anyarch.MergeRefusedError: refused to merge\n"
        "  - linux/386: missing\n  - linux/arm: extra\n  → build again\n"
    )
    assert isinstance(error, errors.MergeRefusedError)
    assert error.offenders == ("linux/386: missing", "linux/arm: extra")
    assert error.hint == "build again"


def test_a_class_that_is_not_ours_is_no_error_class() -> None:
    error = explained("Error: anyarch.ImportError: x\nError: anyarch.TYPE_CHECKINGError: y")
    assert type(error) is errors.BuildFailedError


def test_only_the_last_lines_of_a_long_output_are_shown() -> None:
    printed = "\n".join(f"15  : [1.0s] | line {number}" for number in range(5000))
    error = explained(f"15  : withExec make\n{printed}\n15  : Container.withExec ERROR [9s]")
    assert "line 4999" in error.what
    assert len(error.what.splitlines()) <= 16


LOST = """
Error: anyarch.BuildFailedError: the engine lost the command RUN make; most often its disk is full
    cc -c main.c
  → is there room?
"""


def test_a_lost_command_is_a_full_disk_where_that_can_be_seen() -> None:
    error = explained(LOST, lack="/state/engine.log says: no space left on device")
    assert type(error) is errors.EngineDiskFullError
    assert (
        "tcp://arm:1234 has no room left: it lost the command RUN make, and /state/engine.log" in error.what
    )
    assert "local-cache prune" in error.hint


def test_a_lost_command_is_a_failed_build_where_nothing_else_is_known() -> None:
    error = explained(LOST)
    assert type(error) is errors.BuildFailedError
    assert error.what.endswith("most often its disk is full\n    cc -c main.c")
    assert error.hint == "is there room?"


def test_a_failed_command_is_its_own_fault_however_full_the_disk_is() -> None:
    assert type(explained(OURS, lack="1 MiB are free in /state")) is errors.BuildFailedError


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(OURS.replace("    first", "    fork/exec /hello: exec format error"), id="our module's"),
        pytest.param(RUN_FAILED.replace("error: no", "Exec format error"), id="the engine's"),
    ],
)
def test_an_engine_that_does_not_run_the_platforms_programs_is_told_how_to(text: str) -> None:
    error = explained(text)
    assert "anyarch engine up --emulate linux/arm64" in error.hint
    assert ".anyarch/logs/linux-arm64.log" in error.hint


def test_the_hint_names_the_log() -> None:
    assert SUBJECT.log in explained(RUN_FAILED).hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("1   : connect", "not reached", id="before the Dockerfile"),
        pytest.param(
            "5   : withExec make\n6   : withExec test\n5   : [2.0s] | cc",
            "RUN make",
            id="the one that printed",
        ),
    ],
)
def test_the_last_words_name_where_it_stood(text: str, said: str) -> None:
    transcript = Transcript()
    for raw in text.splitlines():
        transcript.add(parse_line(raw))
    assert said in transcript.last_words()
