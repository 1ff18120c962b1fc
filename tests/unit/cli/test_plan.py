from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from anyarch.cli.main import run
from anyarch.cli.project import Project
from anyarch.oci.platforms import Platform
from anyarch.release.config import Config
from anyarch.release.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

ENGINES = ("--engine", "linux/amd64=tcp://amd:1", "--engine", "linux/arm64=tcp://arm:1")
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return folder


def last_plan(app: Path) -> Plan:
    return Plan.from_json((app / ".anyarch" / "plan.json").read_bytes(), subject="plan")


def test_the_table_says_what_won(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "anyarch.toml").write_text(
        'image = "r.example.com/app"\n[platforms."linux/amd64"]\nengine = "tcp://file:1"\n'
    )
    assert run(["plan", "app", "--tag", "1.0"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "linux/amd64 anyarch.toml yes tcp://file:1 anyarch.toml" in lines
    assert "destination r.example.com/app anyarch.toml" in lines
    assert "tags 1.0 flag" in lines
    assert "dockerfile Dockerfile default" in lines


def test_the_table_says_which_files_no_commit_answers_for(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", "app"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    changes = last_plan(app).changes
    assert changes is not None
    assert f"changes {changes} all files: not in git" in lines


def test_a_flag_beats_the_file(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "anyarch.toml").write_text(
        'image = "r.example.com/app"\n[platforms."linux/amd64"]\nengine = "tcp://file:1"\n'
    )
    assert run(["plan", "app", "--to", "oci:out", "--engine", "linux/amd64=tcp://flag:1"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "linux/amd64 anyarch.toml yes tcp://flag:1 --engine" in lines
    assert "destination oci:out flag" in lines


def test_json_holds_the_plan_and_who_decided(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "app", *ENGINES, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["plan"] == json.loads(last_plan(app).to_json())
    assert [each["engine"] for each in document["platforms"]] == ["tcp://amd:1", "tcp://arm:1"]


def test_the_plan_is_left_for_merge_in_a_folder_that_git_ignores(app: Path) -> None:
    assert run(["plan", "app", *ENGINES]) == 0
    assert [each.platform for each in last_plan(app).platforms] == [
        Platform.parse("linux/amd64"),
        Platform.parse("linux/arm64"),
    ]
    assert (app / ".anyarch" / ".gitignore").read_text() == "*\n"


def test_github_gets_step_outputs(app: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    words = ["--to", "r.example.com:5000/app", "--insecure-registry", "r.example.com:5000"]
    assert run(["plan", "app", *words, "--tag", "1.2.3 latest", "--format", "github"]) == 0
    text = outputs.read_text()
    for line in ("r.example.com:5000/app", "app", "true"):
        assert f"\n{line}\n" in text
    assert last_plan(app).tags == ("1.2.3", "latest")


def test_a_layout_is_nothing_that_jobs_can_share(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "app", "--format", "github"]) == 2
    assert "folder of one machine" in capsys.readouterr().err
    assert not (app / ".anyarch").exists()


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        pytest.param(
            lambda app: (app / "Dockerfile").unlink(), "no Dockerfile at app/Dockerfile", id="no Dockerfile"
        ),
        pytest.param(
            lambda app: (app / "anyarch.toml").write_text('[build]\ncontext = "src"\n'),
            "no Dockerfile at app/src/Dockerfile",
            id="no context",
        ),
        pytest.param(
            lambda app: (app / "anyarch.toml").write_bytes(b"\xff"), "not UTF-8", id="a file of bytes"
        ),
        pytest.param(lambda app: (app / "anyarch.toml").mkdir(), "cannot be read", id="a folder as file"),
        pytest.param(
            lambda app: (app / "anyarch.toml").write_text("imgae = 1"), "imgae", id="a misspelt key"
        ),
    ],
)
def test_what_cannot_be_built_is_found_out_now(
    app: Path, prepare: object, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(prepare)
    prepare(app)
    assert run(["plan", "app"]) in {3, 5}
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        pytest.param("oci:app/dist", (".anyarch", "dist"), id="an output layout in the context"),
        pytest.param("oci:dist", (".anyarch",), id="a layout beside it"),
        pytest.param("oci:app", (".anyarch",), id="the context itself"),
        pytest.param("r.example.com/app", (".anyarch",), id="a repository"),
    ],
)
def test_our_own_files_are_no_part_of_the_context(
    app: Path, destination: str, expected: tuple[str, ...]
) -> None:
    from pathlib import Path as RelativePath

    assert app.is_dir()
    assert (
        Project(RelativePath("app"), Config()).excluded([destination], RelativePath("app/.anyarch/records"))
        == expected
    )


def test_a_part_of_the_last_plan_does_not_shrink_it(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An index of one platform in place of one with two is how architectures get lost."""
    project, arm, both = Project(app, Config()), Platform.parse("linux/arm64"), ENGINES
    assert project.promised((arm,), "oci:dist") == (arm,)
    assert run(["plan", "app", *both]) == 0
    assert project.promised((arm,), "oci:dist") == (Platform.parse("linux/amd64"), arm)
    assert "part of the last plan" in capsys.readouterr().err
    assert project.promised((arm,), "r.example.com/elsewhere") == (arm,)
    assert project.promised((arm, Platform.parse("linux/386")), "oci:dist") == (
        arm,
        Platform.parse("linux/386"),
    )
    assert run(["plan", "app", "--platform", "linux/arm64", "--engine", "linux/arm64=tcp://x:1"]) == 0
    assert project.promised((arm,), "oci:dist") == (arm,)


@pytest.mark.parametrize(
    ("to", "user", "username", "password"),
    [
        pytest.param("r.example.com/app", "", "", "env:ANYARCH_REGISTRY_PASSWORD", id="nobody"),
        pytest.param("r.example.com/app", "robot", "robot", "env:ANYARCH_REGISTRY_PASSWORD", id="a user"),
        pytest.param(f"{ECR}/app", "", "AWS", f"cmd:anyarch login {ECR} --print", id="a role at Amazon ECR"),
        pytest.param(f"{ECR}/app", "AWS", "AWS", "env:ANYARCH_REGISTRY_PASSWORD", id="a password for ECR"),
        pytest.param(
            "public.ecr.aws/abc/app", "", "AWS", "cmd:anyarch login public.ecr.aws --print", id="ECR Public"
        ),
    ],
)
def test_a_workflow_hears_where_builds_find_the_password(
    app: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    user: str,
    username: str,
    password: str,
) -> None:
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", user)
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    assert run(["plan", str(app), "--to", to, "--format", "github"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"username={username}" in lines
    assert f"password={password}" in lines
