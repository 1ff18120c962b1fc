"""An AWS role for a job of GitHub Actions, taken with the job's own identity token, and taken again.

AWS's SDK takes a role with a token that lies in a file; GitHub gives one to whoever asks in the job, good for
minutes. Asked anew each time, the role outlasts any build, which what stands in variables does not.
https://docs.github.com/en/actions/reference/security/oidc
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx2
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError

from anyarch.errors import DeniedError
from anyarch.registry.aws_trust import audience_of
from anyarch.registry.certificates import tls_context
from anyarch.registry.proxies import proxy_for
from anyarch.registry.urls import Url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from botocore.session import Session

    from anyarch.registry.ecr_host import EcrHost

METHOD: Final = "github-oidc"
# Where this one is asked in the SDK's chain: after the environment's keys, before files and machines.
BEFORE: Final = "assume-role"

_ROLE: Final = "AWS_ROLE_ARN"
_URL: Final = "ACTIONS_ID_TOKEN_REQUEST_URL"
_BEARER: Final = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
# Each of them says otherwise where the role is from.
_OTHERWISE: Final = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
_SUBJECT: Final = re.compile(r"[!-~]{1,600}")
_TOKEN_MAX_BYTES: Final = 64 * 1024

# Jobs that start together are refused now and then: https://github.com/aws-actions/configure-aws-credentials/issues/299
_TRIES: Final = 5
_FIRST_PAUSE_SECONDS: Final = 1.0
_SECONDS: Final = 10.0


def asked_for(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a role, and lets this job ask for the token to take it with."""
    told = all(environ.get(name) for name in (_ROLE, _URL, _BEARER))
    return told and not any(environ.get(name) for name in _OTHERWISE)


def lacks_token(environ: Mapping[str, str]) -> bool:
    """Whether a role is named, but nothing to take it with: in a workflow, a permission is missing."""
    return bool(environ.get(_ROLE)) and not any(environ.get(name) for name in (*_OTHERWISE, _URL))


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubJob:
    """A job and the role that it may take.

    Args:
        role: The role's ARN.
        url: Where GitHub hands out the job's tokens.
        bearer: What it wants to see for it.
        session_name: What AWS's logs call the session.
        audience: Whom the token is for.
    """

    role: str
    url: str
    bearer: str
    session_name: str
    audience: str

    @classmethod
    def of(cls, where: EcrHost, environ: Mapping[str, str]) -> GitHubJob:
        """Read the environment of a job for which ``asked_for`` holds."""
        return cls(
            role=environ[_ROLE],
            url=environ[_URL],
            bearer=environ[_BEARER],
            session_name=environ.get("AWS_ROLE_SESSION_NAME") or "anyarch",
            audience=audience_of(where.partition),
        )

    def token(self) -> str:
        """Ask GitHub for a token that names this job.

        Raises:
            CredentialRetrievalError: it does not give one.
        """
        url = Url.parse(self.url)
        tls, proxy = tls_context(url.origin, os.environ), proxy_for(url.origin, os.environ)
        joint = "&" if "?" in self.url else "?"
        with httpx2.Client(timeout=_SECONDS, verify=tls, proxy=proxy or None, trust_env=False) as client:
            headers = {"Authorization": f"Bearer {self.bearer}", "Accept": "application/json"}
            try:
                answer = client.get(f"{self.url}{joint}audience={self.audience}", headers=headers)
            except httpx2.HTTPError as error:  # its words may hold the address, which is the job's own
                raise _not_given(f"no answer ({type(error).__name__})") from None
        if answer.status_code != httpx2.codes.OK:
            raise _not_given(f"answer {answer.status_code}")
        try:
            token = answer.json()["value"] if len(answer.content) <= _TOKEN_MAX_BYTES else None
        except (ValueError, LookupError, TypeError):
            token = None
        if not isinstance(token, str) or not token:
            raise _not_given("an answer without a token")
        return token


def _not_given(why: str) -> CredentialRetrievalError:
    return CredentialRetrievalError(provider="GitHub's identity tokens", error_msg=why)


class GitHubRole(CredentialProvider):
    """The link in the SDK's chain of credential providers.

    Args:
        session: The SDK's session, for its clients.
        job: Who takes which role.
        region: Whose STS is asked.
        pause: Waits so many seconds between two tries.
    """

    METHOD: str | None = METHOD
    CANONICAL_NAME: str | None = METHOD

    def __init__(
        self, session: Session, job: GitHubJob, region: str, pause: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(session)
        self.job = job
        self._region = region
        self._pause = pause

    def load(self) -> DeferredRefreshableCredentials:
        """Credentials that are fetched when they are needed, and again shortly before they end."""
        return DeferredRefreshableCredentials(refresh_using=self._fetched, method=METHOD)

    def _fetched(self) -> dict[str, str]:
        for number in range(1, _TRIES):
            try:
                return self._taken(self.job.token())
            except (DeniedError, BotoCoreError, ClientError):
                # Full jitter: legs of one matrix must not come back together.
                self._pause(random.uniform(0, _FIRST_PAUSE_SECONDS * 2**number))  # noqa: S311  not a secret
        return self._taken(self.job.token())

    def _taken(self, token: str) -> dict[str, str]:
        # These tries are the only ones: the SDK's own would multiply them.
        once = Config(
            signature_version=UNSIGNED,
            connect_timeout=_SECONDS,
            read_timeout=_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1},
        )
        sts: Any = self.session.create_client("sts", region_name=self._region, config=once)
        try:
            answer = sts.assume_role_with_web_identity(
                RoleArn=self.job.role, RoleSessionName=self.job.session_name, WebIdentityToken=token
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "AccessDenied":
                raise _refused(self.job.role, subject_of(token)) from None
            raise
        keys = answer["Credentials"]
        return {
            "access_key": keys["AccessKeyId"],
            "secret_key": keys["SecretAccessKey"],
            "token": keys["SessionToken"],
            "expiry_time": keys["Expiration"].isoformat(),
        }


def _refused(role: str, subject: str) -> DeniedError:
    return DeniedError(
        f"AWS does not let this job take on {role}; by its token the job is {subject}",
        hint="the role's trust policy must name that subject: "
        "anyarch doctor aws REPOSITORY --trust-policy OWNER/REPO prints one; see docs/ecr-setup.md",
        action="sts:AssumeRoleWithWebIdentity",
        role=role,
        subject=subject,
    )


def subject_of(token: str) -> str:
    """Who a token says that its bearer is: the claim ``sub``, which is no secret. RFC 7519, section 4.1.2."""
    try:
        claims = token.split(".")[1]
        subject = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    except (ValueError, LookupError, TypeError):
        return "unknown"
    return subject if isinstance(subject, str) and _SUBJECT.fullmatch(subject) else "unknown"
