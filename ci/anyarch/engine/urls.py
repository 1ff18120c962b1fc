"""Engine URLs: where a Dagger engine is, in the words of ``_EXPERIMENTAL_DAGGER_RUNNER_HOST``.

The schemes are those that a Dagger 0.21 client registers
(https://github.com/dagger/dagger/tree/v0.21.8/engine/client/drivers). An URL is checked before anything
is started with it: the client's own answer to a misspelt one comes late and names no alternative.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from anyarch.errors import UsageError

_SCHEMES: Final = frozenset(
    {"unix", "tcp", "tls", "ssh", "kube-pod", "dagger-cloud", "docker-image", "docker-container"}
    | {f"{kind}{tool}" for kind in ("image", "container") for tool in ("", "+docker", "+podman")}
    | {f"{kind}+{tool}" for kind in ("image", "container") for tool in ("apple", "finch", "nerdctl")}
)
_URL: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<address>[^\s\x00-\x1f\x7f]*)", re.ASCII)
_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})", re.ASCII)
_EXAMPLES: Final = (
    "for example unix:///run/dagger/engine.sock, tcp://arm.example.com:1234 or ssh://ci@arm.example.com"
)
_PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class EngineUrl:
    """``scheme://address`` of one engine."""

    scheme: str
    address: str

    @property
    def socket_path(self) -> str:
        """The path of a ``unix://`` engine's socket."""
        return self.address

    @property
    def host_port(self) -> tuple[str, int]:
        """Host (without brackets) and port of a ``tcp://`` or ``tls://`` engine."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def provisions(self) -> bool:
        """Whether the client itself creates this engine (``image://…``), which can take minutes."""
        return self.scheme in {"docker-image", "dagger-cloud"} or self.scheme.partition("+")[0] == "image"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}"


def parse_engine_url(text: str) -> EngineUrl:
    """Read an engine's URL as a user types it.

    Raises:
        UsageError: no scheme, one that Dagger does not know, or an address that cannot be one.
    """
    match = _URL.fullmatch(text)
    if match is None:
        hint = f"did you mean unix://{text}?" if text.startswith("/") else _EXAMPLES
        raise UsageError(f"{_shown(text)!r} is not an engine URL", hint=hint)
    scheme, address = match["scheme"], match["address"]
    if scheme not in _SCHEMES:
        raise UsageError(f"engine URL {_shown(text)!r}: no scheme {scheme!r}", hint=_near(scheme))
    complaint = _complaint(scheme, address)
    if complaint:
        raise UsageError(f"engine URL {_shown(text)!r}: {complaint}", hint=_EXAMPLES)
    return EngineUrl(scheme, address)


def _complaint(scheme: str, address: str) -> str:
    """What is wrong with the address; empty if nothing is."""
    userinfo = address.partition("/")[0].rpartition("@")[0]
    if ":" in userinfo:
        return "it holds a password; use a key or an agent instead"
    if scheme == "unix" and not address.startswith("/"):
        return "the path of the socket must be absolute (three slashes)"
    if scheme in {"tcp", "tls"}:
        match = _HOST_PORT.fullmatch(address)
        if match is None or not 0 < int(match["port"]) <= _PORT_MAX:
            return "expected host:port"
    if not address and scheme != "dagger-cloud":
        return "nothing follows the scheme"
    return ""


def _shown(text: str) -> str:
    """The URL for a message, without a password."""
    return re.sub(r"//[^/@\s]*:[^/@\s]*@", "//…@", text)[:160]


def _near(scheme: str) -> str:
    import difflib  # noqa: PLC0415  only a mistake needs it

    if scheme.startswith("podman"):
        return "Podman's scheme is container+podman://NAME or image+podman://REFERENCE"
    near = difflib.get_close_matches(scheme, sorted(_SCHEMES), n=1)
    return f"did you mean {near[0]}://?" if near else f"known: {', '.join(sorted(_SCHEMES))}"
