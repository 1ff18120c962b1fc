"""What to do after a refusal of Amazon ECR: the command or the statement that mends it."""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING, Final

from anyarch.registry.ecr_host import EcrHost

if TYPE_CHECKING:
    from anyarch.registry.refusal import Refusal

# As AWS words it: "… is not authorized to perform: ecr:PutImage on resource: arn:…"
_ACTION: Final = re.compile(r"not authorized to perform:? (?P<action>[a-z0-9-]+:[A-Za-z]+)", re.ASCII)
_RESOURCE: Final = re.compile(r"on resource:? (?P<arn>arn:[!-~]+)", re.ASCII)
_PATH: Final = re.compile(r"/v2/(?P<path>[a-z0-9._/-]+?)/(?:manifests|blobs|tags)/", re.ASCII)


def denied_action(words: str) -> str:
    """The IAM action that a denial names, or empty.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    match = _ACTION.search(words)
    return match["action"] if match else ""


def create_command(where: EcrHost, path: str) -> str:
    """The command that creates a repository."""
    region = f"--region {where.region}"
    name = f"--repository-name {quote(where.repository_name(path))}"
    return f"aws {where.service} create-repository {region} {name}"


def advice(host: str, refusal: Refusal) -> str:
    """What to do about an answer that is no success; empty for other registries and other answers."""
    where = EcrHost.parse(host)
    if where is None:
        return ""
    match = _PATH.search(refusal.request)
    path = match["path"] if match else ""
    if "NAME_UNKNOWN" in refusal.codes and path:
        return missing_advice(where, path)
    if action := denied_action(refusal.message):
        named = _RESOURCE.search(refusal.message)
        arn = named["arn"].rstrip(".,") if named else where.arn(path)
        also = " and in the repository's own policy" if "resource-based" in refusal.message else ""
        return f"allow {action} on {arn} in the policy of this role or user{also}; see docs/ecr.md"
    if refusal.status == 403 and where.is_public:
        return f"log in with the account that owns the repository: anyarch login {host}"
    return ""


def missing_advice(where: EcrHost, path: str) -> str:
    """Two ways to a repository that is not there."""
    return (
        f"create it: {create_command(where, path)}; "
        f'or let anyarch run do it: [registries."{where.host}".create] in anyarch.toml'
    )
