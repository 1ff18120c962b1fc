"""Where a native engine keeps what: a cache that stays, a runtime folder that ``down`` removes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyarch.errors import UsageError

RUNTIME: Final = Path("/run/anyarch")
RECORD: Final = "engine.json"
LOG: Final = "engine.log"
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
_RESERVED: Final = frozenset({"networks"})


def cache_folder() -> Path:
    """The folder outside every work tree: ``$ANYARCH_CACHE``, else ``anyarch`` in the user's cache."""
    chosen = os.environ.get("ANYARCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen).absolute() if chosen else Path(base) / "anyarch"


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one engine.

    Raises:
        UsageError: the name cannot be part of a path.
    """

    name: str
    cache: Path

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None or self.name in _RESERVED:
            raise UsageError(
                f"{self.name[:80]!r} cannot be an engine's name",
                hint="small letters, digits and hyphens, at most 32: for example arm64-a",
            )

    @classmethod
    def of(cls, name: str) -> Places:
        """The places of the engine ``name`` under the user's cache."""
        return cls(name, cache_folder())

    @property
    def runtime(self) -> Path:
        """Socket, record and lock; gone after ``down``."""
        return RUNTIME / self.name

    @property
    def socket(self) -> Path:
        """Where clients connect."""
        return self.runtime / "engine.sock"

    @property
    def url(self) -> str:
        """The runner-host URL that clients use."""
        return f"unix://{self.socket}"

    @property
    def record(self) -> Path:
        """What is running, for the next ``up``, ``down`` and ``status``."""
        return self.runtime / RECORD

    @property
    def scratch(self) -> Path:
        """Where the engine's private file system is mounted, in its own namespace only."""
        return self.runtime / "private"

    @property
    def state(self) -> Path:
        """What stays between runs: ``root`` is the engine's own, the rest is ours."""
        return self.cache / "engine" / "state" / self.name

    @property
    def root(self) -> Path:
        """The engine's state directory: layers and cache."""
        return self.state / "root"

    @property
    def log(self) -> Path:
        """What the engine says; kept when it stops."""
        return self.state / LOG
