"""What is built from: which files make a checkout dirty, and what their digest tells apart."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from anyarch.cli.checkout import Checkout
from anyarch.cli.main import run
from anyarch.cli.project import Project
from anyarch.release.config import BuildSettings, Config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anyarch.cli.sources import Sources

PATH = "/usr/bin:/bin"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shop" / "app"
    (folder / "src").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "src" / "main").write_text("one")
    monkeypatch.chdir(tmp_path)
    return folder


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


def committed(app: Path) -> str:
    """The folder's commit, in a checkout that has more than it."""
    (app.parent / ".gitignore").write_text("*.log\n/ignored/\n")
    git(app.parent, "init", "-q")
    git(app.parent, "add", ".")
    git(app.parent, "commit", "-qm", "x")
    return git(app, "rev-parse", "HEAD")


def sources(
    app: Path, *destinations: str, context: str = ".", records: Path | None = None, path: str = PATH
) -> Sources:
    project = Project(app, Config(build=BuildSettings(context=context)))
    return project.sources(Checkout(app, {"PATH": path}), destinations, records)


def link(app: Path) -> None:
    (app / "link").symlink_to("src")


def folder_in_place(app: Path) -> None:
    (app / "Dockerfile").unlink()
    (app / "Dockerfile").mkdir()


def untracked(app: Path) -> None:
    (app / "new ü\n").write_text("x")


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("another content", lambda app: (app / "src" / "main").write_text("two")),
    ("another mode", lambda app: (app / "src" / "main").chmod(0o755)),
    ("a file less", lambda app: (app / "src" / "main").unlink()),
    ("a file more, its name odd", untracked),
    ("a link more", link),
    ("another place", lambda app: (app / "src" / "main").rename(app / "src" / "moved")),
    ("a folder in place of a file", folder_in_place),
]


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in CHANGES])
def test_a_checkout_that_differs_from_its_commit_says_so(app: Path, change: Callable[[Path], object]) -> None:
    commit = committed(app)
    found = sources(app)
    assert (found.revision, found.changes, found.why) == (commit, None, "git")
    change(app)
    found = sources(app)
    assert (found.revision, found.why) == (f"{commit}-dirty", "uncommitted")
    assert found.changes is not None
    assert found == sources(app)


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in CHANGES])
def test_without_git_every_file_counts(app: Path, change: Callable[[Path], object]) -> None:
    before = sources(app)
    assert (before.revision, before.why) == (None, "all files: not in git")
    change(app)
    assert sources(app).changes not in {None, before.changes}


def test_two_states_of_one_dirty_checkout_are_two(app: Path) -> None:
    committed(app)
    seen = set()
    for content in ("two", "three"):
        (app / "src" / "main").write_text(content)
        seen.add(sources(app).changes)
        (app / "new").write_text(content)
        seen.add(sources(app).changes)
    assert len(seen) == 4


def test_a_staged_file_is_the_same_file(app: Path) -> None:
    committed(app)
    (app / "src" / "main").write_text("two")
    found = sources(app)
    git(app, "add", ".")
    assert sources(app) == found


@pytest.mark.parametrize("in_git", [pytest.param(True, id="git"), pytest.param(False, id="no git")])
def test_what_we_write_ourselves_changes_nothing(app: Path, in_git: bool) -> None:
    if in_git:
        committed(app)
    words = ["oci:shop/app/out/dist", "r.example.com/app"]
    before = sources(app, *words, records=app / "records")
    for name in (".anyarch/records/a.json", "out/dist/index.json", "records/a.json"):
        (app / name).parent.mkdir(parents=True)
        (app / name).write_text("x")
    assert sources(app, *words, records=app / "records") == before
    assert sources(app).changes != before.changes


def test_what_git_ignores_and_what_lies_elsewhere_does_not_count(app: Path) -> None:
    commit = committed(app)
    (app / "build.log").write_text("x")
    (app.parent / "README").write_text("x")
    assert sources(app).revision == commit
    assert sources(app, context="..").revision == f"{commit}-dirty"


def test_a_checkout_inside_the_context_counts_with_its_files(app: Path) -> None:
    commit = committed(app)
    inner = app / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "file").write_text("x")
    found = sources(app)
    assert found.revision == f"{commit}-dirty"
    git(inner, "add", "file")  # another .git
    assert sources(app) == found
    (inner / "file").write_text("y")
    assert sources(app).changes != found.changes


@pytest.mark.parametrize(
    ("folder", "program"),
    [
        pytest.param("ignored", PATH, id="a folder that git ignores"),
        pytest.param("app", "slow", id="a git that tells the commit and nothing more"),
    ],
)
def test_where_git_cannot_say_what_differs_every_file_counts(app: Path, folder: str, program: str) -> None:
    commit = committed(app)
    real = app.parent / folder
    if folder == "ignored":
        app.rename(real)
    if program == "slow":
        stub = app.parent.parent / "bin" / "git"
        stub.parent.mkdir()
        stub.write_text('#!/bin/sh\n[ "$3" = rev-parse ] && exec /usr/bin/git "$@"\nexit 128\n')
        stub.chmod(0o755)
        program = str(stub.parent)
    before = sources(real, path=program)
    assert (before.revision, before.why) == (f"{commit}-dirty", "all files: not in git")
    (real / "src" / "main").write_text("two")
    assert sources(real, path=program).changes != before.changes


def test_what_cannot_be_read_is_as_good_as_absent(app: Path) -> None:
    os.mkfifo(app / "pipe")
    (app / "gone").symlink_to("nowhere")
    assert sources(app) == sources(app)
    if os.geteuid():
        (app / "src" / "main").chmod(0)
        assert sources(app) == sources(app)


def test_a_checkout_without_git_is_a_folder_like_others(app: Path) -> None:
    committed(app)
    found = sources(app, path="/nowhere", context="..")
    git(app.parent, "commit", "--allow-empty", "-qm", "y")
    assert (sources(app, path="/nowhere", context=".."), found.revision) == (found, None)


def test_a_plan_shows_what_is_not_committed(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    committed(app)
    words = ["plan", str(app), "--engine=linux/amd64=tcp://a:1", "--engine=linux/arm64=tcp://b:1"]
    assert run(words) == 0
    assert "changes - git" in [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    untracked(app)
    assert run([*words, "--format=json"]) == 0
    document = json.loads(capsys.readouterr().out)
    changes = {"name": "changes", "value": str(sources(app).changes), "from": "uncommitted"}
    assert document["settings"][-1] == changes
    assert document["plan"]["changes"] == changes["value"]
