"""What this process wrote a moment ago: a registry's replicas may not all know it yet.

Nexus, for one, answers "not found" right after a push (estesp/manifest-tool#191). That is worth another
try only just after our own writes; at any other time "not found" is the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from anyarch.registry.retry import Clock, RetryableError

if TYPE_CHECKING:
    from anyarch.errors import NotFoundError
    from anyarch.oci.digest import Digest
    from anyarch.oci.reference import Tag

_FRESH_SECONDS: Final = 10.0


@dataclass(slots=True)
class Written:
    """When which digests and tags were written."""

    clock: Clock
    _at: dict[Digest | Tag, float] = field(default_factory=dict)

    def add(self, target: Digest | Tag) -> None:
        """Remember a successful write."""
        self._at[target] = self.clock.now()

    def excuse(self, target: Digest | Tag, error: NotFoundError) -> None:
        """Ask for another try if ``target`` was written just now.

        Raises:
            RetryableError: it was.
        """
        written_at = self._at.get(target)
        if written_at is not None and self.clock.now() - written_at < _FRESH_SECONDS:
            raise RetryableError("not found, though it was written just now", final=error) from error

    def excuse_any(self, error: NotFoundError) -> None:
        """As ``excuse``, where the answer does not say what is missing.

        Raises:
            RetryableError: something was written just now.
        """
        for target in self._at:
            self.excuse(target, error)
