"""The lifecycle policy of a repository in Amazon ECR: read, judged, and a better one proposed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from anyarch.checks import Line
from anyarch.errors import DeniedError, RegistryError
from anyarch.oci.media_type import INDEX_TYPES
from anyarch.registry.ecr_advice import aws_command, missing
from anyarch.registry.ecr_lifecycle import There, former_releases, hazards, read_policy, safe
from anyarch.registry.ecr_probe import NO_REPOSITORY
from anyarch.registry.ecr_repository import NO_POLICY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.registry.ecr import Account
    from anyarch.registry.ecr_host import EcrHost
    from anyarch.registry.ecr_lifecycle import Rule
    from anyarch.registry.ecr_repository import NewRepository

_PAGE: Final = 1000
_IMAGES_MAX: Final = 20_000
_DAY_SECONDS: Final = 86_400.0
_NAME: Final = "lifecycle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """What a repository's policy says, and what it is said of.

    Args:
        rules: None: there is no policy.
        there: What the repository holds, at least the first twenty thousand; None: that may not be listed.
        in_force: Whether it is the repository's own already, and not one that it will be made with.
    """

    rules: tuple[Rule, ...] | None
    there: tuple[There, ...] | None
    in_force: bool = True

    @property
    def tagged(self) -> list[frozenset[str]]:
        """The tags of each image that has some."""
        return [each.tags for each in self.there or () if each.tags]

    def proposal(self) -> dict[str, Any]:
        """A policy that takes nothing which is needed."""
        return safe(self.rules or (), self.tagged)


def configured(text: str) -> Lifecycle:
    """The policy that a repository will be made with.

    Args:
        text: As in its file; empty for none.

    Raises:
        ContentError: it is no policy.
    """
    rules = read_policy(text, subject="the lifecycle policy in anyarch.toml") if text else None
    return Lifecycle(rules=rules, there=(), in_force=False)


async def read_lifecycle(where: EcrHost, path: str, *, profile: str) -> Lifecycle:
    """Ask for the policy and for what is there.

    Raises:
        DeniedError: the policy may not be read.
        NotFoundError: there is no such repository.
        AnyarchError: no answer.
    """
    from anyarch.registry import ecr  # noqa: PLC0415  loading the SDK takes a third of a second

    account = ecr.account(where, profile=profile)
    return await ecr.within_deadline(lambda: _read(account, path), where)


def lifecycle_line(
    found: Lifecycle, where: EcrHost, path: str, *, create: NewRepository | None = None, profile: str = ""
) -> Line:
    """Whether something that is needed would expire.

    Args:
        found: What the policy says.
        where: The registry.
        path: The repository.
        create: What anyarch.toml makes a missing one with.
        profile: The AWS profile in use.
    """
    if found.rules is None:
        return _without_policy(found, where, path, create, profile)
    dangers = "; ".join(map(str, hazards(found.rules, found.tagged)))
    if dangers:
        return Line(name=_NAME, verdict="warn", found=dangers, advice=_advice(found, where, path, profile))
    going = former_releases(found.rules, found.there or ())
    if going:
        return Line(
            name=_NAME,
            verdict="warn",
            found=f"releases without a tag go within a day, {len(going)} of them, such as {going[0].digest}",
            advice="to roll back to one, tag it now: anyarch promote; a version tag of its own keeps it",
        )
    said = "what has no tag goes by it, former releases too" if _takes_untagged(found.rules) else ""
    unseen = "it could be told better with ecr:DescribeImages" if found.there is None else ""
    said = "; ".join(filter(None, ("nothing that is needed expires", said, unseen)))
    return Line(name=_NAME, verdict="ok", found=said)


def _takes_untagged(rules: tuple[Rule, ...]) -> bool:
    return any(rule.takes(frozenset()) for rule in rules)


def _without_policy(
    found: Lifecycle, where: EcrHost, path: str, create: NewRepository | None, profile: str
) -> Line:
    said = "no policy: nothing expires by itself"
    if not found.in_force or create is None or not create.lifecycle_policy:
        return Line(name=_NAME, verdict="ok", found=said)
    return Line(
        name=_NAME,
        verdict="warn",
        found=f"{said}, though anyarch.toml names one that repositories are made with",
        advice=create.put_command(where, path, profile=profile),
    )


def _advice(found: Lifecycle, where: EcrHost, path: str, profile: str) -> str:
    if not found.in_force:
        return f"mend it before {where.host}/{path} is made with it; docs/aws/lifecycle.json is one"
    put = aws_command(where, "put-lifecycle-policy", path, profile=profile)
    return (
        f"anyarch doctor aws {where.host}/{path} --lifecycle > lifecycle.json keeps them; "
        f"then {put} --lifecycle-policy-text file://lifecycle.json"
    )


def _read(account: Account, path: str) -> Lifecycle:
    where = account.where
    at = {"registryId": where.account, "repositoryName": path}
    try:
        answer = account.call("ecr:GetLifecyclePolicy", lambda client: client.get_lifecycle_policy(**at))
    except RegistryError as error:
        code = error.facts.get("code")
        if code == NO_REPOSITORY:
            raise missing(where, path, profile=account.profile) from None
        if code != NO_POLICY:
            raise
        return Lifecycle(rules=None, there=_there(account, at))
    subject = f"the lifecycle policy of {where.host}/{path}"
    rules = read_policy(str(answer.get("lifecyclePolicyText", "")), subject=subject)
    return Lifecycle(rules=rules, there=_there(account, at))


def _there(account: Account, at: dict[str, str]) -> tuple[There, ...] | None:
    """What the repository holds; None if that may not be listed."""
    found: list[There] = []
    asked: dict[str, Any] = {**at, "maxResults": _PAGE}
    while len(found) < _IMAGES_MAX:
        try:
            answer = account.call("ecr:DescribeImages", lambda client: client.describe_images(**asked))
        except DeniedError:
            return None
        found += [_one(each, account.wall()) for each in answer.get("imageDetails", ())]
        if not answer.get("nextToken"):
            break
        asked["nextToken"] = answer["nextToken"]
    return tuple(found)


def _one(detail: Mapping[str, Any], now: float) -> There:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageDetail.html."""
    pushed: Any = detail.get("imagePushedAt")
    return There(
        digest=str(detail.get("imageDigest")),
        tags=frozenset(map(str, detail.get("imageTags") or ())),
        days=(now - pushed.timestamp()) / _DAY_SECONDS if hasattr(pushed, "timestamp") else 0.0,
        is_index=str(detail.get("imageManifestMediaType")) in INDEX_TYPES,
    )
