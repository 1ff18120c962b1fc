"""ECR's API as moto has it: requests that a stranger's reading of AWS's own model accepts.

moto knows no data plane and hands out one token, which expired in 2015; tests/fake_ecr.py is stricter where
it can be. Here counts that what is sent is what the service is documented to take.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from anyarch.errors import NotFoundError
from anyarch.oci.digest import Digest
from anyarch.registry import ecr as api
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.ecr_inventory import EcrInventory
from anyarch.registry.ecr_repository import NewRepository, create, delete_image
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.anyio

PRIVATE = cast("EcrHost", EcrHost.parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com"))
FIPS = cast("EcrHost", EcrHost.parse("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com"))
OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
EXPIRY = {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14, "tagStatus": "untagged"}
POLICY = json.dumps({"rules": [{"rulePriority": 1, "selection": EXPIRY, "action": {"type": "expire"}}]})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture(autouse=True)
def _aws(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def described(name: str) -> Mapping[str, Any]:
    client = boto3.client("ecr", region_name="eu-west-1")
    (found,) = client.describe_repositories(repositoryNames=[name])["repositories"]
    tags = client.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
    return {**found, "resourceTags": tags}


@pytest.mark.parametrize("where", [PRIVATE, FIPS], ids=["private", "FIPS beside an endpoint of one's own"])
async def test_a_token_is_a_user_and_a_password(where: EcrHost) -> None:
    """A moment that has passed is no reason to ask before every request."""
    found = await api.Account(where).credential()
    assert (found.username, bool(found.password)) == ("AWS", True)
    assert found.expires_at > time.time() + 11 * 3600


async def test_a_repository_is_made_with_all_that_was_asked_for() -> None:
    wanted = NewRepository(
        immutable=True,
        exceptions=("latest", "pr-*"),
        scan_on_push=True,
        encryption="KMS",
        kms_key="alias/images",
        tags={"team": "shop"},
        lifecycle_policy=POLICY,
    )
    assert await create(PRIVATE, "shop/api", wanted)
    found = described("shop/api")
    assert found["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert found["imageScanningConfiguration"] == {"scanOnPush": True}
    assert found["encryptionConfiguration"]["encryptionType"] == "KMS"
    assert found["resourceTags"] == [{"Key": "team", "Value": "shop"}]
    client = boto3.client("ecr", region_name="eu-west-1")
    kept = client.get_lifecycle_policy(repositoryName="shop/api")["lifecyclePolicyText"]
    assert json.loads(kept) == json.loads(POLICY)


async def test_a_repository_that_somebody_else_made_meanwhile_is_left_alone() -> None:
    assert await create(PRIVATE, "shop/web", NewRepository())
    assert not await create(PRIVATE, "shop/web", NewRepository(scan_on_push=True, lifecycle_policy=POLICY))
    assert described("shop/web")["imageScanningConfiguration"] == {"scanOnPush": False}


async def test_an_image_is_deleted_by_its_digest() -> None:
    await create(PRIVATE, "shop/old", NewRepository())
    client = boto3.client("ecr", region_name="eu-west-1")
    raw = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"})
    client.put_image(repositoryName="shop/old", imageManifest=raw, imageTag="v1")
    digest = client.describe_images(repositoryName="shop/old")["imageDetails"][0]["imageDigest"]
    assert await delete_image(PRIVATE, "shop/old", Digest.parse(digest))
    assert client.describe_images(repositoryName="shop/old")["imageDetails"] == []
    assert not await delete_image(PRIVATE, "shop/old", Digest.of(b"never there"))


async def test_everything_in_a_repository_is_listed_with_its_push() -> None:
    await create(PRIVATE, "shop/much", NewRepository())
    client = boto3.client("ecr", region_name="eu-west-1")
    raws = [json.dumps({"schemaVersion": 2, "mediaType": OCI_IMAGE, "n": n}) for n in range(5)]
    digests = {Digest.of(raw.encode()) for raw in raws}
    for raw in raws:
        digest = str(Digest.of(raw.encode()))  # moto would roll dice for it
        client.put_image(repositoryName="shop/much", imageManifest=raw, imageDigest=digest)
    found = await EcrInventory(PRIVATE, "shop/much").inventory()
    assert {held.digest for held in found.held} == digests
    now = datetime.now(UTC)
    assert all(
        held.written is not None and abs((now - held.written).total_seconds()) < 300 for held in found.held
    )
    assert not found.blobs


async def test_a_repository_that_is_not_there_is_said_so() -> None:
    with pytest.raises(NotFoundError, match="RepositoryNotFoundException"):
        await delete_image(PRIVATE, "shop/never", Digest.of(b"x"))
    with pytest.raises(NotFoundError, match="there is no repository"):
        await EcrInventory(PRIVATE, "shop/never").inventory()
