"""The lifecycle policy of a repository in Amazon ECR: read, judged, and a better one proposed."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from anyarch.checks import Line
from anyarch.errors import DeniedError, RegistryError
from anyarch.registry.ecr_lifecycle import hazards, read_policy, safe

if TYPE_CHECKING:
    from anyarch.registry.ecr import Account
    from anyarch.registry.ecr_host import EcrHost
    from anyarch.registry.ecr_lifecycle import Rule

_NO_POLICY: Final = "LifecyclePolicyNotFoundException"
_PAGE: Final = 1000
_PAGES_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """What a repository's policy says, and what it is said of.

    Args:
        rules: None: there is no policy.
        tagged: The tags of each image that has some; None: they may not be listed.
        in_force: Whether it is the repository's own already, and not one that it will be made with.
    """

    rules: tuple[Rule, ...] | None
    tagged: tuple[frozenset[str], ...] | None
    in_force: bool = True

    def proposal(self) -> dict[str, Any]:
        """A policy that takes nothing which is needed."""
        return safe(self.rules or (), self.tagged or ())


def configured(text: str) -> Lifecycle:
    """The policy that a repository will be made with.

    Args:
        text: As in its file; empty for none.

    Raises:
        ContentError: it is no policy.
    """
    rules = read_policy(text, subject="the lifecycle policy in anyarch.toml") if text else None
    return Lifecycle(rules=rules, tagged=(), in_force=False)


async def read_lifecycle(where: EcrHost, path: str, *, profile: str) -> Lifecycle:
    """Ask for the policy and the tags.

    Raises:
        DeniedError: the policy may not be read.
        NotFoundError: there is no such repository.
        AnyarchError: no answer.
    """
    from anyarch.registry import ecr  # noqa: PLC0415  loading the SDK takes a third of a second

    account = ecr.account(where, profile=profile)
    return await ecr.within_deadline(lambda: _read(account, path), where)


def lifecycle_line(found: Lifecycle, where: EcrHost, path: str) -> Line:
    """Whether something that is needed would expire."""
    if found.rules is None:
        return Line(name="lifecycle", verdict="ok", found="no policy: nothing expires by itself")
    dangers = hazards(found.rules, found.tagged or ())
    if not dangers:
        said = f"nothing that is needed expires by its {len(found.rules)} rule(s)"
        if found.tagged is None:
            said += ", as far as it can be told without ecr:ListImages"
        return Line(name="lifecycle", verdict="ok", found=said)
    if not found.in_force:
        advice = f"mend it before {where.host}/{path} is made with it; docs/aws/lifecycle.json is one"
        return Line(name="lifecycle", verdict="warn", found="; ".join(map(str, dangers)), advice=advice)
    put = f"aws ecr put-lifecycle-policy --region {where.region} --repository-name {quote(path)}"
    return Line(
        name="lifecycle",
        verdict="warn",
        found="; ".join(map(str, dangers)),
        advice=(
            f"anyarch doctor aws {where.host}/{path} --lifecycle > lifecycle.json keeps them; "
            f"then {put} --lifecycle-policy-text file://lifecycle.json"
        ),
    )


def _read(account: Account, path: str) -> Lifecycle:
    where = account.where
    at = {"registryId": where.account, "repositoryName": path}
    try:
        answer = account.call("ecr:GetLifecyclePolicy", lambda client: client.get_lifecycle_policy(**at))
    except RegistryError as error:
        if error.facts.get("code") != _NO_POLICY:
            raise
        return Lifecycle(rules=None, tagged=_tagged(account, at))
    subject = f"the lifecycle policy of {where.host}/{path}"
    rules = read_policy(str(answer.get("lifecyclePolicyText", "")), subject=subject)
    return Lifecycle(rules=rules, tagged=_tagged(account, at))


def _tagged(account: Account, at: dict[str, str]) -> tuple[frozenset[str], ...] | None:
    """The tags of each image, the first twenty thousand; None if they may not be listed."""
    tags: dict[str, set[str]] = {}
    asked: dict[str, Any] = {**at, "filter": {"tagStatus": "TAGGED"}, "maxResults": _PAGE}
    for _ in range(_PAGES_MAX):
        try:
            answer = account.call("ecr:ListImages", lambda client: client.list_images(**asked))
        except DeniedError:
            return None
        for image in answer.get("imageIds", ()):
            tags.setdefault(str(image.get("imageDigest")), set()).add(str(image.get("imageTag")))
        if not answer.get("nextToken"):
            break
        asked["nextToken"] = answer["nextToken"]
    return tuple(frozenset(each) for each in tags.values())
