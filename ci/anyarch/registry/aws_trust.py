"""Who in GitHub Actions may take an AWS role on: the role's trust policy. Pure.

https://docs.github.com/en/actions/reference/security/oidc
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp_oidc.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from anyarch.errors import UsageError

_PROVIDER: Final = "token.actions.githubusercontent.com"
# Names of managed users end with an underscore and the short code of their enterprise.
_REPOSITORY: Final = re.compile(
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9_-]{0,38})/(?P<name>[A-Za-z0-9._-]{1,100})", re.ASCII
)
_ACCOUNT: Final = re.compile(r"\d{12}", re.ASCII)
_ID: Final = re.compile(r"[1-9]\d{0,18}", re.ASCII)
# What git allows in a name, and the two wildcards of IAM.
_REF: Final = re.compile(r"[^\s~^:\\\[\x00-\x20\x7f]{1,200}")
_ENVIRONMENT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_WILD: Final = ("*", "?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Which jobs of a repository on GitHub are let in.

    Args:
        repository: ``OWNER/REPO``.
        owner_id: The owner's number, which subjects of repositories made since the middle of 2026 hold.
        repository_id: The repository's number; both or none.
        branches: Names; ``*`` stands for any characters.
        tags: The same.
        environments: Names of environments; a job with one has no branch in its subject.
    """

    repository: str
    owner_id: str = ""
    repository_id: str = ""
    branches: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could widen the policy, or could never match.

        Raises:
            UsageError: a word that is none of GitHub's.
        """
        if _REPOSITORY.fullmatch(self.repository) is None:
            raise UsageError(f"{self.repository[:160]!r} is not OWNER/REPO, a repository on GitHub")
        ids = [each for each in (self.owner_id, self.repository_id) if each]
        if len(ids) == 1 or any(_ID.fullmatch(each) is None for each in ids):
            raise UsageError(
                "the owner's and the repository's number go together",
                hint=ids_command(self.repository),
            )
        for each in (*self.branches, *self.tags):
            if _REF.fullmatch(each) is None:
                raise UsageError(f"{each[:160]!r} is not the name of a branch or tag")
        for each in self.environments:
            if _ENVIRONMENT.fullmatch(each) is None:
                raise UsageError(f"{each[:160]!r} is not the name of an environment")

    def subjects(self) -> list[str]:
        """The ``sub`` claims that are let in, in each form that GitHub gives them."""
        places = [f"ref:refs/heads/{each}" for each in self.branches]
        places += [f"ref:refs/tags/{each}" for each in self.tags]
        # GitHub writes a colon in a name as %3A, which keeps the parts of a subject apart.
        places += [f"environment:{each.replace(':', '%3A')}" for each in self.environments]
        owner, _, name = self.repository.partition("/")
        names = [self.repository]
        if self.owner_id:
            names.append(f"{owner}@{self.owner_id}/{name}@{self.repository_id}")
        return [f"repo:{each}:{place}" for place in places or ["ref:refs/heads/main"] for each in names]


def trust_policy(trust: Trust, *, account: str, partition: str) -> dict[str, object]:
    """The trust policy of a role. It names no thumbprint: AWS checks GitHub's certificate by its authority.

    Args:
        trust: Who is let in.
        account: Where the role is, twelve digits.
        partition: ``aws``, ``aws-cn``, ``aws-us-gov`` …

    Raises:
        UsageError: not an account.
    """
    if _ACCOUNT.fullmatch(account) is None:
        raise UsageError(
            f"{account[:40]!r} is not an AWS account; expected twelve digits",
            hint="--account is the one that the role is in",
        )
    subjects = trust.subjects()
    wild = any(mark in each for each in subjects for mark in _WILD)
    audience: dict[str, object] = {f"{_PROVIDER}:aud": audience_of(partition)}
    subject: dict[str, object] = {f"{_PROVIDER}:sub": subjects}
    equals = {"StringEquals": audience | subject}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:{partition}:iam::{account}:oidc-provider/{_PROVIDER}"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": audience, "StringLike": subject} if wild else equals,
            }
        ],
    }


def audience_of(partition: str) -> str:
    """For whom tokens are meant: https://github.com/aws-actions/configure-aws-credentials#oidc-audience."""
    return "sts.amazonaws.com.cn" if partition == "aws-cn" else "sts.amazonaws.com"


def ids_command(repository: str) -> str:
    """How to find the two numbers out."""
    return f"gh api repos/{repository} --jq '.owner.id, .id' prints both: --owner-id N --repository-id N"
