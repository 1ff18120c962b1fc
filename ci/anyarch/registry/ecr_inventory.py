"""Everything that a repository of Amazon ECR holds; the registry's protocol lists tags only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from anyarch.errors import NotFoundError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.inventory import Held, Inventory
from anyarch.registry.ecr_advice import missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.registry.ecr_host import EcrHost

_PAGE: Final = 1000  # the most that the service gives at once


class EcrInventory:
    """Tells what a repository holds. Needs AWS credentials and ``ecr:DescribeImages``.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html

    Args:
        where: The registry.
        path: The repository in it, as in a reference.
        aws_profile: Who asks.
        pulls: Whether a pull makes an image younger.
    """

    def __init__(self, where: EcrHost, path: str, *, aws_profile: str = "", pulls: bool = True) -> None:
        self._where = where
        self._path = path
        self._profile = aws_profile
        self._pulls = pulls

    async def inventory(self) -> Inventory:
        """Everything that is there now.

        An image is as old as its last push or pull: whoever pulls it uses it. The service notes pulls once a
        day or more often. What is archived cannot be read, and is left out.
        https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageDetail.html

        Raises:
            NotFoundError: there is no such repository.
            AnyarchError: AWS refuses, or does not answer.
        """
        from anyarch.registry import ecr  # noqa: PLC0415  loading the SDK takes a third of a second

        account = ecr.account(self._where, profile=self._profile)
        action = f"{self._where.service}:DescribeImages"
        try:
            details = await ecr.within_deadline(lambda: account.call(action, self._ask), self._where)
        except NotFoundError:
            raise missing(self._where, self._path, profile=self._profile) from None
        held = [self._held(each) for each in details if each.get("imageStatus", "ACTIVE") == "ACTIVE"]
        return Inventory(held=tuple(each for each in held if each is not None), roots={}, blobs=False)

    def _ask(self, client: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401  boto3 makes clients out of data files at run time
        registry = {} if self._where.is_public else {"registryId": self._where.account}
        pages = client.get_paginator("describe_images").paginate(
            repositoryName=self._where.repository_name(self._path),
            PaginationConfig={"PageSize": _PAGE},
            **registry,
        )
        return [detail for page in pages for detail in page.get("imageDetails", [])]

    def _held(self, detail: Mapping[str, Any]) -> Held | None:
        try:
            digest = Digest.parse(detail.get("imageDigest", ""))
            subject = (
                Digest.parse(detail["subjectManifestDigest"]) if "subjectManifestDigest" in detail else None
            )
        except UsageError:  # another algorithm than ours: it stays
            return None
        used = ("imagePushedAt", *(("lastRecordedPullTime",) if self._pulls else ()))
        return Held(
            digest=digest,
            written=max((when for name in used if (when := _time(detail.get(name)))), default=None),
            subject=subject,
            kind=str(detail.get("artifactMediaType") or detail.get("imageManifestMediaType") or ""),
        )


def _time(told: object) -> datetime | None:
    """What boto3 makes of a moment, in UTC."""
    return told.astimezone(UTC) if isinstance(told, datetime) else None
