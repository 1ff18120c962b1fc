"""URLs of a registry: parsed strictly, compared by origin, shown without secrets.

Everything that decides where a credential or a blob may go is here, and it is pure. The grammar is
narrower than RFC 3986 on purpose: what two parsers could read differently is refused.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urljoin

from anyarch.errors import RegistryProtocolError

if TYPE_CHECKING:
    from collections.abc import Collection

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!$-;=?-Z_a-z~\[\]@|{}^`%]*)?(?:#.*)?",
    re.ASCII,
)
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_URL_MAX_CHARACTERS: Final = 16 * 1024  # signed URLs of object stores are 2 to 3 KiB
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# What a query may show in a message; a signed URL's other keys are as good as a password.
_SHOWN_QUERY_KEYS: Final = frozenset({"digest", "from", "last", "mount", "n", "ns", "scope", "service"})

_DOCKER_HUB_SERVER: Final = "registry-1.docker.io"
# Where registries of these hosts send a client for a token, if not to themselves.
_TOKEN_HOSTS: Final = {
    _DOCKER_HUB_SERVER: "auth.docker.io",
    "registry.digitalocean.com": "api.digitalocean.com",
    "ecr-public.aws.com": "public.ecr.aws",  # the same service by its dual-stack name
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a credential is bound to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of_registry(cls, host: str, *, insecure: Collection[str] = ()) -> Origin:
        """Where the registry of a reference's host answers.

        Args:
            host: ``host`` or ``host:port`` as in a reference.
            insecure: Hosts (with or without port) that speak plain HTTP; loopback always does.

        Raises:
            RegistryProtocolError: ``host`` cannot be connected to.
        """
        server = _DOCKER_HUB_SERVER if host == "docker.io" else host
        name = Url.parse(f"https://{server}/").origin.host
        plain = is_loopback(name) or host in insecure or name in insecure
        return Url.parse(f"{'http' if plain else 'https'}://{server}/").origin

    @property
    def netloc(self) -> str:
        """``host[:port]``, the port only where it is not the scheme's own."""
        return self.host if self.port == _DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https URL without user information; ``target`` is path and query, byte for byte."""

    origin: Origin
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an absolute URL.

        Raises:
            RegistryProtocolError: anything but plain http(s)://host[:port]/path?query.
        """
        match = _URL.fullmatch(text) if len(text) <= _URL_MAX_CHARACTERS else None
        port = int(match["port"] or _DEFAULT_PORTS[match["scheme"]]) if match else 0
        if match is None or not 0 < port < 65536:
            # Not quoted: what cannot be parsed cannot be redacted.
            raise RegistryProtocolError("the registry names a URL that is not plain http(s)://host/path")
        target = match["target"] or "/"
        host = match["host"].lower().rstrip(".")
        return cls(Origin(match["scheme"], host, port), target if target.startswith("/") else f"/{target}")

    def join(self, location: str) -> Url:
        """The URL that a ``Location`` or ``Link`` of this URL's answer means.

        Raises:
            RegistryProtocolError: as ``parse``.
        """
        return self.parse(location if _ABSOLUTE.match(location) else urljoin(str(self), location))

    def with_query(self, text: str) -> Url:
        """The same URL with ``text`` appended to its query, what was there left as it is."""
        return Url(self.origin, f"{self.target}{'&' if '?' in self.target else '?'}{text}")

    @property
    def redacted(self) -> str:
        """For messages: values of unknown query keys are dropped."""
        path, mark, query = self.target.partition("?")
        shown = "&".join(map(_redacted, query.split("&"))) if mark else ""
        return f"{self.origin}{path}{mark}{shown}"

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    def __repr__(self) -> str:
        return f"Url({self.redacted!r})"


def is_loopback(host: str) -> bool:
    """Whether a host name or IP literal surely is this machine."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def check_elsewhere(url: Url, *, registry: Origin, insecure: Collection[str] = ()) -> None:
    """Refuse a redirect or upload URL that a registry has no business sending us to.

    No credential goes to another origin in any case; this keeps content off plain HTTP, and keeps a
    public registry from reaching into private networks through us (go-containerregistry#2292, #2293).

    Raises:
        RegistryProtocolError: the URL is not allowed.
    """
    origin = url.origin
    if origin == registry:
        return
    if origin.host != registry.host:
        if _is_link_local(origin.host):  # where clouds keep a machine's own credentials
            raise RegistryProtocolError(f"{registry} sends us to the link-local address {url.redacted}")
        if is_loopback(origin.host) and not is_loopback(registry.host):
            raise RegistryProtocolError(f"{registry} sends us to this machine: {url.redacted}")
        if _is_private(origin.host) and not _is_private(registry.host):
            raise RegistryProtocolError(f"{registry} sends us to the private address {url.redacted}")
    if origin.scheme == "http" and not _plain_allowed(origin, registry, insecure):
        hint = f"if that is meant to be, let it as well: --insecure-registry {origin.netloc}"
        raise RegistryProtocolError(
            f"{registry} sends us to {url.redacted}, which is not https",
            hint=hint if registry.scheme == "http" else "",  # nothing lets one with TLS send us off it
        )


def check_realm(
    realm: Url,
    *,
    registry: Origin,
    with_credential: bool,
    token_hosts: Collection[str] = (),
    insecure: Collection[str] = (),
) -> None:
    """Refuse a token server that the registry's credential must not be shown to (CVE-2026-48978).

    Allowed: the registry's own host, the known token host of a public registry, a domain above or below the
    registry's (``registry.gitlab.com`` and ``gitlab.com``), or a host in ``token_hosts``.

    Raises:
        RegistryProtocolError: the realm is not allowed.
    """
    host = realm.origin.host
    check_elsewhere(realm, registry=registry, insecure=insecure)
    trusted = host in {registry.host, _TOKEN_HOSTS.get(registry.host)} | set(token_hosts)
    if with_credential and not trusted and not _is_above_or_below(host, registry.host):
        raise RegistryProtocolError(
            f"{registry} asks to show its credential to {realm.redacted}, a host it has nothing to do with",
            hint=f"if that is its token server, trust it: ANYARCH_TOKEN_HOSTS={registry.netloc}={host}",
        )


def _redacted(pair: str) -> str:
    key, mark, _ = pair.partition("=")
    if not mark:
        return "…"  # a value without a key
    return pair if key in _SHOWN_QUERY_KEYS else f"{key}=…"


def _plain_allowed(origin: Origin, registry: Origin, insecure: Collection[str]) -> bool:
    if registry.scheme != "http":
        return False
    both_here = is_loopback(registry.host) and is_loopback(origin.host)
    return both_here or origin.host == registry.host or bool({origin.host, origin.netloc} & set(insecure))


def _is_above_or_below(host: str, other: str) -> bool:
    """Whether one name is in the other's domain: who owns that, says what the names below it mean.

    Neighbours are nobody's: ``a.github.io`` and ``b.github.io`` have two owners, as have two names under
    ``co.uk`` or under a cloud's domain of any depth.
    """
    if _address(host) is not None or _address(other) is not None:
        return False
    shorter, longer = sorted((host, other), key=len)
    return "." in shorter and longer.endswith(f".{shorter}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return _embedded(address) if isinstance(address, ipaddress.IPv6Address) else address


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address inside a mapped, 6to4 or NAT64 one (CVE-2026-44430)."""
    if address in ipaddress.IPv6Network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_link_local(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_link_local


def _is_private(host: str) -> bool:
    """Whether this is ``localhost`` or an IP literal that is not of the public Internet."""
    address = _address(host)
    if address is not None:
        site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
        return not address.is_global or address.is_multicast or site_local
    # 127.1, 0x7f000001 and 2130706433 are addresses to the C library, though to nobody else.
    last = host.rpartition(".")[2]
    return host == "localhost" or host.endswith(".localhost") or last.isdigit() or last.startswith("0x")
