"""Which engine serves a platform: decided from facts, looking at nothing."""  # noqa: A005  imported by its full name only

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from anyarch.engine.urls import EngineUrl, parse_engine_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.oci.platforms import Platform

RUNNER_HOST: Final = "_EXPERIMENTAL_DAGGER_RUNNER_HOST"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and who chose it.

    ``url`` is None where there is nothing to connect to yet: with ``native`` false the Dagger client
    provisions its own engine in Docker or Podman, with ``native`` true the native one must be started.
    """

    url: EngineUrl | None
    why: str
    native: bool = False

    def __str__(self) -> str:
        if self.url is not None:
            return str(self.url)
        return "native" if self.native else "Docker"


def choose(
    platform: Platform,
    *,
    flag: Mapping[Platform, str],
    configured: str | None,
    environ: Mapping[str, str],
    docker_available: bool,
    native: str | None,
) -> Choice:
    """The engine for ``platform``: flag, then file, then environment, then Docker, then native.

    Args:
        platform: The platform to be built.
        flag: What ``--engine P=URL`` said.
        configured: The ``engine`` of the platform in anyarch.toml.
        environ: The environment; only Dagger's runner host is read.
        docker_available: Whether a Docker or Podman answers here, so that Dagger can provision.
        native: URL of the native engine, or None while it is not up.

    Raises:
        UsageError: a URL that cannot be one.
    """
    said = (
        (flag.get(platform), "--engine"),
        (configured, "anyarch.toml"),
        (environ.get(RUNNER_HOST), RUNNER_HOST),
    )
    for url, why in said:
        if url:
            return Choice(parse_engine_url(url), why)
    if docker_available:
        return Choice(None, "Docker or Podman is running")
    return Choice(parse_engine_url(native) if native else None, "nothing else configured", native=True)
