"""Who may do what in ECR Public: Bearer tokens, and none at all needed to read.

Rules, and where each is from (pages of docs.aws.amazon.com/AmazonECR/latest/public):

1.  ``/v2/`` wants a Bearer token of ``https://public.ecr.aws/token/``, also from those who only read:
    aws/containers-roadmap#1806. Basic is refused: kreuzwerker/terraform-provider-docker#666. What the
    dual-stack name of the registry asks for is not documented; here it is the same.
2.  Anybody gets a token to pull with; to push, the user AWS with a password: public-registry-auth.html.
3.  Passwords come from us-east-1 alone, live 12 hours, and open no private registry, nor theirs this one:
    public-registry-auth.html. Whoever asks needs ``sts:GetServiceBearerToken``, too:
    docs.aws.amazon.com/AmazonECRPublic/latest/APIReference/API_GetAuthorizationToken.html.
4.  An expired password is refused even to those who only read: public-registries.html ("Important").
5.  Actions are called ``ecr-public:…``; repositories have an alias before their name in references, and
    none in the API: public-repositories.html.
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Final

from tests.fake_repositories import Reply, Seen, failure

if TYPE_CHECKING:
    from tests.fake_ecr import FakeEcr, Principal

ALIAS: Final = "shop"  # of every account here
TOKEN_PREFIX: Final = "canary-public-token-"
TOKEN_SECONDS: Final = 12 * 3600
CHALLENGE: Final = 'Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws"'
READING: Final = frozenset({"GET", "HEAD"})


class PublicTokens:
    """The token server, and what was bought there.

    Args:
        ecr: Whose passwords are good.
    """

    def __init__(self, ecr: FakeEcr) -> None:
        self._ecr = ecr
        self._bought: dict[str, tuple[Principal | None, float]] = {}

    def sell(self, seen: Seen) -> Reply:
        """Answer ``GET /token/``."""
        if seen.method != "GET" or seen.argument("service") != "public.ecr.aws":
            return failure(400, "UNSUPPORTED", "Invalid request")
        scheme, _, value = seen.authorization.partition(" ")
        who: Principal | None = None
        if scheme:
            username, _, password = base64.b64decode(value).decode().partition(":")
            who, service, expires_at = self._ecr.issued.get(password, (None, "", 0.0))
            if scheme != "Basic" or username != "AWS" or who is None or service != "ecr-public":
                return failure(403, "DENIED", "Your Authorization Token is invalid.")
            if expires_at <= self._ecr.now():
                return failure(
                    403, "DENIED", "Your authorization token has expired. Reauthenticate and try again."
                )
        token = TOKEN_PREFIX + secrets.token_hex(16)
        self._bought[token] = who, self._ecr.now() + TOKEN_SECONDS
        return Reply(200, {"Content-Type": "application/json"}, json.dumps({"token": token}).encode())

    def authenticated(self, seen: Seen) -> tuple[Reply | None, Principal | None]:
        """Who sends a request, None for anybody; or what it is answered with."""
        challenge = {"WWW-Authenticate": CHALLENGE}
        scheme, _, value = seen.authorization.partition(" ")
        if not scheme:
            return failure(401, "DENIED", "Not Authorized", challenge), None
        who, expires_at = self._bought.get(value, (None, 0.0))
        if scheme != "Bearer" or not expires_at:
            return failure(403, "DENIED", "Your Authorization Token is invalid."), None
        if expires_at <= self._ecr.now():
            words = "Your authorization token has expired. Reauthenticate and try again."
            return failure(403, "DENIED", words), None
        if who is None and seen.method not in READING:
            return failure(403, "DENIED", "Not Authorized"), None
        return None, who
