"""The whole workflow for real: act runs the shipped files; anyarch, dagger, engine and registry are real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyarch.release.record import Record

from tests.workflow.act import ROOT, Run, make_repository, run_workflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.workflow.forge import Forge

pytestmark = pytest.mark.engine

PLATFORMS = ("linux/amd64", "linux/386", "linux/arm64")
RUN_SECONDS = 600
COMMAND_SECONDS = 60
BIN = Path(sys.executable).parent

DOCKERFILE = """\
FROM debian:bookworm-slim
ARG GREETING
RUN echo "$GREETING on $(uname -m)" > /greeting
CMD ["cat", "/greeting"]
"""
CONFIG = """\
[build.args]
GREETING = "it's two words, \\"quoted\\""
[build.labels]
"com.example.star" = "*"
[platforms."linux/amd64"]
[platforms."linux/386"]
[platforms."linux/arm64"]
[registries."{registry}"]
insecure = true
"""


@dataclass(frozen=True, slots=True)
class Released:
    """The workflow's one run, and where it published."""

    run: Run
    application: Path
    repository: str


def working_tree(folder: Path) -> Path:
    """This repository as a commit of now would be: what GitHub would check out."""
    git = shutil.which("git") or "git"
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=COMMAND_SECONDS)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, forge: Forge) -> Released:
    folder = tmp_path_factory.mktemp("act")
    config = CONFIG.format(registry=forge.registry)
    application = make_repository(
        folder / "repository", {"examples/web/Dockerfile": DOCKERFILE, "examples/web/anyarch.toml": config}
    )
    repository = f"{forge.registry}/team/web"
    run = run_workflow(
        application,
        work=folder / "work",
        stand_ins={
            "APPLICATION": application,
            "ANYARCH": working_tree(folder / "anyarch"),
            "UV": forge.uv,
            "PYTHON": Path(sys.executable),
            "DAGGER": forge.dagger,
        },
        inputs={"to": repository, "tags": "1.2.3 latest", "username": forge.username},
        password=forge.password,
        environ=forge.environ,
        deadline_seconds=RUN_SECONDS,
    )
    assert run.succeeded, run.log
    return Released(run, application / "examples" / "web", repository)


def anyarch(*arguments: str, forge: Forge) -> str:
    """What a person's anyarch prints."""
    environ = {**os.environ, **forge.credentials}
    command = [str(BIN / "anyarch"), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environ, timeout=COMMAND_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def inspected(reference: str, forge: Forge) -> Sequence[dict[str, object]]:
    """The index's children as skopeo, which is not ours, reads them."""
    credentials = [f"--creds={forge.username}:{forge.password}"] if forge.username else []
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", *credentials, f"docker://{reference}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    children: Sequence[dict[str, object]] = json.loads(done.stdout)["manifests"]
    return children


def records(released: Released, folder: Path) -> Path:
    """The records of the run, as a person would download them."""
    for path in released.run.artifacts.glob("record-*/*.json"):
        shutil.copy(path, folder)
    return folder


def test_every_job_succeeded(released: Released) -> None:
    jobs = {name.rpartition("/image/")[2].strip(): result for name, result in released.run.jobs.items()}
    builds = {f"build {platform}-{number}": "success" for number, platform in enumerate(PLATFORMS, start=1)}
    assert jobs == {"plan": "success", **builds, "merge": "success"}


def test_both_tags_hold_both_platforms(released: Released, forge: Forge) -> None:
    for tag in ("1.2.3", "latest"):
        children = inspected(f"{released.repository}:{tag}", forge)
        platforms = [f"{child['platform']['os']}/{child['platform']['architecture']}" for child in children]
        assert platforms == list(PLATFORMS)


def test_each_record_tells_its_run(released: Released) -> None:
    for platform in PLATFORMS:
        slug = platform.replace("/", "-")
        path = released.run.artifact(f"record-{slug}-1", f"{slug}-1.json")
        record = Record.from_json(path.read_bytes(), subject=path.name)
        assert str(record.platform) == platform
        assert (record.run_id, record.run_attempt) == ("1", 1)
        assert record.repository == released.repository


def test_merge_by_hand_from_the_same_records_gives_the_same_index(
    released: Released, forge: Forge, tmp_path: Path
) -> None:
    plan = released.run.artifact("plan", "plan.json")
    said = anyarch(
        *("merge", "--records", str(records(released, tmp_path)), "--plan", str(plan)),
        *("--to", released.repository, "--tag", "by-hand", "--format", "json"),
        forge=forge,
    )
    digest = json.loads(said)["digest"]
    by_workflow = re.search(r"::set-output:: digest=(sha256:[0-9a-f]{64})", released.run.log)
    assert by_workflow
    assert digest == by_workflow[1]
    assert inspected(f"{released.repository}:by-hand", forge) == inspected(
        f"{released.repository}:1.2.3", forge
    )


def test_the_password_is_nowhere_in_the_log_or_the_artifacts(released: Released, forge: Forge) -> None:
    assert forge.password
    assert forge.password not in released.run.log
    for path in released.run.artifacts.rglob("*.json"):
        assert forge.password not in path.read_text()
