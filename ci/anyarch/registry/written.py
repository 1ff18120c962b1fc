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

_FRESH_SECONDS: Final = 5.0


@dataclass(slots=True)
class Written:
    """When which digests and tags were written; manifests and blobs are kept apart by their owners."""

    clock: Clock
    _at: dict[Digest | Tag, float] = field(default_factory=dict)

    def add(self, target: Digest | Tag) -> None:
        """Remember a successful write."""
        self._at[target] = self.clock.now()

    def forget(self, target: Digest | Tag) -> None:
        """Not there any more: from now on "not found" is the truth."""
        self._at.pop(target, None)

    def __contains__(self, target: Digest | Tag) -> bool:
        return self.clock.now() - self._at.get(target, float("-inf")) < _FRESH_SECONDS

    def excuse(self, target: Digest | Tag, error: NotFoundError) -> None:
        """Ask for another try if ``target`` was written just now.

        Raises:
            RetryableError: it was.
        """
        if target in self:
            raise RetryableError("not found, though it was written just now", final=error) from error
