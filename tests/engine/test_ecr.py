"""From AWS credentials to a tag in Amazon ECR on a real engine: TLS, Basic authentication, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

import pytest

from tests.engine.ecr_refusals import ACTIONS, PLACES, THROTTLED
from tests.engine.ecr_stage import ROOT
from tests.fake_ecr import HOST

SCENE_SECONDS: Final = 540
# An argument of the build, the name of where its password is, a step, and what a container printed.
SEEN: Final = {
    "traces: canary-argument-that-is-public",
    "traces: env://ANYARCH",
    "traces: Container.publish",
    "logs: it runs",
}


@pytest.fixture(scope="module")
def told(_lab: object) -> dict[str, Any]:
    """What came of the whole scene, played once on one engine."""
    scene = ["unshare", "--mount", "--propagation=private", sys.executable, "-m", "tests.engine.ecr_scene"]
    played = subprocess.run(
        scene, capture_output=True, text=True, check=False, cwd=ROOT, timeout=SCENE_SECONDS
    )
    assert played.returncode == 0, played.stderr[-4000:]
    read: dict[str, Any] = json.loads(played.stdout)
    return read


def test_a_run_publishes_and_repeats_itself_without_a_write(told: dict[str, Any]) -> None:
    assert {tag["tag"]: tag["previous"] for tag in told["first"]["tags"]} == {"1.0": None, "latest": None}
    assert told["tags"]["1.0"] == told["tags"]["latest"] == told["first"]["digest"] == told["again"]["digest"]
    assert told["again"]["writes"] == [], "though its password had expired"
    assert told["writers"] == ["anyarch", "containerd"], "the engine pushed the image, we the index"
    assert told["ran"]


def test_each_job_works_by_its_own_role_and_the_merge_without_layers(told: dict[str, Any]) -> None:
    assert told["roles"] == ["ASIABUILD", "ASIAMERGE"]
    assert told["tags"]["by-roles"] in told["manifests"]


def test_no_secret_is_printed_kept_or_told(told: dict[str, Any]) -> None:
    """Of the refused runs as well: logs, records, journal, the engine's own log, telemetry."""
    assert told["mixed"] == [], "two registries, two passwords"
    assert told["leaked"] == []
    assert told["links_followed"] > 0, "the engine was given signed links"
    assert set(told["seen_in_telemetry"]) >= SEEN, "what is no secret is found, so secrets would be"
    assert told["leaked_in_telemetry"] == []


def test_where_tags_are_fixed_the_same_release_again_writes_nothing(told: dict[str, Any]) -> None:
    first, again = told["fixed"]["first"], told["fixed"]["again"]
    assert (first["exit"], again["exit"]) == (0, 0), again["err"]
    assert (again["digest"], again["writes"]) == (first["digest"], [])


def test_a_fixed_tag_keeps_its_release_and_another_has_an_exit_code(told: dict[str, Any]) -> None:
    first, over = told["fixed"]["first"], told["fixed"]["over"]
    assert over["exit"] == 24, over["err"]
    assert f"{HOST}/shop/fixed:1.0 exists as {first['digest']}" in over["message"]
    assert over["tags"]["1.0"] == over["tags"]["latest"] == first["digest"]


def test_a_rollback_needs_no_permission_to_upload_and_leaves_fixed_tags(told: dict[str, Any]) -> None:
    first, second, back = (told["fixed"][each] for each in ("first", "second", "back"))
    assert (second["exit"], back["exit"]) == (0, 0), back["err"]
    assert second["tags"]["latest"] == second["tags"]["1.1"] == second["digest"] != first["digest"]
    assert back["tags"]["latest"] == back["tags"]["1.0"] == first["digest"]
    assert back["tags"]["1.1"] == second["digest"]


@pytest.mark.parametrize("place", THROTTLED)
def test_throttling_is_waited_out(told: dict[str, Any], place: str) -> None:
    throttled = told["throttled"][place]
    assert throttled["shown"], "the registry said TOOMANYREQUESTS twice"
    assert throttled["exit"] == 0, throttled["err"]
    assert throttled["tagged"] == throttled["digest"]


@pytest.mark.parametrize("place", PLACES)
def test_a_password_that_expires_in_mid_run_is_replaced(told: dict[str, Any], place: str) -> None:
    expired = told["expired"][place]
    assert expired["shown"], "the registry said that it has expired"
    assert expired["exit"] == 0, expired["err"]
    assert expired["tagged"] == expired["digest"]
    assert expired["passwords"] > 1


@pytest.mark.parametrize("action", ACTIONS)
def test_a_denial_names_the_action_and_the_repository(told: dict[str, Any], action: str) -> None:
    denied = told["denied"][action]
    assert denied["exit"] == 22, denied["err"]
    assert f"allow {action} on {denied['arn']}" in f"{denied['message']} {denied['hint']}"
    assert denied["tags"] == {}


def test_a_missing_repository_is_told_before_anything_is_sent(told: dict[str, Any]) -> None:
    missing = told["missing"]
    assert missing["exit"] == 23, missing["err"]
    assert f"there is no repository {HOST}/shop/none" in missing["message"]
    assert "aws ecr create-repository" in missing["hint"]
    assert "--repository-name shop/none" in missing["hint"]
    assert missing["written"] == []
