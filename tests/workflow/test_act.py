"""The whole workflow for real: act runs the shipped files; anyarch, dagger, engine and registry are real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyarch.release.record import Record

from tests.workflow.act import APPLICATION, Run, make_repository, run_workflow, working_tree

if TYPE_CHECKING:
    from tests.workflow.forge import Forge

pytestmark = pytest.mark.engine

PLATFORMS = ("linux/amd64", "linux/386", "linux/arm64")
RUN_SECONDS = 600
COMMAND_SECONDS = 60
BIN = Path(sys.executable).parent

SECRET = "canary-k8 = two words"
# The build fails where the secret is not what the caller passed.
CHECK = f"""\
RUN --mount=type=secret,id=token \\
    test "$(sha256sum </run/secrets/token)" = "{sha256(SECRET.encode()).hexdigest()}  -"
COPY count.c"""
SETTINGS = """
[build.secrets]
token = "env:NOT_SET_HERE"

[build.labels]
"com.example.words" = "it's *two* words, \\"quoted\\""

[registries."{registry}"]
insecure = true
"""


@dataclass(frozen=True, slots=True)
class Released:
    """The workflow's one run, and where it published."""

    run: Run
    repository: str


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, forge: Forge) -> Released:
    folder = tmp_path_factory.mktemp("act")
    checkout = working_tree(folder / "anyarch")
    example = shutil.copytree(checkout / APPLICATION, folder / "example")
    dockerfile = (example / "Dockerfile").read_text()
    assert "\nCOPY count.c" in dockerfile
    (example / "Dockerfile").write_text(dockerfile.replace("COPY count.c", CHECK))
    with (example / "anyarch.toml").open("a") as config:
        config.write(SETTINGS.format(registry=forge.registry))
    application = make_repository(folder / "repository", example)
    repository = f"{forge.registry}/team/static"
    run = run_workflow(
        application,
        work=folder / "work",
        stand_ins={
            "APPLICATION": application,
            "ANYARCH": checkout,
            "UV": forge.uv,
            "PYTHON": Path(sys.executable),
            "DAGGER": forge.dagger,
        },
        inputs={"to": repository, "tags": "1.2.3 latest", "username": forge.username},
        password=forge.password,
        build_secrets=f"token={SECRET}\n",
        environ=forge.environ,
        deadline_seconds=RUN_SECONDS,
    )
    assert run.succeeded, run.log
    return Released(run, repository)


def anyarch(*arguments: str, forge: Forge) -> str:
    """What a person's anyarch prints."""
    environ = {
        **os.environ,
        "ANYARCH_REGISTRY_USERNAME": forge.username,
        "ANYARCH_REGISTRY_PASSWORD": forge.password,
        "ANYARCH_INSECURE_REGISTRIES": forge.registry,
    }
    command = [str(BIN / "anyarch"), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environ, timeout=COMMAND_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def skopeo(reference: str, *flags: str, forge: Forge) -> str:
    """What skopeo, which is not ours, finds behind a reference."""
    command = [shutil.which("skopeo") or "skopeo", "inspect", "--tls-verify=false", *flags]
    command += [f"--creds={forge.username}:{forge.password}", f"docker://{reference}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def records(released: Released, folder: Path) -> Path:
    """The records of the run, as a person would download them."""
    for path in released.run.artifacts.glob("record-*/*.json"):
        shutil.copy(path, folder)
    return folder


def test_every_job_succeeded(released: Released) -> None:
    jobs = {name.rpartition("/image/")[2].strip(): result for name, result in released.run.jobs.items()}
    builds = {f"build {platform}-{number}": "success" for number, platform in enumerate(PLATFORMS, start=1)}
    assert jobs == {"plan": "success", **builds, "merge": "success"}


@pytest.mark.parametrize("tag", ["1.2.3", "latest"])
def test_each_tag_holds_every_platform(released: Released, forge: Forge, tag: str) -> None:
    index = json.loads(skopeo(f"{released.repository}:{tag}", "--raw", forge=forge))
    children = {
        f"{child['platform']['os']}/{child['platform']['architecture']}" for child in index["manifests"]
    }
    assert len(index["manifests"]) == len(PLATFORMS)
    assert children == set(PLATFORMS)


def test_a_setting_with_every_awkward_character_reaches_the_image(released: Released, forge: Forge) -> None:
    config = json.loads(skopeo(f"{released.repository}:latest", "--config", forge=forge))
    assert config["config"]["Labels"]["com.example.words"] == 'it\'s *two* words, "quoted"'


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
    by_hand, by_tag = (
        skopeo(f"{released.repository}:{tag}", "--raw", forge=forge) for tag in ("by-hand", "1.2.3")
    )
    assert by_hand == by_tag


def test_no_secret_is_anywhere_in_the_log_or_the_artifacts(released: Released, forge: Forge) -> None:
    assert forge.password
    for secret in (forge.password, SECRET):
        assert secret not in released.run.log
        for path in released.run.artifacts.rglob("*.json"):
            assert secret not in path.read_text()
