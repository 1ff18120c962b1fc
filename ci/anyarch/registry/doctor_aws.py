"""What stands between somebody's AWS credentials and a published image; nothing is written.

Loads boto3 when the first question is asked, not before.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from anyarch.checks import Check, Line
from anyarch.errors import AuthenticationError, DeniedError, RegistryUnavailableError
from anyarch.oci.reference import Repository
from anyarch.registry.aws_identity import Who
from anyarch.registry.client import Options
from anyarch.registry.doctor_aws_repository import AwsRepositoryDoctor
from anyarch.registry.doctor_aws_words import clock_line, identity_line, region_line, session_line
from anyarch.registry.doctor_repository import exchange
from anyarch.registry.requests import Request
from anyarch.registry.store import RegistryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from anyarch.registry.credential import Credential
    from anyarch.registry.doctor_aws_repository import Wanted
    from anyarch.registry.ecr import Account

    T = TypeVar("T")

_SECONDS: Final = 70.0  # longer than one question to AWS may take, which ends in words of its own


class AwsDoctor:
    """Looks at credentials and their session, and at one repository.

    Args:
        wanted: What to look at.
        wall: Unix time.
    """

    def __init__(self, wanted: Wanted, *, wall: Callable[[], float] = time.time) -> None:
        self._wanted = wanted
        self._where = wanted.where
        self._wall = wall
        self._skew: float | None = None
        self._token: Credential | None = None
        self._repository = AwsRepositoryDoctor(wanted=wanted)

    def checks(self) -> list[Check]:
        """Everything there is to look at, each after what it needs."""
        known = ("identity",)
        reached, *repository = self._repository.checks(after=known)
        return [
            Check(name="identity", look=self._identify, seconds=_SECONDS),
            Check(name="clock", look=self._look_at_clock, after=known, needed=False),
            Check(name="session", look=self._look_at_session, after=known, needed=False),
            Check(name="region", look=self._look_at_region, after=known, needed=False),
            reached,
            Check(name="password", look=self._get_password, after=(reached.name,), seconds=_SECONDS),
            Check(name="registry", look=self._log_in, after=("password",)),
            *repository,
        ]

    async def _identify(self) -> Line:
        """Ask STS, which needs no permission.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
        """
        from anyarch.registry.ecr_errors import clock_skew_seconds  # noqa: PLC0415  it loads botocore

        try:
            answer = await self._call("sts:GetCallerIdentity", lambda client: client.get_caller_identity())
        except RegistryUnavailableError:
            # A network that lets only ECR through is good enough to publish.
            found = f"cannot be told: AWS's STS in {self._where.region} does not answer"
            return Line(name="identity", verdict="unknown", found=found)
        self._skew = clock_skew_seconds(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}))
        who = Who.of(str(answer.get("Arn", "")))
        self._repository.policy_holder = who.policy_holder
        return identity_line(who, self._where)

    async def _look_at_clock(self) -> Line:
        return clock_line(self._skew)

    async def _look_at_session(self) -> Line:
        session = await anyio.to_thread.run_sync(self._account().session)
        return session_line(session, now=self._wall())

    async def _look_at_region(self) -> Line:
        configured = await anyio.to_thread.run_sync(self._account().configured_region)
        self._repository.configured_region = configured
        return region_line(configured, self._where)

    async def _get_password(self) -> Line:
        self._token = await self._account().credential()
        found = "AWS gives one, good for 12 h"
        before = self._wanted.before
        if not before and self._wanted.before_machine:
            own = await anyio.to_thread.run_sync(self._account().has_credentials)
            before = "" if own else self._wanted.before_machine
        if before:
            found += f"; asked only after {before}"
        return Line(name="password", verdict="ok", found=found)

    async def _log_in(self) -> Line:
        """Ask the registry itself, which many networks reach by another way than the API."""
        repository = Repository(self._where.host, self._wanted.path)
        async with RegistryStore(repository, Options(credential=self._token)) as store:
            request = Request(method="GET", url=store.client.url(""), kind="tags")
            try:
                async with exchange(store, request, frozenset()):
                    found = f"{self._where.host} takes the password"
            except (AuthenticationError, DeniedError) as error:
                refused = isinstance(error, AuthenticationError)
                raise type(error)(
                    f"{self._where.host} does not take the password that AWS gave: {error.what}",
                    hint="does a proxy or VPC endpoint on the way take it away?" if refused else error.hint,
                    **error.facts,
                ) from error
        return Line(name="registry", verdict="ok", found=found)

    async def _call(self, action: str, ask: Callable[[Any], T]) -> T:
        from anyarch.registry import ecr  # noqa: PLC0415  loading the SDK takes a third of a second

        account = self._account()
        return await ecr.within_deadline(lambda: account.call(action, ask), self._where)

    def _account(self) -> Account:
        from anyarch.registry import ecr  # noqa: PLC0415  as above

        return ecr.account(self._where, profile=self._wanted.profile)
