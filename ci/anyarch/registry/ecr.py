"""Amazon ECR's API: sessions, authorization tokens, and who may ask for them. The only user of boto3.

Load it where it is needed only: the SDK is a third of a second. Credentials are found as by every tool of
AWS: environment, profile, SSO, web identity (OIDC), container role, instance role; and in a job of GitHub
Actions by the job's own token.
https://docs.aws.amazon.com/boto3/latest/guide/credentials.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from anyarch.errors import RegistryProtocolError, RegistryUnavailableError
from anyarch.registry import aws_github, aws_mfa
from anyarch.registry.aws_identity import Session
from anyarch.registry.credential import Credential
from anyarch.registry.ecr_errors import explained

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    from anyarch.registry.ecr_host import EcrHost

    T = TypeVar("T")

TOKEN_SECONDS: Final = 12 * 3600.0
# Asked again this long before the end, so that a transfer begun with a token can end with it.
EXPIRY_MARGIN_SECONDS: Final = 600.0
_DEADLINE_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 20.0
_TRIES: Final = 4
_MACHINE: Final = "iam-role"  # what the SDK calls the role of the machine it runs on
# The SDK lets through what reading files, starting a credential_process and parsing settings raise.
_RAISED: Final = (BotoCoreError, ClientError, OSError, ValueError)


@dataclass(slots=True)
class Account:
    """One registry with one set of credentials: a session of its own, and the token that it got.

    Args:
        where: The registry.
        profile: An AWS profile; empty for what the environment says.
        wall: Unix time, for expiry.
    """

    where: EcrHost
    profile: str = ""
    wall: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # boto3's sessions are for one thread at a time, its clients for all.
    _making: threading.Lock = field(default_factory=threading.Lock)
    _base: botocore.session.Session = field(default_factory=botocore.session.Session, repr=False)
    _session: boto3.Session | None = field(default=None, repr=False)
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)
    _token: Credential | None = field(default=None, repr=False)

    async def credential(self, refused: Credential | None = None) -> Credential:
        """User and password for the registry; the same ones until shortly before they expire.

        Args:
            refused: What the registry no longer takes, if it is asked for because of that.

        Raises:
            AuthenticationError: no credentials, or AWS does not know or no longer takes them.
            DeniedError: they may not ask for a token.
            RegistryUnavailableError: AWS does not answer.
        """
        return await within_deadline(lambda: self._current(refused), self.where)

    def call(self, action: str, ask: Callable[[Any], T]) -> T:
        """Ask an API. Blocking: run it in a thread.

        Args:
            action: As IAM names it: ``ecr:CreateRepository``. Its first part is the service that is asked.
            ask: Gets that service's client of boto3.

        Raises:
            AnyarchError: refused, or not answered; ``ecr_errors`` has the list.
        """
        try:
            return ask(self._client(action.partition(":")[0]))
        except _RAISED as error:
            # The cause is not chained: its traceback holds the signed request.
            raise explained(error, self.where, action=action, profile=self.profile) from None

    def session(self) -> Session:
        """What can be told of the credentials without showing them.

        Raises:
            AuthenticationError: there are none.
        """
        try:
            with self._making:
                found = self._opened().get_credentials()
        except _RAISED as error:
            raise explained(error, self.where, action="", profile=self.profile) from None
        # It has no public name: https://github.com/boto/botocore/blob/develop/botocore/credentials.py
        ends = getattr(found, "_expiry_time", None)
        return Session(
            method=getattr(found, "method", None) or "",
            temporary=bool(getattr(found, "token", None)),
            ends_at=ends.timestamp() if ends is not None else None,
        )

    def has_credentials(self) -> bool:
        """Whether there are any but the machine's own role, which every program on it has. Blocking.

        Raises:
            AuthenticationError: there are some, and they cannot be used.
        """
        try:
            with self._making:
                session = self._opened()
                chain = self._base.get_component("credential_provider")
                machine = [each for each in chain.providers if each.METHOD == _MACHINE]
                chain.remove(_MACHINE)
                try:
                    found = session.get_credentials()
                    return found is not None and found.method != _MACHINE  # it may have been asked before
                finally:
                    chain.providers.extend(machine)  # it was the last
        except _RAISED as error:
            raise explained(error, self.where, action="", profile=self.profile) from None

    def configured_region(self) -> str:
        """The region that other tools of AWS would ask: of the environment or the profile; empty for none."""
        if region := os.environ.get("AWS_REGION"):  # of every SDK but this one, which knows an older name
            return region
        try:
            return boto3.Session(profile_name=self.profile or None).region_name or ""
        except _RAISED as error:
            raise explained(error, self.where, action="", profile=self.profile) from None

    def _opened(self) -> boto3.Session:
        if self._session is None:
            base = self._base
            if not self.profile and aws_github.asked_for(os.environ):
                job = aws_github.GitHubJob.of(self.where, os.environ)
                role = aws_github.GitHubRole(base, job, self.where.region)
                base.get_component("credential_provider").insert_before(aws_github.BEFORE, role)
            self._session = boto3.Session(
                botocore_session=base, profile_name=self.profile or None, region_name=self.where.region
            )
            aws_mfa.remember(base)
        return self._session

    def _client(self, service: str) -> Any:  # noqa: ANN401  boto3 makes clients out of data files at run time
        with self._making:
            if service not in self._clients:
                session: Any = self._opened()  # its types know services by their literal names only
                self._clients[service] = session.client(service, config=self._config(service))
            return self._clients[service]

    def _config(self, service: str) -> Config:
        ours = service == self.where.service  # the registry's name says nothing of other services' endpoints
        return Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            # Nothing above tries these calls again.
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            # None: then the user's own configuration counts.
            use_fips_endpoint=(ours and self.where.fips) or None,
            use_dualstack_endpoint=(ours and self.where.dual_stack) or None,
            user_agent_extra="anyarch",
        )

    def _current(self, refused: Credential | None) -> Credential:
        with self._lock:
            held = self._token
            if held is None or held == refused or held.expires_at <= self.wall():
                self._token = held = self._ask()
            return held

    def _ask(self) -> Credential:
        action = f"{self.where.service}:GetAuthorizationToken"
        answer = self.call(action, lambda client: client.get_authorization_token())
        data = answer.get("authorizationData") or {}
        first: Mapping[str, Any] = data if self.where.is_public else (data or [{}])[0]
        try:
            pair = base64.b64decode(first.get("authorizationToken", ""), validate=True).decode()
        except (binascii.Error, ValueError):
            pair = ""
        username, _, password = pair.partition(":")
        if not (username and password):
            raise RegistryProtocolError(f"{self.where.host}: AWS's answer to {action} holds no token")
        return Credential(username, password, expires_at=self._expiry(first.get("expiresAt")))

    def _expiry(self, told: Any) -> float:  # noqa: ANN401  a datetime, if the answer is right
        """When to ask again, Unix time. A moment that has passed is a clock's fault, not the token's."""
        ends_at = told.timestamp() if hasattr(told, "timestamp") else 0.0
        latest = self.wall() + TOKEN_SECONDS
        return (min(ends_at, latest) if ends_at > self.wall() else latest) - EXPIRY_MARGIN_SECONDS


async def within_deadline(ask: Callable[[], T], where: EcrHost) -> T:
    """Run a blocking question to AWS in a thread, for a minute at most.

    Raises:
        RegistryUnavailableError: the time is up.
    """
    try:
        with anyio.fail_after(_DEADLINE_SECONDS):
            return await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
    except TimeoutError:
        raise RegistryUnavailableError(
            f"{where.host}: no answer of AWS within {_DEADLINE_SECONDS:.0f} s",
            hint="a credential_process that waits, a code that nobody typed, or no way to AWS from here",
            host=where.host,
        ) from None


_accounts: dict[tuple[str, str, str], Account] = {}


def account(where: EcrHost, *, profile: str = "") -> Account:
    """The one ``Account`` for a registry, a profile and what the environment says of AWS just now.

    Two that differ in any of the three share neither session nor token.
    """
    environ = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    key = where.host, profile, hashlib.sha256(repr(environ).encode()).hexdigest()
    return _accounts.setdefault(key, Account(where, profile))
