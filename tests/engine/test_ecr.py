"""From AWS credentials to a tag in Amazon ECR: TLS, Basic authentication and a real engine's push."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENE_SECONDS = 540


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
    assert told["writers"] == ["anyarch", "containerd"], "the engine pushed the image, we the index"
    assert told["leaked"] == []
