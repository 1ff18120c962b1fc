"""What an engine is started with."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from anyarch.engine.native.emulation import default_emulation
from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.oci.platforms import Platform

START_SECONDS: Final = 120.0
# Dagger's own limit is 20 % of the disk free: on a fuller one it throws away every layer after each session,
# also one that the next session has just begun to use.
_GC: Final = {"maxUsedSpace": "75%", "reservedSpace": "10GB", "minFreeSpace": "5%"}
# What the engine inherits of its starter's environment; a caller's tokens are none of a daemon's business.
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_INHERITED: Final = (*_PROXIES, *map(str.lower, _PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """How to start an engine.

    Args:
        insecure_registries: ``host:port`` of registries that speak HTTP without TLS.
        mirrors: registry host → URL of a registry to ask first, such as ``{"docker.io": "http://10.87.1.2:5000"}``.
        emulate: Platforms to run under QEMU besides those that the machine runs by itself.
        python_sdk: Whether modules with ``"sdk": "python"`` run offline; makes an image once (about 15 s).
        deadline_seconds: For the engine to answer, once it is compiled.
    """

    insecure_registries: tuple[str, ...] = ()
    mirrors: Mapping[str, str] = field(default_factory=dict)
    emulate: tuple[Platform, ...] = field(default_factory=default_emulation)
    python_sdk: bool = True
    deadline_seconds: float = START_SECONDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "insecure_registries", tuple(sorted(set(self.insecure_registries))))
        object.__setattr__(self, "mirrors", MappingProxyType(dict(sorted(self.mirrors.items()))))
        for host, url in self.mirrors.items():
            if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc or not host:
                raise UsageError(
                    f"{host}={url} is not a mirror",
                    hint="for example --mirror docker.io=http://10.87.1.2:5000",
                )


def engine_config(options: UpOptions) -> str:
    """The engine's ``engine.json``; it refuses keys that it does not know."""
    registries: dict[str, dict[str, object]] = {}
    plain = {urlsplit(url).netloc for url in options.mirrors.values() if url.startswith("http://")}
    for host in sorted({*options.insecure_registries, *plain}):
        registries[host] = {"http": True}
    for host, url in options.mirrors.items():
        registries.setdefault(host, {})["mirrors"] = [url]
    return json.dumps({"logLevel": "info", "gc": _GC, "registries": registries}, indent=2) + "\n"


def inherited_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The part of our environment that an engine needs."""
    return {name: environ[name] for name in _INHERITED if environ.get(name)}


def digest(**parts: object) -> str:
    """One word for everything an engine was started with; another word means a restart."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
