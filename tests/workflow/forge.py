"""What a workflow run needs of the world: an engine for each runner, a registry with a password, tools."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anyarch.engine.native.build import installation

if TYPE_CHECKING:
    from collections.abc import Mapping

PIP_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Forge:
    """What a run uses: ``registry`` is ``host:port`` over plain HTTP, ``engines`` the URLs by slug."""

    registry: str
    username: str
    password: str = field(repr=False)
    engines: Mapping[str, str]

    @property
    def dagger(self) -> Path:
        return installation().dagger

    @property
    def uv(self) -> Path:
        return Path(sys.executable).with_name("uv")

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables that a runner would have from its image and its administrator."""
        engines = {f"STAND_IN_ENGINE_{slug.replace('-', '_')}": url for slug, url in self.engines.items()}
        return {"DAGGER_NO_NAG": "1", "DO_NOT_TRACK": "1", **engines, **uv_settings()}


def uv_settings() -> dict[str, str]:
    """How this machine's uv finds packages. uv reads no pip configuration; lab/setup.sh does the same."""
    environ = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
    environ.setdefault("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS, check=False)
    index = os.environ.get("PIP_INDEX_URL") or done.stdout.strip()
    if index and not environ.keys() & {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE"}:
        environ["UV_DEFAULT_INDEX"] = index
    certificate = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    return environ | ({"SSL_CERT_FILE": certificate} if certificate else {})
