from __future__ import annotations

import json
from dataclasses import replace

import pytest
from anyarch.errors import UsageError
from anyarch.github.job_outputs import Login, plan_outputs, release_outputs
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.release.config import BuildSettings
from anyarch.release.plan import Plan, PlannedPlatform

A_PLAN = Plan(
    destination="registry.example.com/team/web",
    platforms=(
        PlannedPlatform(platform=Platform.parse("linux/amd64")),
        PlannedPlatform(platform=Platform.parse("linux/arm64"), runner="big-arm", required=False),
    ),
    tags=("1.2.3", "latest"),
    build=BuildSettings(labels={"org.opencontainers.image.version": "1.2.3"}),
)
NOBODY = Login(username="", password="env:ANYARCH_REGISTRY_PASSWORD")
ROBOT = replace(NOBODY, username="robot")


def test_the_matrix_is_one_job_per_platform() -> None:
    outputs = plan_outputs(A_PLAN, source="app/web", insecure=(), login=ROBOT)
    jobs = json.loads(outputs.pop("matrix"))["include"]
    assert [(job["platform"], job["slug"], job["runner"], job["required"]) for job in jobs] == [
        ("linux/amd64", "linux-amd64", "ubuntu-latest", True),
        ("linux/arm64", "linux-arm64", "big-arm", False),
    ]
    assert outputs == {
        "destination": "registry.example.com/team/web",
        "source": "app/web",
        "tags": "1.2.3 latest",
        "version": "1.2.3",
        "username": "robot",
        "password": "env:ANYARCH_REGISTRY_PASSWORD",
        "insecure": "false",
        "insecure-registry": "",
    }


def test_an_insecure_registry_is_said_as_dagger_and_as_merge_read_it() -> None:
    outputs = plan_outputs(A_PLAN, source=".", insecure=["registry.example.com"], login=NOBODY)
    assert outputs["insecure"] == "true"
    assert outputs["insecure-registry"] == "registry.example.com"


def test_every_insecure_registry_among_the_destinations_is_said_to_merge() -> None:
    also = ("far.example.com/web", "tls.example.com/web", "far.example.com/other")
    insecure = ["far.example.com", "stranger.example.com"]
    outputs = plan_outputs(replace(A_PLAN, also=also), source=".", insecure=insecure, login=NOBODY)
    assert (outputs["insecure"], outputs["insecure-registry"]) == ("false", "far.example.com")
    outputs = plan_outputs(
        replace(A_PLAN, also=also), source=".", insecure=[*insecure, "registry.example.com"], login=NOBODY
    )
    assert outputs["insecure"] == "true"
    assert outputs["insecure-registry"] == "registry.example.com far.example.com"


@pytest.mark.parametrize(
    ("destination", "also"),
    [
        pytest.param("oci:dist", (), id="the only destination"),
        pytest.param("registry.example.com/team/web", ("oci:dist",), id="a further one"),
    ],
)
def test_a_layout_cannot_be_shared_by_jobs(destination: str, also: tuple[str, ...]) -> None:
    plan = Plan(destination=destination, also=also, platforms=A_PLAN.platforms)
    with pytest.raises(UsageError, match="oci:dist is a folder of one machine") as caught:
        plan_outputs(plan, source=".", insecure=(), login=NOBODY)
    assert "--to" in caught.value.hint


def test_a_release_is_its_digest_and_tags() -> None:
    digest = Digest.of(b"")
    assert release_outputs(digest, ["1.2.3", "latest"]) == {"digest": str(digest), "tags": "1.2.3 latest"}
