"""What is asked of a token server, and what it answers.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from anyarch.errors import RegistryProtocolError
from anyarch.registry.requests import Request

if TYPE_CHECKING:
    from anyarch.registry.challenge import Challenge
    from anyarch.registry.credential import Credential
    from anyarch.registry.urls import Url

_TOKEN: Final = re.compile(r"[!-~]{1,32768}", re.ASCII)
_EXPIRES_SECONDS_DEFAULT: Final = 60.0  # https://distribution.github.io/distribution/spec/auth/token/
_EXPIRES_SECONDS_MAX: Final = 24 * 3600.0
_CLIENT_ID: Final = "anyarch"


def token_request(
    realm: Url, challenge: Challenge, scopes: frozenset[str], credential: Credential | None
) -> Request:
    """The request for a token.

    Args:
        realm: The token server.
        challenge: How the registry asked for it.
        scopes: What it is to be good for, besides what the challenge names.
        credential: Who we are; a password is not in the request, it goes into its header.
    """
    fields = [("service", challenge.parameters["service"])] if "service" in challenge.parameters else []
    wanted = _united(scopes | frozenset(challenge.parameters.get("scope", "").split()))
    if credential is not None and credential.identity_token:
        form = [
            ("grant_type", "refresh_token"),
            *fields,
            ("client_id", _CLIENT_ID),
            ("scope", " ".join(wanted)),
            ("refresh_token", credential.identity_token),
        ]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request(method="POST", url=realm, kind="token", headers=headers, body=urlencode(form).encode())
    query = urlencode(fields + [("scope", scope) for scope in wanted], quote_via=quote)
    return Request(method="GET", url=realm.with_query(query) if query else realm, kind="token")


def _united(scopes: frozenset[str]) -> list[str]:
    """One scope per resource with every action asked for, ``repository:a:pull`` + ``…:pull,push``."""
    actions: dict[str, set[str]] = {}
    for scope in scopes:
        resource, _, words = scope.rpartition(":")
        actions.setdefault(resource, set()).update(words.split(","))
    # A word without a resource is the registry's own, such as the "aws" of ECR Public.
    return [
        scope
        for resource, words in sorted(actions.items())
        for scope in ([f"{resource}:{','.join(sorted(words))}"] if resource else sorted(words))
    ]


def read_token(body: bytes, host: str) -> tuple[str, float]:
    """A token server's answer: the token, and for how many seconds it is good.

    Raises:
        RegistryProtocolError: there is none in it.
    """
    try:
        fields = json.loads(body)
        value = fields.get("token") or fields.get("access_token")
        told = float(fields.get("expires_in") or 0)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        value, told = None, 0.0
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None:
        raise RegistryProtocolError(f"the token server of {host} did not answer with a token")
    # No life, a negative one or no number: then the protocol's own, counted from when we asked. ``issued_at``
    # is not looked at: the server's clock and ours may differ by any amount.
    return value, min(told, _EXPIRES_SECONDS_MAX) if told > 0 else _EXPIRES_SECONDS_DEFAULT
