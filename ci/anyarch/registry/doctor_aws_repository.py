"""What AWS allows in one repository, and what the repository itself is like."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from anyarch.checks import Check, Line
from anyarch.errors import AnyarchError, DeniedError
from anyarch.registry.aws_policy import JOBS, TOKEN, Making, needs
from anyarch.registry.doctor_aws_lifecycle import configured, lifecycle_line, read_lifecycle
from anyarch.registry.doctor_aws_words import job_line
from anyarch.registry.ecr_advice import missing
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.ecr_probe import NEEDS_REPOSITORY, NO_REPOSITORY, Permission, ask
from anyarch.registry.ecr_repository import HISTORY_TAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.checks import Verdict
    from anyarch.registry.aws_policy import Job
    from anyarch.registry.ecr import Account
    from anyarch.registry.ecr_repository import NewRepository

# What anyarch run does; a role for less is looked at with --job.
_USUAL: Final[tuple[Job, ...]] = ("build", "merge")
_SECONDS: Final = 70.0  # longer than one question to AWS may take, which ends in words of its own
_JOB_SECONDS: Final = 2 * _SECONDS
# What tells whether a repository is there: the first is allowed to every job; in ECR Public there is no such.
_LOOK: Final = "BatchGetImage"
_LOOK_TOO: Final = "BatchCheckLayerAvailability"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked at.

    Args:
        where: The registry.
        path: The repository in it.
        profile: An AWS profile; empty for what the environment says.
        jobs: Those that must be possible; none: all are looked at, and those of ``anyarch run`` must be.
        before: What anyarch uses before it asks AWS for a password, in words; empty for nothing.
        before_machine: The same where AWS has no credentials but the machine's own role.
        create: What anyarch.toml says that a missing repository is made with; None: it is not made.
        making: What of that takes permissions.
    """

    where: EcrHost
    path: str
    profile: str = ""
    jobs: tuple[Job, ...] = ()
    before: str = ""
    before_machine: str = ""
    create: NewRepository | None = None
    making: Making = field(default_factory=Making)


@dataclass(slots=True, kw_only=True)
class AwsRepositoryDoctor:
    """Looks at one repository, and at what may be done in it.

    Args:
        wanted: What to look at.
        policy_holder: What a policy is attached to, in words.
        configured_region: Where other tools would look; empty for nowhere else.
    """

    wanted: Wanted
    policy_holder: str = "this role or user"
    configured_region: str = ""
    _asked: dict[str, Permission] = field(default_factory=dict)
    _asking: anyio.Lock = field(default_factory=anyio.Lock)

    def checks(self, *, after: tuple[str, ...]) -> list[Check]:
        """Whether it can be asked about, and everything about it; after checks that must not have failed."""
        jobs = self.wanted.jobs or JOBS
        return [
            Check(name="API", look=self._reach, after=after, seconds=_SECONDS),
            Check(name="repository", look=self._find, after=("API", "region"), seconds=_SECONDS),
            *(
                Check(name=job, look=partial(self._look_at_job, job), after=("API",), seconds=_JOB_SECONDS)
                for job in jobs
            ),
            *([] if self.wanted.where.is_public else [self._lifecycle()]),
        ]

    def _lifecycle(self) -> Check:
        return Check(
            name="lifecycle",
            look=self._look_at_lifecycle,
            after=("repository",),
            needed=False,
            seconds=_SECONDS,
        )

    async def _reach(self) -> Line:
        """The first question: whatever is denied is told later."""
        await self._looked()
        where = self.wanted.where
        return Line(name="API", verdict="ok", found=f"{where.service} in {where.region} answers")

    async def _find(self) -> Line:
        looked = await self._exists()
        store = f"{self.wanted.where.host}/{self.wanted.path}"
        if looked is None:
            found = f"whether {store} is there cannot be told: {(await self._looked()).words}"
            return Line(name="repository", verdict="unknown", found=found)
        if not looked and self.wanted.create is not None:
            found = f"there is no {store} yet; anyarch run and merge make it, as anyarch.toml says"
            return Line(name="repository", verdict="ok", found=found)
        if not looked:
            raise missing(
                self.wanted.where,
                self.wanted.path,
                profile=self.wanted.profile,
                hint=await self._elsewhere(),
            )
        return await self._described()

    async def _look_at_job(self, job: Job) -> Line:
        wanted = needs(job, self.wanted.where, self.wanted.making)
        asked = {TOKEN: await self._may_have_password()}
        exists = await self._exists()
        for each in wanted.all:
            asked[each] = await self._ask(each)
        line = job_line(
            job,
            asked,
            self.wanted.where,
            self.wanted.path,
            wanted=wanted,
            holder=self.policy_holder,
            required=self._is_required(job, exists=exists),
        )
        if job == "create" and exists and not self.wanted.jobs and line.verdict != "ok":
            found = f"not needed, the repository is there; {line.found}"
            return replace(line, verdict="ok", found=found)
        return line

    def _is_required(self, job: Job, *, exists: bool | None) -> bool:
        makes = job == "create" and self.wanted.create is not None and exists is False
        return makes or job in (self.wanted.jobs or _USUAL)

    async def _look_at_lifecycle(self) -> Line:
        where, path = self.wanted.where, self.wanted.path
        if await self._exists() is False:
            text = self.wanted.create.lifecycle_policy if self.wanted.create is not None else ""
            return lifecycle_line(configured(text), where, path, profile=self.wanted.profile)
        try:
            found = await read_lifecycle(where, path, profile=self.wanted.profile)
        except DeniedError:
            return Line(
                name="lifecycle",
                verdict="unknown",
                found="only ecr:GetLifecyclePolicy tells whether something that is needed expires here",
            )
        return lifecycle_line(found, where, path, create=self.wanted.create, profile=self.wanted.profile)

    async def _described(self) -> Line:
        where = self.wanted.where
        if where.is_public:
            return Line(name="repository", verdict="ok", found="it is there")
        try:
            answer = await self._call(
                "ecr:DescribeRepositories",
                lambda client: client.describe_repositories(
                    registryId=where.account, repositoryNames=[self.wanted.path]
                ),
            )
        except DeniedError:
            found = "it is there; whether tags can be moved only ecr:DescribeRepositories tells"
            return Line(name="repository", verdict="ok", found=found)
        return described_line(answer["repositories"][0])

    async def _elsewhere(self) -> str:
        """What to do if it is in the region that is configured, and not in its host's."""
        where, region = self.wanted.where, self.configured_region
        if where.is_public or region in {"", where.region}:
            return ""
        other = EcrHost.parse(where.host.replace(where.region, region))
        if other is None:
            return ""
        try:
            found = await self._ask_at(other, _LOOK)
        except AnyarchError:
            return ""
        if found.answer != "allowed" or found.code == NO_REPOSITORY:
            return ""
        return f"there is one of that name in {region}: did you mean {other.host}/{self.wanted.path}?"

    async def _looked(self) -> Permission:
        """The first answer that tells whether the repository is there, else the last that does not."""
        if not self.wanted.where.is_public:
            looked = await self._ask(_LOOK)
            if looked.answer == "allowed":
                return looked
        return await self._ask(_LOOK_TOO)

    async def _exists(self) -> bool | None:
        """Whether the repository is there; None if that cannot be told."""
        looked = await self._looked()
        return looked.code != NO_REPOSITORY if looked.answer == "allowed" else None

    async def _may_have_password(self) -> Permission:
        try:
            await self._account(self.wanted.where).credential()
        except DeniedError as error:
            return Permission(action=TOKEN, answer="denied", words=error.what)
        return Permission(action=TOKEN, answer="allowed")

    async def _ask(self, action: str) -> Permission:
        """Ask each question once, one after the other, as AWS counts them."""
        exists = action in NEEDS_REPOSITORY and await self._exists() is True
        async with self._asking:
            if action not in self._asked:
                self._asked[action] = await self._ask_at(self.wanted.where, action, exists=exists)
            return self._asked[action]

    async def _ask_at(self, where: EcrHost, action: str, *, exists: bool = False) -> Permission:
        from anyarch.registry import ecr  # noqa: PLC0415  loading the SDK takes a third of a second

        account = self._account(where)
        return await ecr.within_deadline(lambda: ask(account, self.wanted.path, action, exists=exists), where)

    async def _call(self, action: str, question: Any) -> Any:  # noqa: ANN401  boto3 makes clients out of data files at run time
        from anyarch.registry import ecr  # noqa: PLC0415  as above

        account = self._account(self.wanted.where)
        return await ecr.within_deadline(lambda: account.call(action, question), self.wanted.where)

    def _account(self, where: EcrHost) -> Account:
        from anyarch.registry import ecr  # noqa: PLC0415  as above

        return ecr.account(where, profile=self.wanted.profile)


def described_line(repository: Mapping[str, Any]) -> Line:
    """What a repository does with tags that are written again.

    Args:
        repository: Of DescribeRepositories' answer.
    """
    mode = str(repository.get("imageTagMutability", "MUTABLE"))
    filters = [str(each.get("filter")) for each in repository.get("imageTagMutabilityExclusionFilters") or ()]
    excepted = f", except {', '.join(filters)}" if filters else ""
    immutable = mode.startswith("IMMUTABLE")
    found = f"it is there; tags are {'immutable' if immutable else 'movable'}{excepted}"
    verdict: Verdict = "ok"
    advice = ""
    if immutable and HISTORY_TAGS not in filters:
        verdict = "warn"
        advice = f"except {HISTORY_TAGS} too: there anyarch keeps what rollback needs; see docs/ecr.md"
    return Line(name="repository", verdict=verdict, found=found, advice=advice)
