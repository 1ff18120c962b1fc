"""Which workflow run we are part of, as the runner's environment tells it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUN_ID = re.compile(r"[0-9]{1,20}")
_ATTEMPT = re.compile(r"[1-9][0-9]{0,5}")
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubRun:
    """One attempt of one workflow run.

    Args:
        run_id: The run's number, the same for every attempt.
        attempt: 1 for the first try; "re-run failed jobs" counts up and keeps the other jobs' results.
        sha: The commit that started the run; None where the runner does not tell.
    """

    run_id: str
    attempt: int
    sha: str | None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self | None:
        """The run that these variables describe; None outside GitHub Actions.

        Raises:
            UsageError: a variable is set to something the runner never writes.
        """
        if environ.get("GITHUB_ACTIONS") != "true":
            return None
        sha = environ.get("GITHUB_SHA", "")
        return cls(
            run_id=_checked(environ, "GITHUB_RUN_ID", _RUN_ID, "a number"),
            attempt=int(_checked(environ, "GITHUB_RUN_ATTEMPT", _ATTEMPT, "a number from 1 up")),
            sha=_checked(environ, "GITHUB_SHA", _SHA, "a full commit hash") if sha else None,
        )


def _checked(environ: Mapping[str, str], name: str, form: re.Pattern[str], expected: str) -> str:
    value = environ.get(name, "")
    if not form.fullmatch(value):
        raise UsageError(
            f"{name} is {value[:100]!r}: expected {expected}",
            hint="GITHUB_ACTIONS=true says this is a workflow run; unset it if it is not",
            variable=name,
        )
    return value
