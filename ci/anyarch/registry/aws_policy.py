"""Which IAM actions each job on Amazon ECR needs, as policies that allow these and no more. Pure.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

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
    "create": ("TagResource", "PutLifecyclePolicy"),
    "prune": ("DescribeImages",),
}
# In ECR Public anybody may read, and repositories are made with neither tags nor a lifecycle policy.
_PRIVATE_ONLY: Final = frozenset({*_READ, "ListImages", "TagResource", "PutLifecyclePolicy"})


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


def needs(job: Job, where: EcrHost) -> Needs:
    """The actions on the repository that a job needs there."""

    def there(actions: Iterable[str]) -> tuple[str, ...]:
        return tuple(each for each in actions if not (where.is_public and each in _PRIVATE_ONLY))

    return Needs(there(_NEEDED[job]), there(_BETTER_WITH.get(job, ())))


def policy(job: Job, where: EcrHost, path: str) -> dict[str, object]:
    """The policy that lets a role or user do one job on one repository."""
    statements = [token_statement(where)]
    if actions := needs(job, where).all:
        statements.append(statement(actions, where, path))
    return {"Version": _VERSION, "Statement": statements}


def statement(actions: Sequence[str], where: EcrHost, path: str) -> dict[str, object]:
    """Allow actions on one repository, and on no other."""
    named = [f"{where.service}:{each}" for each in actions]
    return {"Effect": "Allow", "Action": named, "Resource": where.arn(path)}


def token_statement(where: EcrHost) -> dict[str, object]:
    """Allow asking for the registry's password, which belongs to no repository."""
    actions = [f"{where.service}:{TOKEN}", *([BEARER] if where.is_public else [])]
    return {"Effect": "Allow", "Action": actions, "Resource": "*"}
