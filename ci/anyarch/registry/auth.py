"""Answers to a registry's challenges: Basic, and Bearer tokens kept until shortly before they expire.

The credential is bound to one registry. ``header`` and ``renew`` are the only places that hand out an
``Authorization`` value, and the caller sends it to that registry's origin alone.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from anyarch.errors import AnyarchError, AuthenticationError
from anyarch.registry.challenge import Challenge, parse_challenges
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.refusal import read_refusal
from anyarch.registry.retry import RetryableError
from anyarch.registry.token_server import read_token, token_request
from anyarch.registry.urls import Url, check_realm

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from anyarch.registry.credential import Credential, CredentialSource
    from anyarch.registry.requests import Request
    from anyarch.registry.retry import Clock
    from anyarch.registry.urls import Origin
    from anyarch.registry.wire import Answer

_TOKEN_BODY_MAX_BYTES: Final = 64 * 1024
_EXPIRY_MARGIN_SECONDS: Final = 10.0
_SECRET_MIN_CHARACTERS: Final = 4  # a shorter one is part of ordinary words, and stars would give it away


class Sender(Protocol):
    """``Wire.open``."""

    def __call__(self, request: Request, *, authorization: str = "") -> AbstractAsyncContextManager[Answer]:
        """Send one request and hand out its answer."""
        ...


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    expires_at: float


@dataclass(slots=True)
class Authenticator:
    """What one registry has been told about us, and what it gave us for it.

    Args:
        host: The registry as users write it, for messages.
        registry: Where it answers: the only origin that may see the credential itself.
        source: Finds the credential; called only when one is asked for, and again when it has expired.
        send: Sends a request for a token, without authorization of its own.
        clock: For expiry.
        token_hosts: Other hosts that the user trusts to hand out tokens for this registry.
        insecure: Hosts that the user lets speak plain HTTP.
        always_basic: It asks for Basic at every request, so there is no need to be asked first.
        given: Whether somebody gave the credential, so that no login would count.
    """

    host: str
    registry: Origin
    source: CredentialSource = field(repr=False)
    send: Sender = field(repr=False)
    clock: Clock
    token_hosts: Collection[str] = ()
    insecure: Collection[str] = ()
    always_basic: bool = False
    given: bool = False
    _lock: anyio.Lock = field(default_factory=anyio.Lock)
    _asked: bool = False
    _asked_at: float = 0.0
    _spent: str = ""  # how the registry said that the credential is no longer good
    _credential: Credential | None = field(default=None, repr=False)
    _challenge: Challenge | None = None
    _tokens: dict[frozenset[str], _Token] = field(default_factory=dict, repr=False)
    _secrets: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        if self.always_basic:
            self._challenge = Challenge("basic")

    async def header(self, scopes: frozenset[str]) -> str:
        """What to send before being asked, as far as an earlier challenge taught; empty for nothing.

        Raises:
            AuthenticationError: the token server that we know refuses.
        """
        if self._challenge is None or (ready := self._ready(scopes)):
            return ready if self._challenge else ""
        async with self._lock:
            if self._challenge.scheme == "basic":
                await self._find_credential()
                return self._ready(scopes)
            return self._ready(scopes) or await self._buy(self._challenge, scopes)

    async def renew(self, headers: Sequence[str], scopes: frozenset[str], *, refused: str) -> str:
        """A new ``Authorization`` value after a 401.

        Args:
            headers: The answer's ``WWW-Authenticate`` headers.
            scopes: What the request needs.
            refused: The value that was sent and not accepted, or empty.

        Raises:
            AuthenticationError: there is nothing (more) to show.
            RegistryProtocolError: a challenge that cannot be read or must not be followed.
        """
        challenge = self._choose(parse_challenges(headers))
        async with self._lock:
            self._challenge = challenge
            if any(each.header == refused for each in self._tokens.values()):
                self._tokens.clear()  # refused or expired: so may be those that were bought beside it
            if (ready := self._ready(scopes)) and ready != refused:
                return ready  # another task was faster
            credential = await self._find_credential()
            if challenge.scheme == "basic":
                if credential is not None and credential.basic == refused:
                    self._spent = "401"
                    credential = await self._find_credential()
                if credential is None or not credential.password:
                    raise self.refused()
                return credential.basic
            return await self._buy(challenge, scopes)

    def expire(self, words: str, *, sent_at: float) -> None:
        """Ask for another credential before the next request, unless that was done since ``sent_at``."""
        if self._asked_at <= sent_at:
            self._spent = words
            self._tokens.clear()  # they were bought with it

    def refused(self, *, words: str = "") -> AuthenticationError:
        """The error for credentials that are missing or not accepted."""
        shown = self._credential
        what = f"{self.host} does not accept the credentials" if shown else f"{self.host} wants credentials"
        if shown and shown.username:
            what += f" of {shown.username}"
        said = f": {self.scrub(words)}" if words else ""
        return AuthenticationError(what + said, hint=self._hint, host=self.host, status=401)

    @property
    def _hint(self) -> str:
        return _login_hint(self.host, given=self.given)

    def scrub(self, text: str) -> str:
        """``text`` without any secret that this registry was shown, should it have sent one back."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) >= _SECRET_MIN_CHARACTERS:
                text = text.replace(secret, "***")
        return text

    @contextmanager
    def cleaning(self) -> Iterator[None]:
        """Take every secret out of the errors of a ``with`` block: an answer's headers may repeat one."""
        try:
            yield
        except AnyarchError as error:
            error.what, error.hint = self.scrub(error.what), self.scrub(error.hint)
            error.args = tuple(self.scrub(str(each)) for each in error.args)
            facts = {key: self.scrub(it) if isinstance(it, str) else it for key, it in error.facts.items()}
            error.facts = MappingProxyType(facts)
            raise

    def _choose(self, challenges: Sequence[Challenge]) -> Challenge:
        for scheme in ("bearer", "basic"):
            for challenge in challenges:
                if challenge.scheme == scheme and (scheme == "basic" or "realm" in challenge.parameters):
                    return challenge
        schemes = self.scrub(", ".join(challenge.scheme for challenge in challenges))[:160]
        raise AuthenticationError(
            f"{self.host} wants an authentication that anyarch does not know"
            f" ({schemes or 'it does not say which'})",
            hint=self._hint,
            host=self.host,
            status=401,
        )

    def _ready(self, scopes: frozenset[str]) -> str:
        if self._challenge is not None and self._challenge.scheme == "basic":
            return self._credential.basic if self._credential and self._is_good(self._credential) else ""
        now = self.clock.now()
        usable = (token for held, token in self._tokens.items() if held >= scopes and token.expires_at > now)
        return next((token.header for token in usable), "")

    async def _buy(self, challenge: Challenge, scopes: frozenset[str]) -> str:
        shown = await self._find_credential()
        try:
            token = await self._fetch(challenge, scopes, shown)
        except AuthenticationError:
            another = await self._another(shown)
            if another is None:
                raise
            token = await self._fetch(challenge, scopes, another)
        self._tokens[scopes] = token
        return token.header

    async def _another(self, refused: Credential | None) -> Credential | None:
        """What takes the place of a credential that a token server refused: it may have expired."""
        found = await self.source(refused) if refused is not None else None
        return None if found is None or found == refused else self._hold(found)

    def _hold(self, found: Credential) -> Credential:
        self._credential, self._asked, self._spent = found, True, ""
        self._asked_at = self.clock.now()
        self._secrets.update(found.secrets)
        return found

    def _is_good(self, held: Credential) -> bool:
        return bool(held.password) and not self._spent and held.expires_at > self.clock.wall()

    async def _find_credential(self) -> Credential | None:
        held, spent = self._credential, self._spent
        if self._asked and not spent and (held is None or held.expires_at > self.clock.wall()):
            return held
        found = await self.source(held)
        if spent and (found is None or found == held):
            raise self.refused(words="" if spent == "401" else spent)
        if found is not None:
            return self._hold(found)
        self._credential, self._asked, self._spent = None, True, ""
        self._asked_at = self.clock.now()
        return None

    async def _fetch(
        self, challenge: Challenge, scopes: frozenset[str], credential: Credential | None
    ) -> _Token:
        realm = Url.parse(challenge.parameters["realm"])
        check_realm(
            realm,
            registry=self.registry,
            with_credential=credential is not None,
            token_hosts=self.token_hosts,
            insecure=self.insecure,
        )
        request = token_request(realm, challenge, scopes, credential)
        shown = request.method == "GET" and credential is not None and credential.password
        authorization = credential.basic if credential and shown else ""
        asked_at = self.clock.now()
        async with self.send(request, authorization=authorization) as answer:
            if answer.status != 200:
                refusal = await read_refusal(request, answer, wall=self.clock.wall())
                error = refusal.error(f"{self.host}: its token server", scrub=self.scrub)
                # Never its own 404: that would read as "no such manifest".
                raise error if isinstance(error, RetryableError) else self.refused(words=refusal.words)
            body = await answer.read(_TOKEN_BODY_MAX_BYTES, subject=f"token server of {self.host}")
        value, seconds = read_token(body, self.host)
        self._secrets.add(value)
        return _Token(f"Bearer {value}", asked_at + max(seconds - _EXPIRY_MARGIN_SECONDS, seconds / 2))


def _login_hint(host: str, *, given: bool) -> str:
    is_ecr = EcrHost.parse(host) is not None
    if given:
        otherwise = "AWS is asked" if is_ecr else "what docker login left counts"
        return (
            "ANYARCH_REGISTRY_PASSWORD or --password gave this one, which comes first: "
            f"give another, or none, and {otherwise}"
        )
    return f"log in: {'anyarch' if is_ecr else 'docker'} login {host}"
