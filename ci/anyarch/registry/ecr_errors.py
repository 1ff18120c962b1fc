"""What AWS and its SDK raise, in one sentence each that says what to do."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from botocore import exceptions as aws

from anyarch.errors import (
    AnyarchError,
    AuthenticationError,
    DeniedError,
    NotFoundError,
    RegistryProtocolError,
    RegistryUnavailableError,
    UsageError,
)
from anyarch.registry.aws_github import lacks_token
from anyarch.registry.aws_settings import keys_in, profile_in, profiles
from anyarch.registry.ecr_advice import denied_action
from anyarch.registry.ecr_host import NO_CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyarch.registry.ecr_host import EcrHost

_SKEW_SECONDS: Final = 300.0  # what AWS lets pass
_WORDS_MAX_CHARACTERS: Final = 600

_DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "OptInRequired", "NotAuthorized"}
)
_EXPIRED: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "UnauthorizedException"}
)
_UNKNOWN_KEYS: Final = frozenset(
    {"UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "AuthFailure"}
)
_SIGNATURES: Final = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"})
_PLACES: Final = {"env": "the environment", "shared-credentials-file": "the credentials file"}
_BUSY: Final = frozenset(
    {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"}
    | {"ServerException", "InternalFailure", "ServiceUnavailable", "InternalServerError"}
)


def explained(error: Exception, where: EcrHost, *, action: str, profile: str) -> AnyarchError:
    """The error to raise for what the SDK raised. Nothing of the request is in it.

    Args:
        error: Of botocore, or what it lets through.
        where: Which registry was asked.
        action: What was asked of it, as IAM names it: ``ecr:GetAuthorizationToken``.
        profile: The AWS profile in use; empty for the default.
    """
    if isinstance(error, aws.ClientError):
        return _refused(error, where, action, profile)
    for kinds, explain in _EXPLANATIONS:
        if isinstance(error, kinds):
            return explain(where, profile, error)
    return AuthenticationError(
        f"AWS credentials for {where.host}: {type(error).__name__}",
        hint=f"ask it directly: {_whoami(profile)}",
    )


def _refused(error: aws.ClientError, where: EcrHost, action: str, profile: str) -> AnyarchError:
    """What an answer of AWS amounts to."""
    told = error.response.get("Error", {})
    code, words = told.get("Code", ""), _plain(told.get("Message", ""))
    facts = {"host": where.host, "code": code}
    skew = clock_skew_seconds(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}))
    if code in _SIGNATURES | _EXPIRED and skew is not None and abs(skew) > _SKEW_SECONDS:
        return AuthenticationError(
            f"this machine's clock is {_minutes(skew)} AWS's, which therefore refuses every signature",
            hint="set the clock: timedatectl set-ntp true",
            **facts,
        )
    if code in _DENIED:
        named = denied_action(words) or action
        return DeniedError(
            f"{where.host}: AWS does not allow {named}: {words}",
            hint=f"allow {named} in the policy of this role or user; see docs/ecr.md",
            action=named,
            **facts,
        )
    if code in _EXPIRED:
        return AuthenticationError(
            f"the AWS session for {where.host} has expired",
            hint=_another_session(profile),
            **facts,
        )
    if code in _UNKNOWN_KEYS | _SIGNATURES:
        return AuthenticationError(
            f"AWS does not accept the credentials for {where.host}: {words}",
            hint=f"{_whoami(profile)} must work; is {where.region} opted into?",
            **facts,
        )
    if code in _BUSY:
        return RegistryUnavailableError(f"{where.host}: AWS answers {code} to {action}: {words}", **facts)
    kind = NotFoundError if code == "RepositoryNotFoundException" else RegistryProtocolError
    return kind(f"{where.host}: AWS answers {code} to {action}: {words}", **facts)


def clock_skew_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """How far this machine's clock is ahead of an answer's ``Date``; None without a readable one."""
    try:
        theirs = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    return ((now or datetime.now(UTC)) - theirs).total_seconds()


def _no_credentials(where: EcrHost, profile: str, error: Exception) -> AnyarchError:
    named = profile_in(os.environ)
    if not profile and named and named not in profiles(os.environ):
        return _no_profile(where, named, error)
    if not profile and os.environ.get("AWS_SECRET_ACCESS_KEY") and not os.environ.get("AWS_ACCESS_KEY_ID"):
        return _half_a_pair(
            where, profile, aws.PartialCredentialsError(provider="env", cred_var="AWS_ACCESS_KEY_ID")
        )
    hint = f"set AWS_PROFILE or AWS_ACCESS_KEY_ID …, or log in: {_login(profile)}; see docs/ecr.md"
    if not profile and lacks_token(os.environ):
        hint = (
            "AWS_ROLE_ARN names a role, but there is no token to take it with: in GitHub Actions the job and "
            "its caller need permissions: { id-token: write }; elsewhere set AWS_WEB_IDENTITY_TOKEN_FILE"
        )
    return AuthenticationError(
        f"there are {NO_CREDENTIALS} for {where.host}",
        hint=hint,
        host=where.host,
        reason=NO_CREDENTIALS,
    )


def _half_a_pair(where: EcrHost, _profile: str, error: Exception) -> AnyarchError:
    facts: dict[str, object] = getattr(error, "kwargs", {})
    held = _PLACES.get(str(facts.get("provider")), "a profile")
    missing = str(facts.get("cred_var", "")).upper()
    return AuthenticationError(
        f"half of a pair of AWS keys: {held} has no {missing}",
        hint=f"set {missing} as well, or take the other half away",
        host=where.host,
    )


def _no_profile(where: EcrHost, profile: str, _: Exception) -> AnyarchError:
    named = profile or profile_in(os.environ)
    who = f" {named!r}" if profile_in(os.environ) != named else f" {named!r}, which the environment names"
    return AuthenticationError(
        f"there is no AWS profile{who}",
        hint="aws configure list-profiles shows which there are",
        host=where.host,
    )


def _sso(where: EcrHost, profile: str, _: Exception) -> AnyarchError:
    return AuthenticationError(
        f"the AWS SSO session for {where.host} has expired, or was never begun",
        hint=f"log in: {_login(profile)}",
        host=where.host,
    )


def _not_retrieved(where: EcrHost, profile: str, error: Exception) -> AnyarchError:
    return AuthenticationError(
        f"AWS credentials for {where.host} cannot be had: {_plain(str(error))}",
        hint=f"{_whoami(profile)} must work first",
        host=where.host,
    )


def _by_aws_login(where: EcrHost, profile: str, _: Exception) -> AnyarchError:
    """Its tokens are bound to a key that takes another library to sign with, ``awscrt``."""
    name = profile or profile_in(os.environ) or "default"
    return AuthenticationError(
        f"the AWS profile {name} has its credentials from aws login, which only the AWS CLI can read",
        hint=f'let it tell them: eval "$(aws configure export-credentials --profile {name} --format env)"',
        host=where.host,
    )


def _code_wanted(where: EcrHost, profile: str, _: Exception) -> AnyarchError:
    return AuthenticationError(
        f"the AWS session for {where.host} has ended, and its role wants another code",
        hint=f"type it: {_whoami(profile)}; then run this again",
        host=where.host,
    )


def _unreadable(where: EcrHost, profile: str, error: Exception) -> AnyarchError:
    """A file that AWS's settings name: a token, a program."""
    named = (
        f"{getattr(error, 'filename', None) or 'a file'}: {getattr(error, 'strerror', None) or 'unreadable'}"
    )
    return AuthenticationError(
        f"AWS credentials for {where.host} cannot be had: {_plain(named)}",
        hint=f"{_whoami(profile)} must work first",
        host=where.host,
    )


def _not_understood(where: EcrHost, profile: str, error: Exception) -> AnyarchError:
    """A value that is none; it is not quoted, as a credential_process may have printed it."""
    settings = "AWS_ENDPOINT_URL, AWS_CREDENTIAL_EXPIRATION or what a credential_process prints"
    return AuthenticationError(
        f"AWS credentials for {where.host} cannot be had: not understood ({type(error).__name__})",
        hint=f"look at {settings}; {_whoami(profile)} must work first",
        host=where.host,
    )


def _not_valid(where: EcrHost, _profile: str, error: Exception) -> AnyarchError:
    return UsageError(f"{where.host}: AWS's API does not take this: {_plain(str(error))}")


def _unreached(where: EcrHost, _profile: str, error: Exception) -> AnyarchError:
    return RegistryUnavailableError(
        f"{where.service} in {where.region} does not answer ({type(error).__name__})",
        hint=f"is {where.region} the right region? Is there a way to AWS from here, a proxy or VPC endpoint?",
        host=where.host,
    )


# Only these words are shown: the texts of other exceptions may quote what was sent.
_EXPLANATIONS: Final[
    tuple[tuple[tuple[type[Exception], ...], Callable[[EcrHost, str, Exception], AnyarchError]], ...]
] = (
    ((aws.NoCredentialsError,), _no_credentials),
    ((aws.PartialCredentialsError,), _half_a_pair),
    ((aws.MissingDependencyException,), _by_aws_login),
    ((aws.RefreshWithMFAUnsupportedError,), _code_wanted),
    ((aws.ProfileNotFound,), _no_profile),
    ((aws.SSOError, aws.TokenRetrievalError, aws.UnauthorizedSSOTokenError), _sso),
    ((aws.CredentialRetrievalError, aws.MetadataRetrievalError, aws.ConfigParseError), _not_retrieved),
    ((aws.InvalidConfigError, aws.ConfigNotFound), _not_retrieved),
    ((aws.ParamValidationError,), _not_valid),
    ((aws.HTTPClientError, aws.ConnectionError, aws.EndpointConnectionError), _unreached),
    ((OSError,), _unreadable),
    ((ValueError,), _not_understood),
)


def _plain(words: str) -> str:
    return " ".join(words.split())[:_WORDS_MAX_CHARACTERS]


def _minutes(skew: float) -> str:
    return f"{abs(skew) / 60:.0f} min {'ahead of' if skew > 0 else 'behind'}"


def _another_session(profile: str) -> str:
    if not profile and keys_in(os.environ):
        return (
            "it is in AWS_ACCESS_KEY_ID … of the environment: put another there, as "
            "aws configure export-credentials --format env prints, or unset them; "
            "in CI, assume the role again before this step"
        )
    return f"start a new one: {_login(profile)}; in CI, assume the role again before this step"


def _login(profile: str) -> str:
    return f"aws sso login --profile {profile}" if profile else "aws sso login"


def _whoami(profile: str) -> str:
    return f"aws sts get-caller-identity --profile {profile}" if profile else "aws sts get-caller-identity"
