"""Who is asking AWS: the words for an ARN and for where credentials come from. Pure.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ARN: Final = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):(?:iam|sts)::(?P<account>\d{12}):(?P<rest>[!-~]+)", re.ASCII
)
# A role that IAM Identity Center made: its policies are those of a permission set, and are changed there.
_SSO_ROLE: Final = re.compile(r"AWSReservedSSO_(?P<set>.+)_[0-9a-f]{16}", re.ASCII)

# https://docs.aws.amazon.com/boto3/latest/guide/credentials.html, and what botocore calls each of them.
_SOURCES: Final = {
    "env": "environment variables",
    "shared-credentials-file": "the credentials file",
    "config-file": "the configuration file",
    "custom-process": "a credential_process",
    "assume-role": "a role that a profile assumes",
    "assume-role-with-web-identity": "a role by web identity (OIDC)",
    "github-oidc": "a role by this job's GitHub token (OIDC)",
    "sso": "IAM Identity Center (SSO)",
    "container-role": "the container's role",
    "iam-role": "the machine's role",
    "login": "aws login",
}
_FIXED: Final = frozenset({"env", "shared-credentials-file", "config-file"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Whoever has the credentials.

    Args:
        arn: As STS says it.
        account: Twelve digits; empty if the ARN has none.
        policy_holder: What an IAM policy is attached to, in words: ``role release``.
    """

    arn: str
    account: str
    policy_holder: str

    @classmethod
    def of(cls, arn: str) -> Who:
        """Read an answer of ``GetCallerIdentity``."""
        match = _ARN.fullmatch(arn)
        if match is None:
            return cls(arn=arn, account="", policy_holder="this role or user")
        kind, _, name = match["rest"].partition("/")
        return cls(arn=arn, account=match["account"], policy_holder=_holder(kind, name))


def _holder(kind: str, name: str) -> str:
    if kind == "assumed-role":
        role = name.partition("/")[0]
        sso = _SSO_ROLE.fullmatch(role)
        return f"the permission set {sso['set']}" if sso else f"role {role}"
    if kind == "user":
        return f"user {name.rpartition('/')[2]}"
    return "the root user" if kind == "root" else "this role or user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What is known of credentials besides themselves.

    Args:
        method: Where they are from, as botocore calls it.
        temporary: Whether they hold a session's token: a user's own keys have none, and no end.
        ends_at: Unix time; None where nobody told it.
    """

    method: str
    temporary: bool
    ends_at: float | None

    @property
    def source(self) -> str:
        """Where they are from, in words."""
        return _SOURCES.get(self.method, self.method or "an unknown source")

    @property
    def renews(self) -> bool:
        """Whether others follow once these have ended: what stands in a variable or a file stays as it is."""
        return self.method not in _FIXED
