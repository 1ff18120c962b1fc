"""What happened, as the runner's environment and its file with the event tell it: what tags are made of."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from anyarch.errors import FileProblemError
from anyarch.release.tags.context import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_VARIABLE: Final = "DOCKER_METADATA_PR_HEAD_SHA"  # docker/metadata-action's, read as it reads it
EVENT_MAX_BYTES: Final = 32 * 1024 * 1024  # GitHub sends no payload beyond 25 MB


def context_from_environ(environ: Mapping[str, str], *, now: datetime) -> Context | None:
    """The event that started this workflow run; None outside GitHub Actions.

    https://docs.github.com/en/actions/reference/workflows-and-actions/variables. The file with the event is
    one that GitHub wrote; what it does not tell stays unknown.

    Args:
        environ: The environment variables.
        now: The moment of the run.

    Raises:
        FileProblemError: the file with the event cannot be read.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return None
    payload = _payload(environ.get("GITHUB_EVENT_PATH", ""))
    event, ref, sha = (environ.get(f"GITHUB_{name}", "") for name in ("EVENT_NAME", "REF", "SHA"))
    if event == "pull_request_target" and (number := payload.get("number")):
        # Here GITHUB_REF is the branch that the pull request goes to.
        ref = f"refs/pull/{number}/merge"
    if "pull_request" in event and "true" in environ.get(HEAD_VARIABLE, "").lower():
        sha = _text(payload, "pull_request", "head", "sha") or sha
    server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
    return Context(
        now=now,
        event=event,
        ref=ref,
        sha=sha,
        default_branch=_default_branch(payload, event, ref),
        base_ref=_base_ref(payload, ref),
        commit_date=_commit_date(payload, sha),
        source=f"{server}/{repository}" if server and repository else "",
    )


def _payload(path: str) -> dict[str, object]:
    if not path:
        return {}
    try:
        with Path(path).open("rb") as file:
            raw = file.read(EVENT_MAX_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FileProblemError(f"event {path} cannot be read: {error.strerror}", path=path) from error
    try:
        read = json.loads(raw or b"{}")
    except (ValueError, RecursionError) as error:
        raise FileProblemError(
            f"event {path} is no JSON: {error}",
            hint="GITHUB_EVENT_PATH names the file; the runner writes it",
            path=path,
        ) from error
    return cast("dict[str, object]", read) if isinstance(read, dict) else {}


def _default_branch(payload: Mapping[str, object], event: str, ref: str) -> str:
    """A schedule's event names no repository, but is always about the default branch."""
    scheduled = ref.removeprefix("refs/heads/") if event == "schedule" else ""
    return _text(payload, "repository", "default_branch") or scheduled


def _base_ref(payload: Mapping[str, object], ref: str) -> str:
    if ref.startswith("refs/pull/"):
        return _text(payload, "pull_request", "base", "ref")
    return _text(payload, "base_ref").removeprefix("refs/heads/")


def _commit_date(payload: Mapping[str, object], sha: str) -> datetime | None:
    commits = payload.get("commits")
    for commit in [*(commits if isinstance(commits, list) else ()), payload.get("head_commit")]:
        if isinstance(commit, dict) and commit.get("id") == sha:
            return parse_date(_text(commit, "timestamp"))
    return None


def parse_date(text: str) -> datetime | None:
    """A date of ISO 8601 with its time zone; None if it is none."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if date.tzinfo else None


def _text(found: object, *keys: str) -> str:
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""
