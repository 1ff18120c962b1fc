"""What can be said of the workflows without running them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.workflow.rules import RULES, RUNNER_LABELS, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FILES = sorted([*GITHUB.glob("workflows/*.yml"), *GITHUB.glob("actions/*/action.yml")])
IMAGE = GITHUB / "workflows" / "image.yml"
TOOL_TIMEOUT_SECONDS = 120


def the_file(path: Path) -> Workflow:
    return Workflow(path, path.read_text())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(GITHUB)))
def test_rule(path: Path, rule: Callable[[Workflow], Iterator[str]]) -> None:
    assert list(rule(the_file(path))) == []


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        pytest.param("permissions: {}", "permissions: read-all", "permitted", id="top permissions"),
        pytest.param("contents: read", "contents: write", "permitted", id="a job may write"),
        pytest.param("    permissions: { contents: read }", "    #", "permitted", id="inherited permissions"),
        pytest.param("AWS_ROLE_ARN", "OTHER", "permitted", id="a token nobody needs"),
        pytest.param(" # v7.0.1", "", "pinned", id="a pin without its version"),
        pytest.param("@bbbca2dd", "@v7 # bbbca2dd", "pinned", id="a tag instead of a commit"),
        pytest.param("    timeout-minutes: 360", "    #", "timed", id="no timeout"),
        pytest.param("ubuntu-slim", "ubuntu-24.04-arm64", "on_known_runners", id="a label nobody serves"),
        pytest.param('plan "$APP"', "plan '${{ inputs.path }}'", "no_injection", id="an input in a script"),
        pytest.param("--format github", "--format github || true", "one_command", id="a swallowed failure"),
        pytest.param(
            "run: anyarch plan",
            "run: |\n          cd x\n          anyarch plan",
            "one_command",
            id="two commands",
        ),
        pytest.param("!matrix.required", "matrix.platform != 'linux/arm64'", "no_logic", id="a decision"),
        pytest.param("      - id: plan", "      - if: always()\n        id: plan", "no_logic", id="an if"),
        pytest.param(
            "path: app, persist-credentials: false", "path: app", "no_credentials_left", id="token on disk"
        ),
        pytest.param(
            "name: plan, path: plan",
            'name: plan, path: "${{ secrets.registry-password }}"',
            "secrets_by_environment",
            id="a secret as an argument",
        ),
        pytest.param("\njobs:", "\n" * 90 + "jobs:", "short", id="a long file"),
    ],
)
def test_each_rule_sees_its_fault(before: str, after: str, rule: str) -> None:
    text = IMAGE.read_text()
    assert before in text
    spoiled = Workflow(IMAGE, text.replace(before, after))
    assert rule in {each.__name__ for each in RULES if list(each(spoiled))}


def test_one_version_of_each_action_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in FILES:
        for action, pin in re.findall(r"uses: ([^@\s]+)@(.+)", path.read_text()):
            pins.setdefault(action, set()).add(pin)
    assert pins
    assert {action: pin for action, pin in pins.items() if len(pin) > 1} == {}


def test_the_caller_is_ten_lines() -> None:
    caller = (GITHUB / "workflows" / "release-example.yml").read_text()
    _, _, job = caller.partition("jobs:\n  image:\n")
    assert 0 < len(job.splitlines()) <= 12


def test_the_caller_passes_what_the_workflow_takes() -> None:
    called = the_file(IMAGE).document[True]["workflow_call"]  # YAML 1.1 reads the key `on` as true
    call = the_file(GITHUB / "workflows" / "release-example.yml").document["jobs"]["image"]
    assert set(call["with"]) <= set(called["inputs"])
    assert {"path", "to", "tags", "registry-username"} <= set(call["with"])
    assert set(call["secrets"]) == set(called["secrets"])
    assert (ROOT / call["with"]["path"] / "Dockerfile").is_file()


def test_the_caller_grants_what_the_jobs_ask_for() -> None:
    """GitHub starts no run otherwise."""
    granted = the_file(GITHUB / "workflows" / "release-example.yml").document["jobs"]["image"]["permissions"]
    asked = [job["permissions"] for job in the_file(IMAGE).jobs.values()]
    assert granted == {name: level for each in asked for name, level in each.items()}


def test_merge_is_never_cancelled_half_way() -> None:
    concurrency = the_file(IMAGE).jobs["merge"]["concurrency"]
    assert concurrency["cancel-in-progress"] is False


def test_the_engine_version_is_the_library_s() -> None:
    from anyarch.engine import DAGGER_VERSION

    assert f"version: {DAGGER_VERSION} " in IMAGE.read_text()


def test_uv_is_the_one_we_test_with() -> None:
    setup = (GITHUB / "actions" / "setup" / "action.yml").read_text()
    lab = (ROOT / "lab" / "setup.sh").read_text()
    assert re.findall(r"version: (\d+\.\d+\.\d+)", setup) == re.findall(r"UV_VERSION=(\S+)", lab)


def test_planned_runners_are_labels_that_somebody_serves() -> None:
    from anyarch.oci.platforms import Platform
    from anyarch.release.config import parse_config
    from anyarch.release.matrix import github_matrix
    from anyarch.release.plan import make_plan

    words = ("linux/amd64", "linux/386", "linux/arm64", "linux/arm/v7", "linux/riscv64", "linux/s390x")
    plan = make_plan(
        parse_config("", path="anyarch.toml"),
        platforms=[Platform.parse(word) for word in words],
        engines={},
        destination="registry.example.com/team/web",
        tags=("1.2.3",),
        revision=None,
    )
    runners = {entry["platform"]: entry["runner"] for entry in github_matrix(plan)["include"]}
    assert set(runners) == set(words)
    assert set(runners.values()) <= RUNNER_LABELS
    assert str(runners["linux/arm64"]).endswith("-arm")


@pytest.mark.parametrize("persona", ["regular", "pedantic", "auditor"])
def test_zizmor_finds_nothing(persona: str) -> None:
    zizmor = Path(sys.executable).parent / "zizmor"
    command = [
        str(zizmor),
        "--offline",
        "--persona",
        persona,
        "--format",
        "json",
        "--no-progress",
        str(GITHUB),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_SECONDS, check=False)
    assert json.loads(done.stdout) == [], done.stderr
    assert done.returncode == 0


def test_actionlint_finds_nothing(actionlint: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    workflows = [str(path) for path in FILES if path.parent.name == "workflows"]
    done = subprocess.run(
        [str(actionlint), "-shellcheck", str(shellcheck), *workflows],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TOOL_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.stdout == ""
    assert done.returncode == 0


def test_actionlint_runs_shellcheck(actionlint: Path, tmp_path: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    spoiled = tmp_path / "image.yml"
    spoiled.write_text(IMAGE.read_text().replace('plan "$APP"', "plan $APP"))
    done = subprocess.run(
        [str(actionlint), "-shellcheck", str(shellcheck), str(spoiled)],
        capture_output=True,
        text=True,
        timeout=TOOL_TIMEOUT_SECONDS,
        check=False,
    )
    assert "SC2086" in done.stdout
