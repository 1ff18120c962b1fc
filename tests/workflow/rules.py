"""What holds for every workflow and action of ours; each rule says what is wrong, nothing if all is well."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_LINES = 120

# GitHub's own labels (actions/runner-images, 2026-08). A label that nobody serves is no error there: the job
# waits for a day. `ubuntu-24.04-arm64`, which people write, is the name of an image file, not a label.
RUNNER_LABELS = {
    *("ubuntu-latest", "ubuntu-24.04", "ubuntu-22.04", "ubuntu-26.04", "ubuntu-slim"),
    *("ubuntu-24.04-arm", "ubuntu-22.04-arm", "ubuntu-26.04-arm"),
}
PERMISSIONS_NEEDED = {"contents": "read"}
ROLE = "AWS_ROLE_ARN"  # a job that takes a role needs a token that says who it is

_PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
_LOCAL = re.compile(r"uses: \./[\w./-]+")
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_WIRE = re.compile(r"[a-z]+(\.[\w-]+)+")
# What an expression may do besides naming a value: undo what a job output did to it.
_UNPACKING = {
    "fromJSON(needs.plan.outputs.matrix)",
    r"join(matrix.arguments, '\n')",
    "!matrix.required",
}
_SHELL_LOGIC = re.compile(r"&&|\|\|?|;|\$\(|`|\b(if|for|while|case)\b|\[\[? ")
_UNPACK_LIST = re.compile(r'readarray -t arguments <<< "\$ARGUMENTS"')


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow or composite action file."""

    path: Path
    text: str

    @property
    def document(self) -> dict[Any, Any]:
        loaded = yaml.safe_load(self.text)
        assert isinstance(loaded, dict)
        return loaded

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The jobs that run on a runner; one that calls a workflow has its own file."""
        return {name: job for name, job in self.document.get("jobs", {}).items() if "steps" in job}

    @property
    def steps(self) -> list[dict[str, Any]]:
        composite: list[dict[str, Any]] = self.document.get("runs", {}).get("steps", [])
        return composite + [step for job in self.jobs.values() for step in job["steps"]]

    @property
    def scripts(self) -> list[str]:
        """Every `run`, continued lines joined."""
        return [step["run"].strip().replace("\\\n", "") for step in self.steps if "run" in step]


def short(workflow: Workflow) -> Iterator[str]:
    lines = workflow.text.count("\n")
    if lines > MAX_LINES:
        yield f"{lines} lines are more than {MAX_LINES}"


def pinned(workflow: Workflow) -> Iterator[str]:
    for line in workflow.text.splitlines():
        use = line.strip().removeprefix("- ")
        if use.startswith("uses:") and not _PINNED.fullmatch(use) and not _LOCAL.fullmatch(use):
            yield f"not pinned to a commit with its version beside it: {use}"


def permitted(workflow: Workflow) -> Iterator[str]:
    if "jobs" in workflow.document and workflow.document.get("permissions") != {}:
        yield "the file does not start from `permissions: {}`"
    for name, job in workflow.jobs.items():
        takes_role = any(ROLE in step.get("env", {}) for step in job["steps"])
        needed = PERMISSIONS_NEEDED | ({"id-token": "write"} if takes_role else {})
        if job.get("permissions") != needed:
            yield f"job {name}: permissions {job.get('permissions')}, needed {needed}"


def timed(workflow: Workflow) -> Iterator[str]:
    for name, job in workflow.jobs.items():
        if not isinstance(job.get("timeout-minutes"), int):
            yield f"job {name} has no timeout-minutes"


def on_known_runners(workflow: Workflow) -> Iterator[str]:
    for name, job in workflow.jobs.items():
        if job["runs-on"] not in {*RUNNER_LABELS, "${{ matrix.runner }}"}:
            yield f"job {name}: nobody serves {job['runs-on']}"


def one_command(workflow: Workflow) -> Iterator[str]:
    for script in workflow.scripts:
        commands = [line for line in script.splitlines() if not _UNPACK_LIST.fullmatch(line)]
        if len(commands) != 1 or _SHELL_LOGIC.search(commands[0]):
            yield f"more than one command: {script}"


def no_injection(workflow: Workflow) -> Iterator[str]:
    for script in workflow.scripts:
        if "${{" in script:
            yield f"an expression inside a script: {script}"


def no_logic(workflow: Workflow) -> Iterator[str]:
    for expression in _EXPRESSION.findall(workflow.text):
        if not _WIRE.fullmatch(expression.strip()) and expression.strip() not in _UNPACKING:
            yield f"an expression that decides something: {expression.strip()}"
    if re.search(r"^\s*(- )?if:", workflow.text, re.MULTILINE):
        yield "an `if:`"


def no_credentials_left(workflow: Workflow) -> Iterator[str]:
    for step in workflow.steps:
        is_checkout = step.get("uses", "").startswith("actions/checkout@")
        if is_checkout and step.get("with", {}).get("persist-credentials") is not False:
            yield "a checkout keeps its token in .git/config"


def secrets_by_environment(workflow: Workflow) -> Iterator[str]:
    for step in workflow.steps:
        if "secrets." in str({key: value for key, value in step.items() if key != "env"}):
            yield f"a secret outside env: {step}"


RULES: tuple[Callable[[Workflow], Iterator[str]], ...] = (
    *(short, pinned, permitted, timed, on_known_runners, one_command, no_injection, no_logic),
    *(no_credentials_left, secrets_by_environment),
)
