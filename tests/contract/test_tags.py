"""The same commit has the same tags and labels on a laptop as in a workflow, and plan says why."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from anyarch.cli.checkout import Checkout, web_address
from anyarch.cli.happening import tag_context
from anyarch.cli.main import run
from anyarch.errors import UsageError
from anyarch.release.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

ENGINES = ("--engine", "linux/amd64=tcp://amd:1", "--engine", "linux/arm64=tcp://arm:1")
PATH = "/usr/bin:/bin"
COMMITTED = "2020-01-10T09:30:00+09:00"
RULES = """
[tags]
rules = '''
type=ref,event=branch
type=semver,pattern={{version}}
type=semver,pattern={{major}}.{{minor}}
type=raw,value=edge,enable={{is_default_branch}}
type=sha
'''
"""


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
        env={"PATH": PATH, "GIT_COMMITTER_DATE": COMMITTED, "GIT_CONFIG_GLOBAL": "/dev/null"},
    )
    return done.stdout.strip()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose default branch is main, with the tag v1.2.3 at its commit."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "anyarch.toml").write_text(RULES)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    git(folder, "tag", "v1.2.3")
    git(folder, "remote", "add", "origin", "git@github.com:octocat/Hello-World.git")
    git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(folder, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", PATH)
    return folder


def planned(app: Path, *words: str) -> Plan:
    assert run(["plan", "app", *ENGINES, *words]) == 0
    return Plan.from_json((app / ".anyarch" / "plan.json").read_bytes(), subject="plan")


def in_a_workflow(monkeypatch: pytest.MonkeyPatch, app: Path, ref: str) -> None:
    event = app.parent / "event.json"
    event.write_text(json.dumps({"repository": {"default_branch": "main"}}))
    for name, value in {
        "ACTIONS": "true",
        "EVENT_NAME": "push",
        "EVENT_PATH": str(event),
        "REF": ref,
        "SHA": git(app, "rev-parse", "HEAD"),
        "SERVER_URL": "https://github.com",
        "REPOSITORY": "octocat/Hello-World",
    }.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)


@pytest.mark.parametrize(
    ("asked", "ref", "expected"),
    [
        pytest.param("v1.2.3", "refs/tags/v1.2.3", ("1.2.3", "1.2", "sha-{}", "latest"), id="a tag"),
        pytest.param("main", "refs/heads/main", ("main", "edge", "sha-{}"), id="the default branch"),
        pytest.param("work", "refs/heads/work", ("work", "sha-{}"), id="another branch"),
    ],
)
def test_a_laptop_and_a_workflow_plan_the_same(
    app: Path, monkeypatch: pytest.MonkeyPatch, asked: str, ref: str, expected: tuple[str, ...]
) -> None:
    git(app, "branch", "work")
    git(app, "checkout", "-q", asked)
    laptop = planned(app)
    in_a_workflow(monkeypatch, app, ref)
    git(app, "checkout", "-q", "--detach")
    assert planned(app) == laptop
    short = git(app, "rev-parse", "HEAD")[:7]
    assert laptop.tags == tuple(each.format(short) for each in expected)
    assert laptop.build.labels["org.opencontainers.image.created"] == "2020-01-10T00:30:00Z"
    assert laptop.build.labels["org.opencontainers.image.source"] == "https://github.com/octocat/Hello-World"
    assert laptop.build.labels["org.opencontainers.image.version"] == laptop.tags[0]


def test_the_tag_that_was_checked_out_counts_among_several(app: Path) -> None:
    checkout = Checkout(app, {"PATH": PATH})
    git(app, "tag", "stable")
    git(app, "checkout", "-q", "v1.2.3")
    assert checkout.ref() == "refs/tags/v1.2.3"
    git(app, "checkout", "-q", "main")
    git(app, "checkout", "-q", "refs/tags/stable")
    assert checkout.ref() == "refs/tags/stable"


def test_where_no_one_tag_is_meant_ref_says_which(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(app, "tag", "stable")
    git(app, "checkout", "-q", "--detach")
    assert planned(app).tags == (f"sha-{git(app, 'rev-parse', 'HEAD')[:7]}",)
    assert "stable, v1.2.3 are at this commit: --ref says which one counts" in capsys.readouterr().err
    assert planned(app, "--ref", "refs/tags/v1.2.3").tags[0] == "1.2.3"


def test_plan_tells_which_rule_gave_each_tag_and_why_one_gave_none(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(app)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "TAG RULE REASON" in lines
    assert "main type=ref,event=branch" in lines
    assert "- type=semver,pattern={{version}} not a git tag: refs/heads/main" in lines
    planned(app, "--format", "json", "--tag", "9")
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    reasons = {each["rule"]: (each["tag"], each["reason"]) for each in document["tags"]}
    assert reasons["type=ref,event=branch"] == ("main", "--tag counts instead")
    assert document["plan"]["tags"] == ["9"]


def test_a_step_of_a_workflow_gets_tags_and_version(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_workflow(monkeypatch, app, "refs/tags/v1.2.3")
    monkeypatch.setenv("GITHUB_OUTPUT", str(app.parent / "outputs"))
    planned(app, "--to", "r.example.com/app", "--format", "github")
    text = (app.parent / "outputs").read_text()
    assert "\n1.2.3 1.2 sha-" in text
    assert "\n1.2.3\n" in text
    assert "not a branch: refs/tags/v1.2.3" in capsys.readouterr().err


def test_ref_counts_more_than_the_workflows(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_workflow(monkeypatch, app, "refs/heads/main")
    assert planned(app, "--ref", "refs/tags/v9.8.7").tags[:2] == ("9.8.7", "9.8")


def test_a_commit_that_git_does_not_show_is_the_workflows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: Path
) -> None:
    """actions/checkout downloads an archive where there is no git."""
    in_a_workflow(monkeypatch, app, "refs/heads/main")
    sha = git(app, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    plan = planned(app)
    assert (plan.revision, plan.tags) == (sha, ("main", "edge", f"sha-{sha[:7]}"))
    assert "org.opencontainers.image.created" not in plan.build.labels, "its date is not known"


def test_without_rules_there_are_no_tags(app: Path) -> None:
    (app / "anyarch.toml").unlink()
    assert planned(app).tags == ()


@pytest.mark.parametrize("ref", ["v1.2.3", "refs/heads/", "refs/notes/x", "refs/heads/a b"])
def test_half_a_ref_is_refused(app: Path, ref: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.is_dir()
    assert run(["plan", "app", "--ref", ref]) == 2
    assert "is not the whole name of a ref" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["yesterday", "-1", "1e9", "1" * 30, "²"])
def test_an_odd_source_date_is_refused(app: Path, text: str) -> None:
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH is"):
        tag_context(Checkout(app, {"PATH": PATH}), {"SOURCE_DATE_EPOCH": text})


@pytest.mark.parametrize("text", ["many", "3", "-7", "12.0", "²", "1" * 30])
def test_an_odd_length_of_a_short_commit_is_refused(app: Path, text: str) -> None:
    with pytest.raises(UsageError, match="DOCKER_METADATA_SHORT_SHA_LENGTH is"):
        tag_context(Checkout(app, {"PATH": PATH}), {"DOCKER_METADATA_SHORT_SHA_LENGTH": text})


@pytest.mark.parametrize("place", ["a laptop", "a workflow"])
def test_the_actions_variable_says_how_long_a_short_commit_is_where_the_file_does_not(
    app: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    labels = '[build.labels]\n"com.example.commit" = "{{sha}}"\n'
    (app / "anyarch.toml").write_text(f"{RULES}{labels}")
    monkeypatch.setenv("DOCKER_METADATA_SHORT_SHA_LENGTH", "12")
    if place == "a workflow":
        in_a_workflow(monkeypatch, app, "refs/heads/main")
    sha = git(app, "rev-parse", "HEAD")
    plan = planned(app)
    assert plan.tags[-1] == f"sha-{sha[:12]}"
    assert plan.build.labels["com.example.commit"] == sha[:12]
    (app / "anyarch.toml").write_text(f"{RULES}short-sha-length = 9\n{labels}")
    plan = planned(app)
    assert (plan.tags[-1], plan.build.labels["com.example.commit"]) == (f"sha-{sha[:9]}", sha[:9])


def test_an_event_that_names_no_default_branch_leaves_it_to_git(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_workflow(monkeypatch, app, "refs/heads/main")
    (app.parent / "event.json").write_text("{}")
    assert planned(app).tags[:2] == ("main", "edge")


def test_source_date_epoch_is_read(app: Path) -> None:
    found = tag_context(Checkout(app, {"PATH": PATH}), {"SOURCE_DATE_EPOCH": "0"})
    assert found.source_date == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        pytest.param("git@github.com:a/b.git", "https://github.com/a/b", id="the short form"),
        pytest.param("ssh://git@example.com:2222/a/b.git", "https://example.com/a/b", id="ssh"),
        pytest.param("https://github.com/a/b", "https://github.com/a/b", id="https"),
        pytest.param("https://me:hunter2@example.com/a/b.git/", "https://example.com/a/b", id="a password"),
        pytest.param("/srv/git/a.git", "", id="a folder"),
        pytest.param("../a", "", id="a folder beside it"),
        pytest.param("file:///srv/a", "", id="a file address"),
        pytest.param("", "", id="none"),
    ],
)
def test_a_remote_becomes_an_address_without_secrets(remote: str, address: str) -> None:
    assert web_address(remote) == address
