from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from anyarch.engine.ending import PASSWORD_VARIABLE
from anyarch.engine.failure import Subject, Transcript, explain
from anyarch.engine.narration import Narration
from anyarch.engine.output import parse_line
from anyarch.engine.trial import TrialCall
from anyarch.engine.urls import parse_engine_url
from anyarch.errors import CannotRunError
from anyarch.oci.platforms import Platform

REPOSITORY = "registry.example.com/app"
IMAGE = f"{REPOSITORY}@sha256:{'0' * 64}"
STEP = (
    "16  : ┆ withExec sh -c 'echo one; sleep 9' (expect: ANY, noInit: true)"  # as an engine v0.21.8 says it
)
CALL = TrialCall(
    dagger="dagger",
    module="/checkout",
    engine=parse_engine_url("tcp://arm.example.com:1234"),
    platform=Platform.parse("linux/arm64"),
    image=IMAGE,
    command="sh -c 'a, b'",
    entrypoint=None,
    result=Path("/work/x/trial.json"),
    repository=REPOSITORY,
    username="robot",
    password="canary-Wd5",
    log=Path("/work/x/log"),
    deadline_seconds=60,
)


def test_the_client_is_called_as_a_person_would() -> None:
    assert CALL.argv() == [
        *("dagger", "--progress=plain", "call", "-m", "/checkout", "trial", "--platform=linux/arm64"),
        *(f"--ref={IMAGE}", "--command=sh -c 'a, b'", "--username=robot"),
        *(f"--password=env:{PASSWORD_VARIABLE}", "export", "--path=/work/x/trial.json"),
    ]


def test_no_entrypoint_is_not_the_same_as_the_images_own() -> None:
    assert "--entrypoint=" in replace(CALL, entrypoint="").argv()


def test_an_image_may_be_handed_over_as_a_layout() -> None:
    argv = replace(CALL, image=Path("/work/x/layout"), username="", password="").argv()
    assert "--layout=/work/x/layout" in argv
    assert not [word for word in argv if word.startswith(("--ref", "--username", "--password"))]


def test_the_password_is_in_the_environment_only() -> None:
    assert CALL.environment({})[PASSWORD_VARIABLE] == "canary-Wd5"
    assert "canary-Wd5" not in f"{CALL!r} {CALL.argv()}"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param([], "it had not begun by then", id="nothing yet"),
        pytest.param([STEP], "it had said nothing", id="a silent command"),
        pytest.param([STEP, "16  : ┆ [0.1s] | one"], "it had said:\n    one", id="its last lines"),
    ],
)
def test_beyond_the_deadline_it_is_told_how_far_it_came(lines: list[str], said: str) -> None:
    transcript = Transcript()
    for line in ["3   : ┆ [0.0s] | INF connected", *lines]:
        transcript.add(parse_line(line))
    assert CALL.late(transcript).what == f"linux/arm64: the command did not end within 60 s; {said}"


def test_progress_says_that_the_command_runs() -> None:
    narration = Narration()
    assert narration.hear(parse_line(STEP)) == "running the command"
    assert narration.current == "running the command"


def test_a_failure_of_unknown_cause_is_not_called_a_build() -> None:
    subject = Subject(
        platform="linux/arm64", engine="x", repository="", log="log", work=CALL.work, kind=CALL.kind
    )
    error = explain(Transcript(), status=1, subject=subject)
    assert type(error) is CannotRunError
    assert error.what == "linux/arm64: running the image failed (dagger: exit status 1)"
