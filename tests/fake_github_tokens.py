"""GitHub's identity tokens for the jobs of a workflow, and the AWS roles that STS gives for them.

https://docs.github.com/en/actions/reference/security/oidc
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from tests.fake_repositories import Reply

if TYPE_CHECKING:
    from tests.fake_repositories import Seen

TOKEN_HOST: Final = "tokens.actions.example.com"
BEARER: Final = "canary-bearer-of-the-job"
SIGNATURE: Final = "canary-signature-of-the-token"
SUBJECT: Final = "repo:shop@1001/api@2002:environment:release"
AUDIENCE: Final = "sts.amazonaws.com"
SESSION: Final = timedelta(hours=1)


def a_token(**claims: object) -> str:
    """A token with such claims, signed by nobody."""
    parts = [json.dumps(each).encode() for each in ({"alg": "RS256"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in parts), SIGNATURE])


def job_environment(role: str) -> dict[str, str]:
    """What a job with ``id-token: write`` sees, that is to take a role."""
    return {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"https://{TOKEN_HOST}/token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": BEARER,
        "AWS_ROLE_ARN": role,
        "AWS_ROLE_SESSION_NAME": "anyarch-7",
    }


@dataclass
class Tokens:
    """Both services.

    Args:
        secret_key: Of every session.
        session_token: The same.
        roles: The access key that a role's sessions get, by the role's ARN.
        stumbles: What GitHub answers first.
        refusals: So many requests STS refuses first.
    """

    secret_key: str
    session_token: str
    roles: dict[str, str] = field(default_factory=dict)
    stumbles: list[Reply] = field(default_factory=list)
    refusals: int = 0
    audiences: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)

    def token(self, seen: Seen) -> Reply:
        """What GitHub's token service answers."""
        query = parse_qs(seen.query)
        self.audiences += query.get("audience", [])
        if seen.authorization != f"Bearer {BEARER}" or query.get("api-version") != ["2.0"]:
            return Reply(401, {}, b"{}")
        if self.stumbles:
            return self.stumbles.pop(0)
        value = a_token(sub=SUBJECT, aud=self.audiences[-1])
        return Reply(200, {"Content-Type": "application/json"}, json.dumps({"value": value}).encode())

    def session(self, seen: Seen) -> str | None:
        """What STS answers to AssumeRoleWithWebIdentity; None: access is denied."""
        form = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        self.sessions.append(form["RoleSessionName"])
        key = self.roles.get(form["RoleArn"])
        token = form["WebIdentityToken"]
        known = token in {a_token(sub=SUBJECT, aud=each) for each in self.audiences}
        if key is None or not known or len(self.sessions) <= self.refusals or seen.authorization:
            return None
        ends = (datetime.now(UTC) + SESSION).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{self.secret_key}</SecretAccessKey>"
        keys += f"<SessionToken>{self.session_token}</SessionToken><Expiration>{ends}</Expiration>"
        action = "AssumeRoleWithWebIdentity"
        result = f"<{action}Result><Credentials>{keys}</Credentials></{action}Result>"
        return f"<{action}Response>{result}</{action}Response>"
