from __future__ import annotations

import pytest
from anyarch.errors import UsageError
from anyarch.github.run import GitHubRun

SHA = "0123456789abcdef0123456789abcdef01234567"
A_RUN = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_RUN_ID": "17123456789",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_SHA": SHA,
}


def test_a_run_is_read_from_its_variables() -> None:
    assert GitHubRun.from_environ(A_RUN) == GitHubRun(run_id="17123456789", attempt=2, sha=SHA)


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({}, id="a laptop"),
        pytest.param({**A_RUN, "GITHUB_ACTIONS": ""}, id="variables left over from somewhere"),
    ],
)
def test_outside_actions_there_is_no_run(environ: dict[str, str]) -> None:
    assert GitHubRun.from_environ(environ) is None


def test_a_runner_that_does_not_tell_the_commit() -> None:
    run = GitHubRun.from_environ({**A_RUN, "GITHUB_SHA": ""})
    assert run is not None
    assert run.sha is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("GITHUB_RUN_ID", "", id="no run id"),
        pytest.param("GITHUB_RUN_ID", "12; rm", id="a run id that is no number"),
        pytest.param("GITHUB_RUN_ID", "12\n", id="a run id with a newline"),
        pytest.param("GITHUB_RUN_ID", "١٢", id="a run id in other digits"),
        pytest.param("GITHUB_RUN_ATTEMPT", "0", id="attempt zero"),
        pytest.param("GITHUB_RUN_ATTEMPT", "-1", id="a negative attempt"),
        pytest.param("GITHUB_SHA", SHA[:7], id="a short hash"),
        pytest.param("GITHUB_SHA", SHA.upper(), id="an upper-case hash"),
    ],
)
def test_known_bad(variable: str, value: str) -> None:
    with pytest.raises(UsageError, match=variable) as caught:
        GitHubRun.from_environ({**A_RUN, variable: value})
    assert caught.value.facts == {"variable": variable}
