"""From AWS credentials to a tag in Amazon ECR: TLS, Basic authentication and a real engine's push."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENE_SECONDS = 540
# An argument of the build, the name of where its password is, a step, and what a container printed.
SEEN = {
    "traces: canary-argument-that-is-public",
    "traces: env://ANYARCH",
    "traces: Container.publish",
    "logs: it runs",
}


@pytest.mark.usefixtures("_lab")
def test_a_run_publishes_to_ecr_and_repeats_itself_without_a_write() -> None:
    scene = ["unshare", "--mount", "--propagation=private", sys.executable, "-m", "tests.engine.ecr_scene"]
    played = subprocess.run(
        scene, capture_output=True, text=True, check=False, cwd=ROOT, timeout=SCENE_SECONDS
    )
    assert played.returncode == 0, played.stderr[-4000:]
    told = json.loads(played.stdout)
    assert {tag["tag"]: tag["previous"] for tag in told["first"]["tags"]} == {"1.0": None, "latest": None}
    assert told["tags"]["1.0"] == told["tags"]["latest"] == told["first"]["digest"] == told["again"]["digest"]
    assert told["again"]["writes"] == [], "though its password had expired"
    assert told["expired"]
    assert told["tags"]["late"] == told["late"], "its password expired in the middle of the engine's push"
    assert set(told["denied"].values()) == {True}, told["denied"]
    assert told["writers"] == ["anyarch", "containerd"], "the engine pushed the image, we the index"
    assert told["ran"]
    assert told["roles"] == ["ASIABUILD", "ASIAMERGE"], "each job by its own role, the merge without layers"
    assert told["tags"]["by-roles"] in told["manifests"]
    assert told["mixed"] == [], "two registries, two passwords"
    assert told["leaked"] == [], "neither printed nor kept: logs, records, journal, the engine's own log"
    assert told["links_followed"] > 0, "the engine was given signed links"
    assert set(told["seen_in_telemetry"]) >= SEEN, "what is no secret is found, so secrets would be"
    assert told["leaked_in_telemetry"] == []
