"""Repositories of Amazon ECR, which no push creates: told missing before a build, or made as configured."""

from __future__ import annotations

from dataclasses import dataclass, field
from shlex import quote
from typing import TYPE_CHECKING, Final

from anyarch.errors import AnyarchError, NotFoundError, RegistryError
from anyarch.oci.digest import Digest
from anyarch.registry import ecr_advice
from anyarch.registry.ecr_host import EcrHost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from anyarch.oci.store import Store
    from anyarch.registry.ecr import Account

# What a tag pointed at is kept under such a tag, which is written anew at every move.
HISTORY_TAGS: Final = "_anyarch.*"
NO_POLICY: Final = "LifecyclePolicyNotFoundException"
_ABSENT: Final = Digest.of(b"")


@dataclass(frozen=True, kw_only=True)
class NewRepository:
    """What a repository is made with.

    Args:
        immutable: Whether a tag can be written once only.
        exceptions: Patterns of tags to which the opposite applies.
        scan_on_push: Whether images are scanned when they arrive.
        encryption: ``AES256``, ``KMS`` or ``KMS_DSSE``.
        kms_key: Which key; empty for Amazon's own.
        tags: Resource tags, for bills and policies.
        lifecycle_policy: JSON; empty for none.
        lifecycle_file: Where that is from, for commands that are shown.
    """

    immutable: bool = False
    exceptions: Sequence[str] = ()
    scan_on_push: bool = False
    encryption: str = "AES256"
    kms_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    lifecycle_policy: str = ""
    lifecycle_file: str = "FILE"

    def put_command(self, where: EcrHost, path: str, *, profile: str = "") -> str:
        """The command that gives a repository its lifecycle policy."""
        command = ecr_advice.aws_command(where, "put-lifecycle-policy", path, profile=profile)
        return f"{command} --lifecycle-policy-text {quote('file://' + self.lifecycle_file)}"

    def request(self, name: str) -> dict[str, Any]:
        """The arguments of CreateRepository.

        https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
        """
        exceptions = [*self.exceptions, *([HISTORY_TAGS] if self.immutable else [])]
        mutability = "IMMUTABLE" if self.immutable else "MUTABLE"
        asked: dict[str, Any] = {
            "repositoryName": name,
            "imageTagMutability": f"{mutability}_WITH_EXCLUSION" if exceptions else mutability,
            "imageScanningConfiguration": {"scanOnPush": self.scan_on_push},
            "encryptionConfiguration": {"encryptionType": self.encryption},
        }
        if exceptions:
            asked["imageTagMutabilityExclusionFilters"] = [
                {"filterType": "WILDCARD", "filter": pattern} for pattern in dict.fromkeys(exceptions)
            ]
        if self.kms_key:
            asked["encryptionConfiguration"]["kmsKey"] = self.kms_key
        if self.tags:
            asked["tags"] = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        return asked


async def require(
    store: Store,
    wanted: NewRepository | None = None,
    *,
    aws_profile: str = "",
    warn: Callable[[str], None] = lambda _: None,
) -> bool:
    """Find out, before anything is built, that there is a repository to push to; make it where wanted.

    Asks for an image that cannot be there: that needs no permission but the one to read images.

    Args:
        store: The repository.
        wanted: What to make it with; None: a missing one is an error.
        aws_profile: Who makes it.
        warn: Told of a repository that is there, but lacks the lifecycle policy that one is made with.

    Returns:
        Whether it was made.

    Raises:
        NotFoundError: it is missing; the hint is the command that makes it.
        RegistryError: the registry does not answer, or accepts no credentials.
    """
    host, _, path = store.name.partition("/")
    where = EcrHost.parse(host)
    if where is None:
        await store.head(_ABSENT)
        return False
    missing = False
    try:
        await store.get(_ABSENT)
    except NotFoundError as error:
        missing = "NAME_UNKNOWN" in str(error.facts.get("codes"))
    if not missing:
        if wanted is not None and wanted.lifecycle_policy and not where.is_public:
            await _look_for_policy(where, path, wanted, aws_profile, warn)
        return False
    if wanted is None:
        raise ecr_advice.missing(where, path, profile=aws_profile)
    return await create(where, path, wanted, aws_profile=aws_profile)


async def create(where: EcrHost, path: str, wanted: NewRepository, *, aws_profile: str = "") -> bool:
    """Make a repository and give it its lifecycle policy; False if somebody else was faster.

    Raises:
        AnyarchError: AWS refuses.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415  only those who make repositories need it

    from anyarch.registry import ecr  # noqa: PLC0415  loading the SDK takes a third of a second

    account = ecr.account(where, profile=aws_profile)
    name = where.repository_name(path)

    def ask(client: Any) -> bool:  # noqa: ANN401  boto3 makes clients out of data files at run time
        try:
            if where.is_public:
                client.create_repository(repositoryName=name)
            else:
                client.create_repository(registryId=where.account, **wanted.request(name))
        except ClientError as error:
            if error.response["Error"]["Code"] != "RepositoryAlreadyExistsException":
                raise
            return False
        return True

    made = await ecr.within_deadline(lambda: account.call(f"{where.service}:CreateRepository", ask), where)
    if made and wanted.lifecycle_policy and not where.is_public:
        await _put_policy(account, path, wanted)
    return made


async def delete_image(where: EcrHost, path: str, digest: Digest, *, aws_profile: str = "") -> bool:
    """Delete one image or index, with every tag that points at it; False if it was not there.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html

    Raises:
        AnyarchError: AWS refuses, or an index still holds it.
    """
    from anyarch.registry import ecr  # noqa: PLC0415  loading the SDK takes a third of a second

    account = ecr.account(where, profile=aws_profile)
    registry = {} if where.is_public else {"registryId": where.account}

    def ask(client: Any) -> Any:  # noqa: ANN401  boto3 makes clients out of data files at run time
        return client.batch_delete_image(
            repositoryName=where.repository_name(path), imageIds=[{"imageDigest": str(digest)}], **registry
        )

    answer = await ecr.within_deadline(lambda: account.call(f"{where.service}:BatchDeleteImage", ask), where)
    for failure in answer.get("failures", []):
        if failure.get("failureCode") == "ImageNotFound":
            return False
        raise RegistryError(
            f"{where.host}/{path}@{digest} is not deleted: {failure.get('failureReason')}",
            hint="an image that an index holds goes only after the index",
            code=failure.get("failureCode"),
        )
    return True


async def _put_policy(account: Account, name: str, wanted: NewRepository) -> None:
    from anyarch.registry import ecr  # noqa: PLC0415  as above

    where, text = account.where, wanted.lifecycle_policy

    def ask(client: Any) -> None:  # noqa: ANN401  as above
        client.put_lifecycle_policy(registryId=where.account, repositoryName=name, lifecyclePolicyText=text)

    try:
        await ecr.within_deadline(lambda: account.call("ecr:PutLifecyclePolicy", ask), where)
    except AnyarchError as error:
        raise type(error)(
            f"{where.host}/{name} was created, but without its lifecycle policy: {error.what}",
            hint=f"finish it, by whoever may: {wanted.put_command(where, name, profile=account.profile)}",
            **error.facts,
        ) from None


async def _look_for_policy(
    where: EcrHost, name: str, wanted: NewRepository, profile: str, warn: Callable[[str], None]
) -> None:
    """Whoever made the repository may not have been able to give it its policy: nobody else would notice.

    It is not put here, as images may be there by now that it would take.
    """
    from anyarch.registry import ecr  # noqa: PLC0415  as above

    account = ecr.account(where, profile=profile)

    def ask(client: Any) -> object:  # noqa: ANN401  as above
        return client.get_lifecycle_policy(registryId=where.account, repositoryName=name)

    store = f"{where.host}/{name}"
    try:
        await ecr.within_deadline(lambda: account.call("ecr:GetLifecyclePolicy", ask), where)
    except AnyarchError as error:
        if error.facts.get("code") == NO_POLICY:
            command = wanted.put_command(where, name, profile=profile)
            warn(f"{store} has no lifecycle policy, though anyarch.toml names one: {command}")
        else:
            said = error.facts.get("action") or error.what
            warn(f"whether {store} has the lifecycle policy of anyarch.toml cannot be told: {said}")
