"""Deleting a manifest by digest.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#deleting-manifests

Amazon ECR knows both this and an API of its own. The API is asked where AWS credentials are: only its
refusals are documented, such as that of a child which an index still names. With a password alone it is
the protocol, as oras deletes there: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-artifact-delete.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyarch.errors import AuthenticationError, DeletionUnsupportedError, NotFoundError, RegistryError
from anyarch.registry.ecr_host import NO_CREDENTIALS, EcrHost
from anyarch.registry.requests import Request

if TYPE_CHECKING:
    from anyarch.oci.digest import Digest
    from anyarch.registry.client import Client
    from anyarch.registry.wire import Answer


async def delete_manifest(client: Client, path: str, digest: Digest) -> bool:
    """Delete one manifest.

    Returns:
        False if it was not there.

    Raises:
        DeletionUnsupportedError: the registry deletes nothing by this protocol.
        RegistryError: refused, or no answer.
    """
    where = EcrHost.parse(client.host)
    if where is not None and client.finds_credentials:
        from anyarch.registry.ecr_repository import delete_image  # noqa: PLC0415  no other has an API of its own

        try:
            return await delete_image(where, path, digest, aws_profile=client.aws_profile)
        except AuthenticationError as error:
            if error.facts.get("reason") != NO_CREDENTIALS:
                raise
    subject = f"{client.host}/{path}@{digest}"
    url = client.url(f"{path}/manifests/{digest}")
    # Token servers grant "delete" apart from "push".
    scopes = frozenset({f"repository:{path}:pull", f"repository:{path}:delete"})
    try:
        await client.call(
            Request(method="DELETE", url=url, kind="manifest"), _nothing, scopes=scopes, subject=subject
        )
    except NotFoundError:
        return False
    except RegistryError as error:
        if not _unsupported(error):
            raise
        raise DeletionUnsupportedError(
            f"{client.host} deletes no manifests (status {error.facts.get('status')}); {subject} stays",
            hint=other_way(client.host),
            **error.facts,
        ) from error
    return True


async def _nothing(_: Answer) -> None:
    """A success says all by its status."""


def _unsupported(error: RegistryError) -> bool:
    codes = error.facts.get("codes")
    return error.facts.get("status") in {405, 501} or codes == ("UNSUPPORTED",)


def other_way(host: str) -> str:
    """What its users do instead: hosted services have an API or rules of their own for it."""
    if host == "ghcr.io":
        return "GitHub deletes by its own API: DELETE /orgs/ORG/packages/container/PACKAGE/versions/ID"
    if host == "docker.io":
        return "Docker Hub deletes by its own interface: hub.docker.com, image management"
    if EcrHost.parse(host) is not None:
        return "Amazon ECR deletes by its own API, for AWS credentials in place of a password"
    return (
        "its operator can allow it (distribution: storage.delete.enabled: true); some have a way of their own"
    )
