"""What a workflow's environment and event tell of a commit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import FileProblemError
from anyarch.github.event import context_from_environ
from anyarch.release.tags.context import Context

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHA = "860c1904a1ce19322e91ac35af1ab07466440c37"
HEAD: dict[str, object] = {"pull_request": {"head": {"sha": "a" * 40}}}
REPOSITORY: dict[str, object] = {"repository": {"default_branch": "main", "private": False}}


def environ(event: str, ref: str, **more: str) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": event,
        "GITHUB_REF": ref,
        "GITHUB_SHA": SHA,
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "octocat/Hello-World",
        **more,
    }


def context(folder: Path, event: str, ref: str, payload: object) -> Context:
    path = folder / "event.json"
    path.write_text(json.dumps(payload))
    found = context_from_environ(environ(event, ref, GITHUB_EVENT_PATH=str(path)), now=NOW)
    assert found is not None
    return found


def test_outside_a_workflow_there_is_no_event() -> None:
    assert context_from_environ({"GITHUB_REF": "refs/heads/main"}, now=NOW) is None


def test_a_push_tells_branch_commit_and_its_date(tmp_path: Path) -> None:
    payload = {
        **REPOSITORY,
        "commits": [{"id": "0" * 40, "timestamp": "2001-01-01T00:00:00Z"}],
        "head_commit": {"id": SHA, "timestamp": "2020-01-10T09:30:00+09:00"},
    }
    assert context(tmp_path, "push", "refs/heads/main", payload) == Context(
        now=NOW,
        event="push",
        ref="refs/heads/main",
        sha=SHA,
        default_branch="main",
        commit_date=datetime(2020, 1, 10, 0, 30, tzinfo=UTC),
        source="https://github.com/octocat/Hello-World",
    )


def test_a_pull_request_tells_where_it_goes(tmp_path: Path) -> None:
    payload = {**REPOSITORY, "number": 7, "pull_request": {"base": {"ref": "release"}}}
    found = context(tmp_path, "pull_request", "refs/pull/7/merge", payload)
    assert (found.pull_request, found.base_ref, found.branch) == ("7", "release", "")


def test_a_target_pull_request_is_one_too_though_its_ref_is_a_branch(tmp_path: Path) -> None:
    payload = {**REPOSITORY, "number": 7, "pull_request": {"base": {"ref": "main"}}}
    assert context(tmp_path, "pull_request_target", "refs/heads/main", payload).pull_request == "7"


def test_a_pushed_tag_tells_its_branch_where_github_does(tmp_path: Path) -> None:
    found = context(tmp_path, "push", "refs/tags/v1", {**REPOSITORY, "base_ref": "refs/heads/main"})
    assert (found.tag, found.base_ref) == ("v1", "main")


@pytest.mark.parametrize(
    ("event", "known", "expected"),
    [
        pytest.param("schedule", {}, "trunk", id="a schedule runs on the default branch"),
        pytest.param("schedule", REPOSITORY, "main", id="the event counts more"),
        pytest.param("push", {}, "", id="a push may be of any branch"),
    ],
)
def test_the_default_branch(tmp_path: Path, event: str, known: dict[str, object], expected: str) -> None:
    found = context(tmp_path, event, "refs/heads/trunk", {"schedule": "*/10 * * * *", **known})
    assert found.default_branch == expected


@pytest.mark.parametrize(
    ("event", "word", "payload", "expected"),
    [
        pytest.param("pull_request", "true", HEAD, "a" * 40, id="asked for"),
        pytest.param("pull_request_target", "True", HEAD, "a" * 40, id="of a target"),
        pytest.param("pull_request", "", HEAD, SHA, id="not asked for"),
        pytest.param("pull_request", "false", HEAD, SHA, id="not wanted"),
        pytest.param("pull_request", "true", {}, SHA, id="not known"),
        pytest.param("push", "true", HEAD, SHA, id="no pull request"),
    ],
)
def test_the_head_of_a_pull_request_is_its_commit_where_the_actions_variable_says_so(
    tmp_path: Path, event: str, word: str, payload: dict[str, object], expected: str
) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"number": 7, **payload}))
    told = {"GITHUB_EVENT_PATH": str(path), "DOCKER_METADATA_PR_HEAD_SHA": word}
    found = context_from_environ(environ(event, "refs/pull/7/merge", **told), now=NOW)
    assert found is not None
    assert found.sha == expected


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({}, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param({"repository": "x", "commits": {}, "head_commit": [], "base_ref": None}, id="odd kinds"),
        pytest.param({"commits": [1], "head_commit": {"id": SHA, "timestamp": "soon"}}, id="an odd date"),
        pytest.param(
            {"head_commit": {"id": SHA, "timestamp": "2020-01-10T00:30:00"}}, id="a date of no zone"
        ),
    ],
)
def test_what_an_event_does_not_tell_is_unknown(tmp_path: Path, payload: object) -> None:
    found = context(tmp_path, "push", "refs/heads/main", payload)
    assert (found.default_branch, found.base_ref, found.commit_date) == ("", "", None)


def test_without_the_file_the_variables_count() -> None:
    found = context_from_environ(environ("push", "refs/tags/v1", GITHUB_EVENT_PATH="/nowhere"), now=NOW)
    assert found is not None
    assert (found.tag, found.sha) == ("v1", SHA)


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_bytes(b"{")
    with pytest.raises(FileProblemError, match=r"event .*event\.json is no JSON"):
        context_from_environ(environ("push", "", GITHUB_EVENT_PATH=str(path)), now=NOW)
    with pytest.raises(FileProblemError, match="cannot be read"):
        context_from_environ(environ("push", "", GITHUB_EVENT_PATH=str(tmp_path)), now=NOW)
