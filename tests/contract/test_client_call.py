from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.engine.call import BuildCall, carry_out
from anyarch.engine.ending import PASSWORD_VARIABLE, Layout, Publish
from anyarch.engine.select import RUNNER_HOST
from anyarch.engine.urls import parse_engine_url
from anyarch.errors import (
    AuthenticationError,
    BuildFailedError,
    BuildTimeoutError,
    EngineDiskFullError,
    FileProblemError,
    MissingToolError,
)
from anyarch.oci.platforms import Platform

from tests.fake_dagger import FakeDagger

if TYPE_CHECKING:
    from pathlib import Path

    from anyarch.engine.output import Line

pytestmark = pytest.mark.anyio

ARM = "linux/arm64"
CANARY = "canary-Wd5"


@pytest.fixture
def dagger(tmp_path: Path) -> FakeDagger:
    return FakeDagger(tmp_path / "dagger")


@pytest.fixture
def call(dagger: FakeDagger, tmp_path: Path) -> BuildCall:
    return BuildCall(
        dagger=str(dagger.program),
        module="/checkout",
        engine=parse_engine_url("tcp://arm.example.com:1234"),
        source=tmp_path,
        platform=Platform.parse(ARM),
        arguments=(f"--platform={ARM}", "--dockerfile=Dockerfile"),
        exclude=(".anyarch", 'a,"b'),
        ending=Publish(
            repository="registry.example.com/app",
            record=tmp_path / "record.json",
            username="robot",
            password=CANARY,
            insecure=True,
        ),
        log=tmp_path / "arm.log",
        deadline_seconds=20,
    )


def ignore(_: Line) -> None:
    pass


async def test_the_client_is_called_as_a_person_would(
    call: BuildCall, dagger: FakeDagger, tmp_path: Path
) -> None:
    await carry_out(call, on_line=ignore)
    note = dagger.called(ARM)
    assert note is not None
    assert note["argv"] == [
        *("--progress=plain", "call", "-m", "/checkout", "build", f"--source={tmp_path}"),
        *(f"--platform={ARM}", "--dockerfile=Dockerfile", "--exclude=.anyarch", '--exclude="a,""b"'),
        *("publish", "--repository=registry.example.com/app", "--username=robot"),
        *(f"--password=env:{PASSWORD_VARIABLE}", "--insecure", "export", f"--path={tmp_path}/record.json"),
    ]


async def test_why_no_other_password_could_be_had_is_told(
    call: BuildCall, dagger: FakeDagger, tmp_path: Path
) -> None:
    """The command runs below the client, which keeps its words to itself."""
    says = [f"! anyarch.AuthenticationError: the registry does not accept it: {CANARY}"]
    dagger.plays({ARM: {"says": says, "status": 1}})
    (tmp_path / "renewal").write_text(f"error: the AWS session has expired: {CANARY}\n  → aws sso login\n")
    with pytest.raises(AuthenticationError) as failed:
        await carry_out(call, on_line=ignore)
    assert failed.value.what.endswith("another password could not be had: the AWS session has expired: ***")
    assert failed.value.hint == "aws sso login"
    assert "the AWS session has expired: ***" in call.log.read_text()


async def test_its_environment_says_which_engine_and_nothing_of_another_session(
    call: BuildCall, dagger: FakeDagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGGER_SESSION_PORT", "1")
    monkeypatch.setenv(RUNNER_HOST, "tcp://other:1")
    await carry_out(call, on_line=ignore)
    note = dagger.called(ARM)
    assert note is not None
    assert note["environ"][RUNNER_HOST] == "tcp://arm.example.com:1234"
    assert "DAGGER_SESSION_PORT" not in note["environ"]
    assert note["environ"]["DO_NOT_TRACK"] == "1"


async def test_without_an_engine_the_client_provisions_its_own(
    call: BuildCall, dagger: FakeDagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUNNER_HOST, "tcp://other:1")
    await carry_out(replace(call, engine=None), on_line=ignore)
    note = dagger.called(ARM)
    assert note is not None
    assert RUNNER_HOST not in note["environ"]


async def test_the_password_is_in_the_environment_and_nowhere_else(
    call: BuildCall, dagger: FakeDagger
) -> None:
    dagger.plays(
        {
            ARM: {
                "says": [f"5   : withExec login {CANARY}", "5   : x ERROR [1s]", f"5   : ! {CANARY}"],
                "status": 1,
            }
        }
    )
    heard: list[Line] = []
    with pytest.raises(BuildFailedError) as caught:
        await carry_out(call, on_line=heard.append)
    note = dagger.called(ARM)
    assert note is not None
    assert note["environ"][PASSWORD_VARIABLE] == CANARY
    shown = [str(caught.value), repr(call), str(note["argv"]), call.log.read_text(), repr(heard)]
    assert not [text for text in shown if CANARY in text]


async def test_a_layout_needs_no_credentials(call: BuildCall, dagger: FakeDagger, tmp_path: Path) -> None:
    dagger.builds(ARM)
    await carry_out(replace(call, ending=Layout(path=tmp_path / "layout")), on_line=ignore)
    note = dagger.called(ARM)
    assert note is not None
    assert PASSWORD_VARIABLE not in note["environ"]
    assert (tmp_path / "layout" / "index.json").is_file()


async def test_the_log_holds_every_line_without_colours(call: BuildCall, dagger: FakeDagger) -> None:
    dagger.plays({ARM: {"says": ["\x1b[95m1   : \x1b[0mconnect", "2   : Container.withExec DONE [1.0s]"]}})
    outcome = await carry_out(call, on_line=ignore)
    assert call.log.read_text() == "1   : connect\n2   : Container.withExec DONE [1.0s]\n"
    assert (outcome.steps, outcome.cached) == (1, 0)


async def test_a_full_disk_on_the_engine_has_an_error_of_its_own(call: BuildCall, dagger: FakeDagger) -> None:
    says = ["5   : withExec make", "5   : x ERROR [1s]", "5   : ! write /var: no space left on device"]
    dagger.plays({ARM: {"says": says, "status": 1}})
    with pytest.raises(EngineDiskFullError, match="no room left"):
        await carry_out(call, on_line=ignore)


async def test_a_build_beyond_its_deadline_is_ended_and_says_where_it_stood(
    call: BuildCall, dagger: FakeDagger
) -> None:
    dagger.plays({ARM: {"says": ["5   : withExec /bin/sh -c 'make all'"], "sleeps": 60}})
    with anyio.fail_after(10), pytest.raises(BuildTimeoutError, match="RUN make all"):
        await carry_out(replace(call, deadline_seconds=1.0), on_line=ignore)


async def test_a_log_that_cannot_be_written_is_named(call: BuildCall, tmp_path: Path) -> None:
    with pytest.raises(FileProblemError, match="missing"):
        await carry_out(replace(call, log=tmp_path / "missing" / "arm.log"), on_line=ignore)


async def test_a_client_that_is_not_there_is_named(call: BuildCall) -> None:
    with pytest.raises(MissingToolError, match="/nowhere/dagger"):
        await carry_out(replace(call, dagger="/nowhere/dagger"), on_line=ignore)
