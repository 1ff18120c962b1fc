from __future__ import annotations

import json

import pytest
from anyarch.errors import UsageError
from anyarch.github.job_outputs import plan_outputs, release_outputs
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


def test_the_matrix_is_one_job_per_platform() -> None:
    outputs = plan_outputs(A_PLAN, source="app/web", insecure=False)
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
        "insecure": "false",
        "insecure-registry": "",
    }


def test_an_insecure_registry_is_said_as_dagger_and_as_merge_read_it() -> None:
    outputs = plan_outputs(A_PLAN, source=".", insecure=True)
    assert outputs["insecure"] == "true"
    assert outputs["insecure-registry"] == "registry.example.com"


def test_a_layout_cannot_be_shared_by_jobs() -> None:
    plan = Plan(destination="oci:dist", platforms=A_PLAN.platforms)
    with pytest.raises(UsageError, match="oci:dist is a folder of one machine") as caught:
        plan_outputs(plan, source=".", insecure=False)
    assert "--to" in caught.value.hint


def test_a_release_is_its_digest_and_tags() -> None:
    digest = Digest.of(b"")
    assert release_outputs(digest, ["1.2.3", "latest"]) == {"digest": str(digest), "tags": "1.2.3 latest"}
