"""Runs the real workflow files with act, on this machine, with no GitHub and no Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tests.workflow.rules import RUNNER_LABELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
STAND_INS = Path(__file__).parent / "stand_ins"
REPOSITORY = "example/shop"
APPLICATION = "examples/static"

_GIT = shutil.which("git") or "git"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a workflow left."""

    succeeded: bool
    log: str
    jobs: Mapping[str, str]
    artifacts: Path

    def artifact(self, name: str, file: str) -> Path:
        return self.artifacts / name / file


def working_tree(folder: Path) -> Path:
    """This repository as a commit of now would be: what GitHub would check out."""
    command = [_GIT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def make_repository(
    folder: Path, application: Path, *, more_inputs: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """A git repository with this application, the reusable workflow and its caller, in one commit.

    Args:
        folder: Where.
        application: Copied to the folder that the caller names.
        more_inputs: What the caller passes besides.
    """
    shutil.copytree(application, folder / APPLICATION)
    (folder / ".github" / "workflows").mkdir(parents=True)
    for name in ("image.yml", "release-example.yml"):
        text = (WORKFLOWS / name).read_text()
        more = "".join(f"      {key}: {value}\n" for key, value in more_inputs.items())
        text = text.replace("    with:\n      path:", f"    with:\n{more}      path:")
        (folder / ".github" / "workflows" / name).write_text(text)
    as_someone = ["-c", "user.name=Someone", "-c", "user.email=someone@example.com"]
    for arguments in (
        ["init", "--quiet", "--initial-branch=main"],
        ["remote", "add", "origin", f"https://github.com/{REPOSITORY}.git"],
        ["add", "--all"],
        [*as_someone, "commit", "--quiet", "--message=An application"],
    ):
        subprocess.run([_GIT, *arguments], cwd=folder, check=True, timeout=30)
    return folder


def run_workflow(
    repository: Path,
    *,
    work: Path,
    stand_ins: Mapping[str, Path],
    inputs: Mapping[str, str],
    password: str,
    build_secrets: str = "",
    environ: Mapping[str, str],
    deadline_seconds: float,
) -> Run:
    """Run the caller's `workflow_dispatch` to its end.

    Args:
        repository: What `make_repository` made.
        work: An empty folder for everything that act and the stand-ins write.
        stand_ins: What the stand-ins use in place of the world: `STAND_IN_…` by name.
        inputs: The caller's inputs.
        password: The secret REGISTRY_PASSWORD.
        build_secrets: The secret BUILD_SECRETS.
        environ: Variables that every step sees.
        deadline_seconds: After that many the run and all its children are killed.
    """
    artifacts = work / "artifacts"
    artifacts.mkdir(parents=True)
    seen = {**environ, **{f"STAND_IN_{name}": str(path) for name, path in stand_ins.items()}}
    seen["STAND_IN_ARTIFACTS"] = str(artifacts)
    command = [
        *(str(Path(sys.executable).parent / "act"), "workflow_dispatch", "--json", "--no-skip-checkout"),
        *("--workflows", ".github/workflows/release-example.yml"),
        *("--secret", "REGISTRY_PASSWORD", "--secret", "BUILD_SECRETS"),
        *("--action-cache-path", str(work / "cache"), "--no-cache-server"),
        *(f"--platform={label}=-self-hosted" for label in sorted(RUNNER_LABELS)),
        *_local_repositories(),
        *(f"--input={name}={value}" for name, value in inputs.items()),
        *(f"--env={name}={value}" for name, value in seen.items()),
    ]
    secrets = {"REGISTRY_PASSWORD": password, "BUILD_SECRETS": build_secrets}
    process = subprocess.Popen(
        command,
        cwd=repository,
        env={"PATH": os.environ["PATH"], "HOME": str(work), **secrets},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=deadline_seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return Run(process.returncode == 0, _plain(output), dict(_results(output)), artifacts)


def _local_repositories() -> Iterator[str]:
    """Each published action that our files name, at the commit they name, is a folder of stand_ins/."""
    texts = [path.read_text() for path in (ROOT / ".github").glob("**/*.yml")]
    uses = {use for text in texts for use in re.findall(r"uses: ([\w.-]+/[\w.-]+@[0-9a-f]{40})", text)}
    for use in sorted(uses):
        name = use.partition("@")[0].partition("/")[2]
        yield f"--local-repository={use}={STAND_INS / name}"


def _entries(output: str) -> Iterator[dict[str, object]]:
    for line in output.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"msg": line}
        if isinstance(entry, dict):
            yield entry


def _results(output: str) -> Iterator[tuple[str, str]]:
    for entry in _entries(output):
        if "jobResult" in entry:
            yield str(entry["job"]), str(entry["jobResult"])


def _plain(output: str) -> str:
    return "\n".join(
        f"[{entry.get('job', 'act')}] {str(entry.get('msg', '')).rstrip()}" for entry in _entries(output)
    )
