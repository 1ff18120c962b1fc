"""What a registry answers, and what a repository in it allows; nothing is left behind."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from statistics import median
from typing import TYPE_CHECKING, Final

from anyarch.checks import Check, Line
from anyarch.errors import (
    AnyarchError,
    AuthenticationError,
    DeniedError,
    RegistryProtocolError,
    RegistryUnavailableError,
)
from anyarch.oci.reference import Repository
from anyarch.registry.doctor_repository import RepositoryDoctor, exchange
from anyarch.registry.doctor_way import Way, speaks_tls
from anyarch.registry.requests import Request
from anyarch.registry.retry import RetryableError
from anyarch.registry.store import RegistryStore
from anyarch.registry.urls import is_loopback
from anyarch.registry.wire import Timeouts, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from anyarch.oci.digest import Digest
    from anyarch.oci.reference import Tag
    from anyarch.registry.client import Options
    from anyarch.registry.wire import Answer

_SKEW_WARNING_SECONDS: Final = 30.0
_SLOW_SECONDS: Final = 1.0
_PINGS: Final = 3
_LIMIT_HEADERS: Final = (
    "ratelimit-limit",
    "ratelimit-remaining",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "retry-after",
)


class RegistryDoctor:
    """Looks at one registry, and at one repository in it if there is one.

    Args:
        host: The registry as users write it.
        repository: Where images are to go; None: only the registry is looked at.
        target: A tag or digest that is there, to look at what reading it is like.
        options: How the client behaves; where its credential comes from.
        source: Where that credential comes from, in words.
    """

    def __init__(
        self,
        host: str,
        repository: Repository | None,
        target: Digest | Tag | None,
        *,
        options: Options,
        source: str,
    ) -> None:
        self._store = RegistryStore(repository or Repository(host, "anyarch/none"), options)
        self._client = self._store.client
        self._clock = options.clock
        self._source = source
        self._way = Way(self._client.origin)
        self._pings: list[float] = []
        self._said: dict[str, str] = {}
        self._status = 0
        self._repository = RepositoryDoctor(self._store, target) if repository is not None else None

    def checks(self) -> list[Check]:
        """Everything there is to look at, each after what it needs."""
        checks = [
            *self._way.checks(),
            Check(name="registry", look=self._ping, after=("TLS",)),
            Check(name="latency", look=self._latency, after=("registry",), needed=False),
            Check(name="clock", look=self._look_at_clock, after=("registry",), needed=False),
            Check(name="rate limit", look=self._look_at_limit, after=("registry",), needed=False),
            Check(name="credentials", look=self._log_in, after=("registry",), seconds=20.0),
        ]
        if self._repository is not None:
            checks += self._repository.checks(after=("credentials",))
        return checks

    async def aclose(self) -> None:
        """Release connections."""
        await self._store.aclose()

    async def _ping(self) -> Line:
        """``GET /v2/`` without credentials: what every registry answers with 200 or 401."""
        wire = Wire(lambda _, __: None, Timeouts(connect=10.0, idle=10.0, document=10.0), self._clock)
        request = Request(method="GET", url=self._client.url(""), kind="tags")
        try:
            for _ in range(_PINGS):
                begun = time.monotonic()
                async with _once(wire, request, self._client.host) as answer:
                    self._remember(answer)
                self._pings.append(time.monotonic() - begun)
        except RegistryUnavailableError as error:
            raise await self._wrong_protocol(error) from error
        finally:
            await wire.aclose()
        if self._status not in {200, 401}:
            otherwise = RegistryProtocolError(
                f"{self._client.url('')} answers {self._status}; a registry answers 200 or 401",
                hint="is this host a registry? a proxy or a portal may answer in its place",
            )
            raise await self._wrong_protocol(otherwise)
        version = self._said.get("docker-distribution-api-version", "")
        wants = "and wants credentials" if self._status == 401 else "to anybody"
        return Line(
            name="registry", verdict="ok", found=f"{self._client.url('')} answers {wants}{_named(version)}"
        )

    async def _wrong_protocol(self, otherwise: AnyarchError) -> AnyarchError:
        """What to say of a port that does not answer as it should: does it speak TLS after all?"""
        origin = self._client.origin
        if origin.scheme != "http" or not await speaks_tls(origin):
            return otherwise
        hint = "leave --insecure-registry away"
        if is_loopback(origin.host):
            hint = "registries on this machine itself are spoken to in plain HTTP; give it another name"
        return RegistryUnavailableError(f"{origin.netloc} speaks TLS, not plain HTTP", hint=hint)

    async def _latency(self) -> Line:
        middle = median(self._pings[1:])
        found = f"{middle * 1000:.0f} ms for a small answer"
        if middle <= _SLOW_SECONDS:
            return Line(name="latency", verdict="ok", found=found)
        advice = "publishing takes tens of answers; a registry nearer by is faster"
        return Line(name="latency", verdict="warn", found=found, advice=advice)

    async def _look_at_clock(self) -> Line:
        try:
            theirs = parsedate_to_datetime(self._said.get("date", "")).timestamp()
        except (ValueError, TypeError):
            return Line(
                name="clock",
                verdict="unknown",
                found="the registry does not say what time it is",
                advice="see that this machine's clock is set by NTP: timedatectl",
            )
        skew = self._clock.wall() - theirs
        if abs(skew) <= _SKEW_WARNING_SECONDS:
            return Line(
                name="clock", verdict="ok", found=f"within {max(1.0, abs(skew)):.0f} s of the registry's"
            )
        side = "ahead of" if skew > 0 else "behind"
        return Line(
            name="clock",
            verdict="warn",
            found=f"this machine is {abs(skew):.0f} s {side} the registry",
            advice="set the clock (NTP): tokens look expired or not yet valid, and ages are wrong",
        )

    async def _look_at_limit(self) -> Line:
        said = [f"{name}: {self._said[name]}" for name in _LIMIT_HEADERS if name in self._said]
        return Line(name="rate limit", verdict="ok", found=", ".join(said) or "none announced")

    async def _log_in(self) -> Line:
        """``GET /v2/`` with whatever credential there is, asking for no more than to pull."""
        if self._status == 200:
            return Line(name="credentials", verdict="ok", found=f"not asked for ({self._source})")
        path = self._store.repository.path
        scopes = frozenset({f"repository:{path}:pull"}) if self._repository else frozenset[str]()
        request = Request(method="GET", url=self._client.url(""), kind="tags")
        try:
            async with exchange(self._store, request, scopes):
                word = "not needed to look" if self._source.startswith("none") else "accepted"
        except AuthenticationError as error:
            raise AuthenticationError(
                f"{error.what}; {self._source}", hint=error.hint, **error.facts
            ) from error
        except DeniedError as error:
            # Some services give nobody their front door, and every repository its own.
            return Line(
                name="credentials",
                verdict="unknown",
                found=f"{error.what}; {self._source}",
                advice="name a repository, and the lines pull and push tell: HOST/PATH"
                if self._repository is None
                else "the lines pull and push tell",
            )
        return Line(name="credentials", verdict="ok", found=f"{word}, {self._source}")

    def _remember(self, answer: Answer) -> None:
        self._status = answer.status
        names = ("date", "docker-distribution-api-version", *_LIMIT_HEADERS)
        said: Mapping[str, str] = {name: answer.header(name)[:80] for name in names if answer.header(name)}
        self._said |= said


@asynccontextmanager
async def _once(wire: Wire, request: Request, host: str) -> AsyncIterator[Answer]:
    try:
        async with wire.open(request) as answer:
            yield answer
    except RetryableError as error:
        raise RegistryUnavailableError(
            f"{host}: {error.cause}",
            hint=error.hint or "try again; does a proxy or a firewall cut it off?",
        ) from error


def _named(version: str) -> str:
    return f" ({version})" if version and version.isprintable() else ""
