"""What the workflow hands from step to step, seen by programs that only write down how they were called.

The programs themselves, on a real engine, are in test_act.py; here it is about quoting, secrets and wiring.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.workflow.act import Run, make_repository, run_workflow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PASSWORD = "canary-Hk3v9"  # act masks it in its output as the runner does
BUILD_SECRETS = "npm=canary-b7\nkey<<EOF\none\ntwo\nEOF"
DEADLINE_SECONDS = 60

AWKWARD = [
    "--build-arg=A=two words",
    "--label=b=*",
    "--build-arg=C=$(id)`id`'\"\\n",
    "--target=",
    "--label=d=é",
]
MATRIX = {
    "include": [
        {
            "platform": platform,
            "slug": platform.replace("/", "-"),
            "runner": runner,
            "required": True,
            "arguments": [f"--platform={platform}", *AWKWARD],
        }
        for platform, runner in (("linux/amd64", "ubuntu-latest"), ("linux/arm64", "ubuntu-24.04-arm"))
    ]
}
ROLES = {
    "aws-build-role": "arn:aws:iam::123456789012:role/shop-api-build",
    "aws-merge-role": "arn:aws:iam::123456789012:role/shop-api-release",
}

RECORDER = """\
#!/usr/bin/env python3
import json, os, pathlib, sys
name = pathlib.Path(sys.argv[0]).name
if sys.argv[1:] == ["version"]:
    sys.exit(print("dagger v0.21.8"))
call = {"argv": sys.argv[1:], "password": os.environ.get("ANYARCH_REGISTRY_PASSWORD")}
call["build_secrets"] = os.environ.get("SECRET_LINES")
call["role"] = os.environ.get("AWS_ROLE_ARN")
call["session"] = os.environ.get("AWS_ROLE_SESSION_NAME")
call["username"] = os.environ.get("ANYARCH_REGISTRY_USERNAME")
calls = pathlib.Path(os.environ["CALLS"])
platform = os.environ.get("RECORD", "")
(calls / f"{name}-{sys.argv[1]}-{platform}.json").write_text(json.dumps(call))
if sys.argv[1] == "plan":
    folder = pathlib.Path(sys.argv[2], ".anyarch")
    folder.mkdir()
    (folder / "plan.json").write_text("the plan")
    with open(os.environ["GITHUB_OUTPUT"], "a") as output:
        print("matrix=" + os.environ["MATRIX"], "destination=r.example.com/team/web", sep="\\n", file=output)
        print("insecure-registry=r.example.com", file=output)
        print("username=robot account", "password=cmd:a command --print", sep="\\n", file=output)
        print("source=app/examples/static/con text", "insecure=true", sep="\\n", file=output)
if os.environ["FAILS"] in sys.argv:
    sys.exit("this platform cannot be built")
if sys.argv[1] == "call":
    pathlib.Path("records").mkdir()
    pathlib.Path(sys.argv[-1].removeprefix("--path=")).write_text(platform)
if sys.argv[1] == "merge":
    assert pathlib.Path("plan/plan.json").read_text() == "the plan"
    call["records"] = {path.name: path.read_text() for path in pathlib.Path("records").iterdir()}
    (calls / "anyarch-merge-.json").write_text(json.dumps(call))
"""
SETUP = """\
name: puts the recorder on PATH
runs:
  using: composite
  steps:
    - { shell: bash, run: 'echo "$(dirname "$STAND_IN_DAGGER")" >> "$GITHUB_PATH"' }
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One run and how each program was called in it."""

    run: Run
    calls: Mapping[str, Mapping[str, Any]]


def record(folder: Path, *, failing: str = "nothing") -> Recorded:
    anyarch = folder / "anyarch"
    programs = {"bin/anyarch": RECORDER, "bin/dagger": RECORDER}
    for path, text in {".github/actions/setup/action.yml": SETUP, **programs}.items():
        (anyarch / path).parent.mkdir(parents=True, exist_ok=True)
        (anyarch / path).write_text(text)
        (anyarch / path).chmod(0o755)
    application = folder / "application"
    application.mkdir()
    (application / "Dockerfile").write_text("FROM scratch\n")
    calls = folder / "calls"
    calls.mkdir()
    repository = make_repository(folder / "repository", application, more_inputs=ROLES)
    run = run_workflow(
        repository,
        work=folder / "work",
        stand_ins={"APPLICATION": repository, "ANYARCH": anyarch, "DAGGER": anyarch / "bin" / "dagger"},
        inputs={"to": "r.example.com/it's mine", "tags": "1.2.3 latest", "username": "robot account"},
        password=PASSWORD,
        build_secrets=BUILD_SECRETS,
        environ={"CALLS": str(calls), "MATRIX": json.dumps(MATRIX), "FAILS": failing},
        deadline_seconds=DEADLINE_SECONDS,
    )
    return Recorded(run, {path.stem: json.loads(path.read_text()) for path in sorted(calls.iterdir())})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    recorded = record(tmp_path_factory.mktemp("wiring"))
    assert recorded.run.succeeded, recorded.run.log
    return recorded


def test_plan_gets_the_inputs_as_they_are(whole: Recorded) -> None:
    words = ["plan", "app/examples/static", "--to", "r.example.com/it's mine", "--tag", "1.2.3 latest"]
    assert whole.calls["anyarch-plan-"]["argv"] == [*words, "--format", "github"]


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_build_gets_every_planned_argument_as_one_word(whole: Recorded, platform: str) -> None:
    attempt = f"{platform.replace('/', '-')}-1"
    call = whole.calls[f"dagger-call-{attempt}"]
    publish = [
        "publish",
        "--repository=r.example.com/team/web",
        "--insecure=true",
        "--username=robot account",
    ]
    assert call["argv"] == [
        *("call", "--progress=plain", "-m", "./anyarch", "build", "--source=app/examples/static/con text"),
        *(f"--platform={platform}", *AWKWARD, "--secret-lines=env:SECRET_LINES"),
        *(*publish, "--password=cmd:a command --print", "--run-id=1", "--run-attempt=1", "export"),
        f"--path=records/{attempt}.json",
    ]


def test_a_build_logs_in_to_what_its_dockerfile_names(whole: Recorded) -> None:
    calls = [call["argv"] for name, call in whole.calls.items() if name.startswith("anyarch-login")]
    assert calls == [["login", "--bases", "app/examples/static"]] * 2


def test_each_platform_leaves_a_record_named_by_platform_and_attempt(whole: Recorded) -> None:
    assert sorted(path.name for path in whole.run.artifacts.iterdir()) == [
        *("plan", "record-linux-amd64-1", "record-linux-arm64-1"),
    ]


def test_merge_gets_the_plan_and_every_record(whole: Recorded) -> None:
    call = whole.calls["anyarch-merge-"]
    words = ["merge", "--records", "records", "--plan", "plan/plan.json"]
    assert call["argv"] == [*words, "--insecure-registry", "r.example.com", "--format", "github"]
    assert call["records"] == {f"{name}.json": name for name in ("linux-amd64-1", "linux-arm64-1")}


def test_only_what_publishes_sees_the_password(whole: Recorded) -> None:
    seen = {name.partition("-linux")[0]: call["password"] for name, call in whole.calls.items()}
    nobody = {"anyarch-plan-": None, "anyarch-login": None}
    assert seen == {**nobody, "dagger-call": PASSWORD, "anyarch-merge-": PASSWORD}
    assert PASSWORD not in json.dumps([call["argv"] for call in whole.calls.values()])
    assert PASSWORD not in whole.run.log


def test_each_job_takes_its_own_role_and_the_plan_none(whole: Recorded) -> None:
    seen = {name.partition("-linux")[0]: call["role"] for name, call in whole.calls.items()}
    build = dict.fromkeys(("anyarch-login", "dagger-call"), ROLES["aws-build-role"])
    assert seen == {"anyarch-plan-": None, **build, "anyarch-merge-": ROLES["aws-merge-role"]}
    sessions = {call["session"] for call in whole.calls.values()}
    assert sessions == {None, "anyarch-1"}


def test_the_plan_knows_who_signs_in(whole: Recorded) -> None:
    assert whole.calls["anyarch-plan-"]["username"] == "robot account"


def test_only_the_build_sees_its_secrets(whole: Recorded) -> None:
    seen = {name.partition("-linux")[0]: call["build_secrets"] for name, call in whole.calls.items()}
    nobody = dict.fromkeys(("anyarch-plan-", "anyarch-login", "anyarch-merge-"))
    assert seen == {**nobody, "dagger-call": BUILD_SECRETS}
    assert "canary-b7" not in whole.run.log


def test_a_platform_that_fails_stops_no_other_and_nothing_is_merged(tmp_path: Path) -> None:
    recorded = record(tmp_path, failing="--platform=linux/amd64")
    assert not recorded.run.succeeded
    assert "this platform cannot be built" in recorded.run.log
    assert sorted(path.name for path in recorded.run.artifacts.iterdir()) == ["plan", "record-linux-arm64-1"]
    assert "anyarch-merge-" not in recorded.calls
