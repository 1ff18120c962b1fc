"""The way to a registry, step by step: name, proxy, connection, TLS."""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio
from anyio.streams.tls import TLSAttribute

from anyarch.checks import Check, Line
from anyarch.errors import RegistryUnavailableError
from anyarch.registry.causes import cause_of
from anyarch.registry.certificates import tls_context
from anyarch.registry.proxies import proxy_for
from anyarch.registry.urls import is_loopback

if TYPE_CHECKING:
    from anyarch.checks import Verdict
    from anyarch.registry.urls import Origin

_STEP_SECONDS: Final = 10.0
_EXPIRY_WARNING_SECONDS: Final = 14 * 86400


class Way:
    """Looks at each step to an origin, without credentials.

    Args:
        origin: Where the registry answers.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._proxy = ""
        self._host, self._port = origin.host, origin.port

    def checks(self) -> list[Check]:
        """Every step; the last one's name is ``TLS``."""
        return [
            Check(name="proxy", look=self._look_for_proxy),
            Check(name="DNS", look=self._look_up, after=("proxy",), seconds=_STEP_SECONDS),
            Check(name="connection", look=self._connect, after=("DNS",), seconds=_STEP_SECONDS),
            Check(name="TLS", look=self._shake_hands, after=("connection",), seconds=_STEP_SECONDS),
        ]

    async def _look_for_proxy(self) -> Line:
        self._proxy = proxy_for(self.origin, os.environ)
        if not self._proxy:
            why = "; this machine itself is never reached by one" if is_loopback(self.origin.host) else ""
            return Line(name="proxy", verdict="ok", found=f"none{why}")
        parts = urlsplit(self._proxy)
        self._host, self._port = parts.hostname or "", parts.port or 80
        return Line(name="proxy", verdict="ok", found=f"{self._host}:{self._port}, as the environment says")

    async def _look_up(self) -> Line:
        try:
            found = await anyio.getaddrinfo(self._host.strip("[]"), self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise RegistryUnavailableError(
                f"{self._host} cannot be resolved: {error.strerror or error}",
                hint="is the name right? behind a VPN, is it up? behind a proxy, is HTTPS_PROXY set?",
            ) from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if addresses == [self._host.strip("[]")]:
            return Line(name="DNS", verdict="ok", found=f"{self._host} is an address")
        return Line(name="DNS", verdict="ok", found=f"{self._host} is {', '.join(addresses[:4])}")

    async def _connect(self) -> Line:
        begun = time.monotonic()
        try:
            stream = await anyio.connect_tcp(self._host.strip("[]"), self._port)
        except OSError as error:
            raise RegistryUnavailableError(
                f"{self._host}:{self._port}: {cause_of(_nearest(error)).words}",
                hint="is it up, is the port right, may this machine connect to it (firewall, VPN, proxy)?",
            ) from error
        took = time.monotonic() - begun
        await stream.aclose()
        return Line(
            name="connection",
            verdict="ok",
            found=f"{self._host}:{self._port} answers in {took * 1000:.0f} ms",
        )

    async def _shake_hands(self) -> Line:
        if self.origin.scheme == "http":
            return _plain(self.origin)
        if self._proxy:
            found = "through the proxy; the certificate is checked with every request"
            return Line(name="TLS", verdict="ok", found=found)
        context = await anyio.to_thread.run_sync(tls_context, self.origin, os.environ)
        host = self.origin.host.strip("[]")
        try:
            stream = await anyio.connect_tcp(
                host, self.origin.port, tls=True, ssl_context=context, tls_standard_compatible=False
            )
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise _not_trusted(self.origin, error) from error
        tls: ssl.SSLObject = stream.extra(TLSAttribute.ssl_object)  # noqa: S610  not Django
        certificate, version = tls.getpeercert() or {}, tls.version() or "TLS"
        with suppress(OSError, anyio.BrokenResourceError):
            await stream.aclose()
        return _certified(certificate, version, now=time.time())


async def speaks_tls(origin: Origin) -> bool:
    """Whether a port that should speak plain HTTP answers to TLS instead, with whatever certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent, only asked
    try:
        with anyio.fail_after(_STEP_SECONDS / 2):
            stream = await anyio.connect_tcp(
                origin.host.strip("[]"),
                origin.port,
                tls=True,
                ssl_context=context,
                tls_standard_compatible=False,
            )
    except (OSError, TimeoutError, anyio.BrokenResourceError, anyio.EndOfStream):
        return False
    with suppress(OSError, anyio.BrokenResourceError):
        await stream.aclose()
    return True


def _plain(origin: Origin) -> Line:
    if is_loopback(origin.host):
        return Line(name="TLS", verdict="ok", found="none: plain HTTP, as always on this machine itself")
    return Line(
        name="TLS",
        verdict="warn",
        found="none: plain HTTP, as it is called insecure; passwords and images travel readable",
        advice="give the registry a certificate, then leave --insecure-registry away",
    )


def _certified(certificate: object, version: str, *, now: float) -> Line:
    """What a good certificate says of its end."""
    fields = certificate if isinstance(certificate, dict) else {}
    issuer = ", ".join(
        value for part in fields.get("issuer", ()) for key, value in part if key == "organizationName"
    )
    try:
        left = ssl.cert_time_to_seconds(str(fields.get("notAfter"))) - now
    except ValueError:
        return Line(
            name="TLS",
            verdict="unknown",
            found=f"{version}; the certificate's end cannot be read",
            advice="ask whoever runs the registry until when it is good",
        )
    verdict: Verdict = "warn" if left < _EXPIRY_WARNING_SECONDS else "ok"
    by = f" by {issuer}" if issuer else ""
    return Line(
        name="TLS",
        verdict=verdict,
        found=f"{version}, certificate{by} good for {left / 86400:.0f} d",
        advice="whoever runs the registry should renew it now" if verdict == "warn" else "",
    )


def _not_trusted(origin: Origin, error: BaseException) -> RegistryUnavailableError:
    cause = cause_of(error)
    for each in (error, error.__cause__, error.__context__):
        if isinstance(each, ssl.SSLCertVerificationError):
            return RegistryUnavailableError(
                f"the certificate of {origin.host} is not trusted: {each.verify_message}",
                hint=_certificate_advice(each.verify_message),
            )
        if isinstance(each, ssl.SSLError) and "WRONG_VERSION" in str(each.reason).upper():
            return RegistryUnavailableError(
                f"{origin.netloc} speaks plain HTTP and no TLS",
                hint=f"if that is meant to be: --insecure-registry {origin.netloc}",
            )
    return RegistryUnavailableError(f"no TLS with {origin.netloc}: {cause.words}", hint=cause.hint)


def _certificate_advice(words: str) -> str:
    if "expired" in words:
        return "whoever runs the registry must renew it; is this machine's clock right?"
    if "match" in words or "mismatch" in words:
        return "use the name that the certificate has, or have the registry's name put into it"
    return "for a private authority set SSL_CERT_FILE, or put its ca.crt into /etc/docker/certs.d/HOST:PORT/"


def _nearest(error: OSError) -> BaseException:
    """The first address's own error, out of what anyio wraps around all of them."""
    return error.__cause__ or error
