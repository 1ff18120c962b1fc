"""Which proxy leads to a registry: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as Go's tools read them.

https://pkg.go.dev/golang.org/x/net/http/httpproxy: docker, crane, regctl and skopeo all go by it, so that
a NO_PROXY with networks, ports and leading dots means here what it means to them. ALL_PROXY is curl's.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from anyarch.errors import RegistryUnavailableError
from anyarch.registry.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.registry.urls import Origin

_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})
_PORTED: Final = re.compile(r"(?P<host>\[[^\]]+\]|[^:]+):(?P<port>[0-9]{1,5})")


def proxy_for(origin: Origin, environ: Mapping[str, str]) -> str:
    """The URL of the proxy to reach an origin by, empty for none; it may hold a password.

    This machine itself is never reached by a proxy.

    Raises:
        RegistryUnavailableError: the variable does not hold the URL of a proxy.
    """
    if is_loopback(origin.host) or _is_exempt(origin, _value("NO_PROXY", environ)):
        return ""
    # In a CGI program, HTTP_PROXY is a request's "Proxy:" header (httpoxy).
    named = () if origin.scheme == "http" and "REQUEST_METHOD" in environ else (f"{origin.scheme}_PROXY",)
    for name in (*named, "ALL_PROXY"):
        if value := _value(name.upper(), environ):
            return _checked(value, name.upper())
    return ""


def _value(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name) or environ.get(name.lower()) or ""


def _checked(value: str, name: str) -> str:
    url = value if "://" in value else f"http://{value}"
    scheme = url.partition("://")[0].lower()
    try:
        parts = urlsplit(url)
        usable = scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        # Not quoted: it may hold a password.
        raise RegistryUnavailableError(
            f"{name} does not hold the URL of a proxy",
            hint=f"for example {name}=http://proxy.example.com:3128; unset it to go without",
        )
    if scheme.startswith("socks") and not _speaks_socks():
        raise RegistryUnavailableError(
            f"{name} names a SOCKS proxy, and the package socksio, which speaks to such, is not installed",
            hint="pip install socksio, or use an HTTP proxy",
        )
    return url


def _speaks_socks() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415  hardly anybody has such a proxy

    return find_spec("socksio") is not None


def _is_exempt(origin: Origin, no_proxy: str) -> bool:
    return any(_exempts(entry.strip().lower(), origin) for entry in no_proxy.split(","))


def _exempts(entry: str, origin: Origin) -> bool:
    """Whether one entry of NO_PROXY means this origin."""
    if entry in {"", "*"}:
        return entry == "*"
    host = origin.host.strip("[]")
    if "/" in entry:
        return _is_within(host, entry)
    if _address(entry) is None and (ported := _PORTED.fullmatch(entry)) is not None:
        if int(ported["port"]) != origin.port:
            return False
        entry = ported["host"]
    entry = entry.strip("[]").rstrip(".")
    if _address(entry) is not None:
        return _address(entry) == _address(host)
    entry = entry.removeprefix("*")
    if entry.startswith("."):
        return host.endswith(entry)
    return host == entry or host.endswith(f".{entry}")


def _is_within(host: str, network: str) -> bool:
    address = _address(host)
    try:
        return address is not None and address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
