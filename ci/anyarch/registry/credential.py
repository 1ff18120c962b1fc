"""What a registry is shown: a user name with a password, or an identity token."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    # Called with None first, and with what it gave once that has expired or is no longer accepted.
    CredentialSource = Callable[["Credential | None"], Awaitable["Credential | None"]]


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name with a password, or an identity token that buys access tokens.

    ``expires_at`` is Unix time: from then on it is asked for again.
    """

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    expires_at: float = field(default=math.inf, compare=False)

    @property
    def expires(self) -> bool:
        """Whether there is an end to it that we know."""
        return self.expires_at != math.inf

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header."""
        return "Basic " + base64.b64encode(_bytes(f"{self.username}:{self.password}")).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown, in every form in which it travels."""
        plain = [secret for secret in (self.password, self.identity_token) if secret]
        quoted = [form(_bytes(secret)) for form in (quote, quote_plus) for secret in plain]
        return (*plain, *quoted, self.basic.partition(" ")[2])


def _bytes(text: str) -> bytes:
    """As it travels; an environment variable may hold bytes that are no UTF-8."""
    return text.encode(errors="surrogateescape")
