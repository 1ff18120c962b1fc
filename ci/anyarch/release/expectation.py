"""What the children of an index are held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyarch.errors import UsageError
from anyarch.release.config import CONFIG_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.platforms import Platform
    from anyarch.release.plan import Plan, PlannedPlatform


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What the children are held against.

    ``platforms`` None: whatever the records name. Without a plan the records must agree with one another
    on plan and revision, unless ``mixed`` allows that they do not. ``annotations`` are the index's.
    """

    repository: str
    platforms: Sequence[PlannedPlatform] | None = None
    has_plan: bool = False
    destination: str | None = None
    plan_digest: Digest | None = None
    revision: str | None = None
    mixed: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def configured(self) -> bool:
        """Whether anyarch.toml named the platforms, and no plan."""
        return not self.has_plan and any(each.why == CONFIG_NAME for each in self.platforms or ())

    @classmethod
    def of(
        cls,
        repository: str,
        *,
        plan: Plan | None = None,
        platforms: Sequence[PlannedPlatform] | None = None,
        mixed: bool = False,
        annotations: Mapping[str, str] | None = None,
    ) -> Expectation:
        """What a plan expects, or without one a set of platforms, and annotations for the index.

        Raises:
            UsageError: both are given and name different platforms.
        """
        if plan is None:
            return cls(repository=repository, platforms=platforms, mixed=mixed, annotations=annotations or {})
        planned = {each.platform for each in plan.platforms}
        named = planned if platforms is None else {each.platform for each in platforms}
        if named != planned:
            raise UsageError(
                f"the plan names {_listed(planned)}, --platform {_listed(named)}",
                hint="leave --platform away: the plan says what belongs into the index",
            )
        return cls(
            repository=repository,
            platforms=plan.platforms,
            has_plan=True,
            destination=plan.destination,
            plan_digest=plan.digest,
            revision=plan.revision,
            annotations=plan.build.annotations,
        )


def _listed(platforms: Iterable[Platform]) -> str:
    return ", ".join(sorted(map(str, platforms)))
