"""What to do after a refusal of Amazon ECR: the command or the statement that mends it."""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING, Final

from anyarch.errors import NotFoundError
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


def aws_command(where: EcrHost, operation: str, path: str, *, profile: str = "") -> str:
    """The command that does something to one repository, in its own account, region and with its profile."""
    words = [f"aws {where.service} {operation} --region {where.region}"]
    if not where.is_public:  # there it is always the account of whoever asks
        words.append(f"--registry-id {where.account}")
    words.append(f"--repository-name {quote(where.repository_name(path))}")
    if profile:
        words.append(f"--profile {quote(profile)}")
    return " ".join(words)


def absent(host: str, refusal: Refusal, *, profile: str = "") -> NotFoundError | None:
    """The error for a repository that is not there; None for every other answer, and other registries'."""
    where, match = EcrHost.parse(host), _PATH.search(refusal.request)
    if where is None or match is None or "NAME_UNKNOWN" not in refusal.codes:
        return None
    return missing(where, match["path"], profile=profile, status=refusal.status, codes=refusal.codes)


def advice(host: str, refusal: Refusal) -> str:
    """What to do about an answer that is no success; empty for other registries and other answers."""
    where = EcrHost.parse(host)
    if where is None:
        return ""
    match = _PATH.search(refusal.request)
    path = match["path"] if match else ""
    if action := denied_action(refusal.message):
        named = _RESOURCE.search(refusal.message)
        arn = named["arn"].rstrip(".,") if named else where.arn(path)
        also = " and in the repository's own policy" if "resource-based" in refusal.message else ""
        return f"allow {action} on {arn} in the policy of this role or user{also}; see docs/ecr.md"
    if refusal.status == 403 and where.is_public:
        return f"log in with the account that owns the repository: anyarch login {host}"
    return ""


def missing(
    where: EcrHost, path: str, *, profile: str = "", hint: str = "", **facts: object
) -> NotFoundError:
    """The error for a repository that is not there; without a ``hint``, two ways to it."""
    store, command = f"{where.host}/{path}", aws_command(where, "create-repository", path, profile=profile)
    usual = (
        f'create it: {command}; or let anyarch run do it: [registries."{where.host}".create] in anyarch.toml'
    )
    return NotFoundError(
        f"there is no repository {store}; Amazon ECR makes none by itself",
        hint=hint or usual,
        repository=store,
        **facts,
    )
