"""One registry's requests: authorised, redirected by hand, retried, and understood.

``exchange`` is one try, ``call`` the same within the retry policy. Credentials go to the registry's own
origin and nowhere else: not along a redirect, not to an upload Location elsewhere, and not back again.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from anyarch.errors import RegistryProtocolError
from anyarch.registry.auth import Authenticator
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.refusal import read_refusal
from anyarch.registry.requests import RequestCounter
from anyarch.registry.retry import Clock, Retry, RetryableError, gate_of
from anyarch.registry.token_hosts import trusted_token_hosts
from anyarch.registry.urls import Origin, Url, check_elsewhere
from anyarch.registry.wire import Answer, Timeouts, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection
    from contextlib import AbstractAsyncContextManager
    from typing import TypeVar

    from anyarch.errors import NotFoundError
    from anyarch.registry.credential import Credential, CredentialSource
    from anyarch.registry.refusal import Refusal
    from anyarch.registry.requests import Observer, Request

    T = TypeVar("T")

_ECR_PRIVATE: Final = ".dkr"  # Basic on every request; ECR Public speaks Bearer, as others do
_REDIRECTS_MAX: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_READING: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a client behaves; what tests and the command line may set.

    Args:
        insecure: Hosts (``host`` or ``host:port``) that speak plain HTTP.
        token_hosts: Hosts that may be shown the credential besides those of ``urls.check_realm``.
        credential: Used instead of what ``docker login`` left or AWS hands out; or where to ask for one.
        aws_profile: The profile to ask AWS with, for a registry of Amazon's without ``credential``.
        deadline_seconds: For one operation with all its tries, transfers of blobs excepted.
        timeouts: For one exchange.
        observer: Told of every request.
        clock: Time and chance.
        waiting: Told of a host that has not answered yet, once it takes long.
    """

    insecure: Collection[str] = ()
    token_hosts: Collection[str] = ()
    credential: Credential | CredentialSource | None = None
    aws_profile: str = ""
    deadline_seconds: float = 120.0
    timeouts: Timeouts = field(default_factory=Timeouts)
    observer: Observer | None = None
    clock: Clock = field(default_factory=Clock)
    waiting: Callable[[str], None] = lambda _: None


class Client:
    """Speaks with the registry of one host.

    Args:
        host: As in a reference.
        options: How to behave.
    """

    def __init__(self, host: str, options: Options) -> None:
        self.host = host
        self.origin = Origin.of_registry(host, insecure=options.insecure)
        self.requests = RequestCounter(options.observer)
        self.clock = options.clock
        self.insecure = options.insecure
        self.aws_profile = options.aws_profile
        self._given = options.credential
        self._timeouts = options.timeouts
        self._deadline_seconds = options.deadline_seconds
        self._wire = Wire(self.requests, options.timeouts, options.clock, options.waiting)
        self._auth = Authenticator(
            host=host,
            registry=self.origin,
            source=self._find_credential,
            send=self._wire.open,
            clock=options.clock,
            token_hosts={*options.token_hosts, *trusted_token_hosts(host, os.environ)},
            given=self._given is not None,
            insecure=options.insecure,
            always_basic=_ECR_PRIVATE in host and EcrHost.parse(host) is not None,
        )

    @property
    def finds_credentials(self) -> bool:
        """Whether nobody said who we are: then AWS may be asked about a registry of Amazon's."""
        return self._given is None

    @cached_property
    def retry(self) -> Retry:
        """The policy. Made with the first request: the gate belongs to the event loop."""
        return Retry(gate_of(self.origin), self._deadline_seconds, self.clock)

    def url(self, path: str) -> Url:
        """The registry's URL of an API path."""
        return Url(self.origin, f"/v2/{path}")

    async def call(
        self,
        request: Request,
        read: Callable[[Answer], Awaitable[T]],
        *,
        scopes: frozenset[str],
        subject: str,
    ) -> T:
        """Send a request within the retry policy, and read its answer inside the same try.

        Args:
            request: What to send; its body must be repeatable.
            read: Turns a 2xx answer into the result; what it raises ends or repeats the try.
            scopes: What the request needs, in words of the token protocol.
            subject: What it is about, for messages.

        Raises:
            RegistryError: refused for good, or no answer within the deadline.
        """

        async def attempt() -> T:
            async with self.exchange(request, scopes=scopes, subject=subject) as answer:
                return await read(answer)

        return await self.retrying(attempt, str(request), is_transfer=request.is_transfer)

    async def retrying(
        self, attempt: Callable[[], Awaitable[T]], subject: str, *, is_transfer: bool = False
    ) -> T:
        """Run a chain of exchanges within the retry policy."""
        limit = self._timeouts.blob if is_transfer else None
        return await self.retry.run(attempt, subject=subject, limit_seconds=limit)

    @asynccontextmanager
    async def exchange(
        self, request: Request, *, scopes: frozenset[str], subject: str
    ) -> AsyncIterator[Answer]:
        """One try: the first answer that is neither a challenge nor a redirect, if it is a success.

        Args:
            request: What to send.
            scopes: What it needs.
            subject: What it is about, for messages.

        Raises:
            RetryableError: another try may help.
            RegistryError: it would not.
        """
        with self._auth.cleaning():
            async with self._succeeded(request, scopes, subject) as answer:
                yield answer

    async def aclose(self) -> None:
        """Close every connection."""
        await self._wire.aclose()

    @asynccontextmanager
    async def _succeeded(
        self, request: Request, scopes: frozenset[str], subject: str
    ) -> AsyncIterator[Answer]:
        """The answer to a request within the gate's places; a refusal becomes an error."""
        opening = self._answer(request, scopes)
        async with self.retry.gate.place(request):
            self.retry.check_open()
            answer = await opening.__aenter__()
        # The place is given back when the headers are there: an answer's body travels outside the gate.
        try:
            if not 200 <= answer.status < 300:
                refusal = await read_refusal(request, answer, wall=self.clock.wall())
                away = answer.url.origin != self.origin and request.method == "GET"
                if away and answer.status in {401, 403}:
                    # A signed link that has expired: the registry gives us another.
                    raise RetryableError(f"{answer.url.origin}: status {answer.status}")
                if answer.status == 401:
                    raise self._auth.refused(words=refusal.words if refusal.codes else "")
                if refusal.credential_expired:
                    self._auth.expire(refusal.words, sent_at=answer.sent_at)
                    final = self._auth.refused(words=refusal.words)
                    raise RetryableError("the credential has expired", final=final)
                raise self._absent(refusal) or refusal.error(
                    subject, scrub=self._auth.scrub, advise=self._advise
                )
            yield answer
        finally:
            await opening.__aexit__(None, None, None)

    @asynccontextmanager
    async def _answer(self, request: Request, scopes: frozenset[str]) -> AsyncIterator[Answer]:
        """Follow the request through challenge and redirects."""
        at_home = True
        for _ in range(_REDIRECTS_MAX + 1):
            async with self._authorised(request, scopes, at_home=at_home) as answer:
                if answer.status not in _REDIRECTS or request.method not in _READING:
                    yield answer
                    return
                target = answer.url.join(answer.header("location"))
            check_elsewhere(target, registry=self.origin, insecure=self.insecure)
            # Once away, never again with a credential, not even back home.
            at_home = at_home and target.origin == self.origin
            request = request.to(target)
        raise RegistryProtocolError(f"{request}: more than {_REDIRECTS_MAX} redirects")

    @asynccontextmanager
    async def _authorised(
        self, request: Request, scopes: frozenset[str], *, at_home: bool
    ) -> AsyncIterator[Answer]:
        """Send the request; on a challenge from the registry itself, once more with an answer to it."""
        ours = at_home and request.url.origin == self.origin
        shown = await self._auth.header(scopes) if ours else ""
        async with self._open(request, shown) as answer:
            if answer.status != 401 or not ours:
                yield answer
                return
            challenges = answer.headers("www-authenticate")
            if not challenges:
                yield answer
                return
        renewed = await self._auth.renew(challenges, scopes, refused=shown)
        async with self._open(request, renewed) as answer:
            yield answer

    def _open(self, request: Request, authorization: str) -> AbstractAsyncContextManager[Answer]:
        return self._wire.open(request, authorization=authorization, gate=self.retry.gate)

    def _advise(self, refusal: Refusal) -> str:
        """What to do about a refusal, where this kind of registry has a known remedy."""
        if "ecr" not in self.host:  # no name of Amazon's registries; "not found" is asked for often
            return ""
        from anyarch.registry.ecr_advice import advice  # noqa: PLC0415  only a failure needs it

        return advice(self.host, refusal)

    def _absent(self, refusal: Refusal) -> NotFoundError | None:
        """The error for a repository that is not there, where none comes into being by a push."""
        if "ecr" not in self.host:
            return None
        from anyarch.registry.ecr_advice import absent  # noqa: PLC0415  as above

        return absent(self.host, refusal, profile=self.aws_profile)

    async def _find_credential(self, refused: Credential | None) -> Credential | None:
        if callable(self._given):
            return await self._given(refused)
        if self._given is not None:
            return self._given
        from anyarch.registry.credentials import find_credential  # noqa: PLC0415  most requests need none

        return await find_credential(self.host, refused, aws_profile=self.aws_profile)
