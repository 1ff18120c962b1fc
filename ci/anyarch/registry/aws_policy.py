"""Which IAM actions each job on Amazon ECR needs, as policies that allow these and no more. Pure.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html (with a key of one's own)
https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policies.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anyarch.registry.ecr_host import EcrHost

Job = Literal["build", "merge", "promote", "create", "prune"]

JOBS: Final[tuple[Job, ...]] = get_args(Job)
TOKEN: Final = "GetAuthorizationToken"  # noqa: S105  an action's name
# What a token of ECR Public needs as well.
# https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html
BEARER: Final = "sts:GetServiceBearerToken"
_VERSION: Final = "2012-10-17"

_READ: Final = ("BatchGetImage", "GetDownloadUrlForLayer")
_UPLOAD: Final = ("InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload")
_LOOK: Final = "BatchCheckLayerAvailability"
_NEEDED: Final[dict[Job, tuple[str, ...]]] = {
    "build": (*_READ, _LOOK, *_UPLOAD, "PutImage"),
    "merge": (*_READ, "PutImage"),
    "promote": (*_READ, "PutImage"),
    "create": ("BatchGetImage", "CreateRepository"),
    "prune": (*_READ, "ListImages", "PutImage", "BatchDeleteImage"),
}
# The job is done without them, too: slower, or only some configurations ask for them.
_BETTER_WITH: Final[dict[Job, tuple[str, ...]]] = {
    "merge": (_LOOK,),
    "promote": (_LOOK,),
    "create": ("TagResource", "PutLifecyclePolicy", "GetLifecyclePolicy"),
    "prune": ("DescribeImages",),
}
# In ECR Public anybody may read, and repositories are made with neither tags nor a lifecycle policy.
_PRIVATE_ONLY: Final = frozenset(
    {*_READ, "ListImages", "TagResource", "PutLifecyclePolicy", "GetLifecyclePolicy"}
)
# What ECR asks of a key, in the name of whoever makes the repository. Amazon's own key lets everybody.
_KEY_ACTIONS: Final = ("kms:CreateGrant", "kms:RetireGrant", "kms:DescribeKey")
_ALIAS: Final = re.compile(r"(?:arn:[!-~]+:)?(?P<alias>alias/[!-~]+)", re.ASCII)
_PRINCIPAL: Final = re.compile(
    r"\d{12}|arn:aws[a-z-]*:iam::\d{12}:(?:root|(?:role|user)/[!-)+-~]+)", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What missing repositories are made with, as far as it takes permissions; by default all of it.

    Args:
        tags: Whether they get resource tags.
        lifecycle: Whether they get a lifecycle policy.
        looks: Whether that policy is looked for later.
        kms_key: The key of one's own that encrypts them: ARN, number or alias; empty for none.
    """

    tags: bool = True
    lifecycle: bool = True
    looks: bool = False
    kms_key: str = ""

    @property
    def left_out(self) -> frozenset[str]:
        """Actions that nobody needs."""
        unused = {
            "TagResource": not self.tags,
            "PutLifecyclePolicy": not self.lifecycle,
            "GetLifecyclePolicy": not self.looks,
        }
        return frozenset(action for action, is_unused in unused.items() if is_unused)


_ANYTHING: Final = Making()


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job asks of a repository.

    Args:
        needed: Actions without which it fails, without the service's name.
        better_with: Actions that it can do without.
    """

    needed: tuple[str, ...]
    better_with: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Both."""
        return (*self.needed, *self.better_with)


def needs(job: Job, where: EcrHost, making: Making = _ANYTHING) -> Needs:
    """The actions on the repository that a job needs there."""
    left_out = making.left_out | (_PRIVATE_ONLY if where.is_public else frozenset())

    def there(actions: Iterable[str]) -> tuple[str, ...]:
        return tuple(each for each in actions if each not in left_out)

    return Needs(there(_NEEDED[job]), there(_BETTER_WITH.get(job, ())))


def policy(job: Job, where: EcrHost, path: str, making: Making = _ANYTHING) -> dict[str, object]:
    """The policy that lets a role or user do one job on one repository."""
    statements = [token_statement(where)]
    if actions := needs(job, where, making).all:
        statements.append(statement(actions, where, path))
    if job == "create" and making.kms_key:
        statements.append(_key_statement(making.kms_key, where))
    return {"Version": _VERSION, "Statement": statements}


def repository_policy(job: Job, where: EcrHost, principals: Sequence[str]) -> dict[str, object]:
    """The policy of a repository that lets somebody of another account do one job there.

    The password is not the repository's: that is for a policy in their own account.

    Args:
        job: Which one.
        where: The registry.
        principals: ARNs of roles and users, or accounts, twelve digits.

    Raises:
        UsageError: one is no principal, or the job is done where there is no repository yet.
    """
    if job == "create":
        raise UsageError(
            "a repository that is not there has no policy; who makes it must be of its own account",
            hint="for a role there: --policy create without --principal",
        )
    for each in principals:
        if _PRINCIPAL.fullmatch(each) is None:
            raise UsageError(
                f"{each[:160]!r} is no role, user or account",
                hint="arn:aws:iam::ACCOUNT:role/NAME, also for sessions of it (assumed-role); or ACCOUNT",
            )
    who: dict[str, object] = {"AWS": list(principals)}
    actions = [f"{where.service}:{each}" for each in needs(job, where).all]
    only = {"Sid": job.capitalize(), "Effect": "Allow", "Principal": who, "Action": actions}
    return {"Version": _VERSION, "Statement": [only]}


def _key_statement(key: str, where: EcrHost) -> dict[str, object]:
    """Allow ECR to use a key of one's own. No policy can name a key by its alias, so that is a condition.

    https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html
    """
    keys = f"arn:{where.partition}:kms:{where.region}:{where.account}:key/"
    named = _ALIAS.fullmatch(key)
    allowed: dict[str, object] = {"Effect": "Allow", "Action": list(_KEY_ACTIONS)}
    if named is None:
        return {**allowed, "Resource": key if key.startswith("arn:") else f"{keys}{key}"}
    by_alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": named["alias"]}}
    return {**allowed, "Resource": f"{keys}*", "Condition": by_alias}


def statement(actions: Sequence[str], where: EcrHost, path: str) -> dict[str, object]:
    """Allow actions on one repository, and on no other."""
    named = [f"{where.service}:{each}" for each in actions]
    return {"Effect": "Allow", "Action": named, "Resource": where.arn(path)}


def token_statement(where: EcrHost) -> dict[str, object]:
    """Allow asking for the registry's password, which belongs to no repository."""
    actions = [f"{where.service}:{TOKEN}", *([BEARER] if where.is_public else [])]
    return {"Effect": "Allow", "Action": actions, "Resource": "*"}
