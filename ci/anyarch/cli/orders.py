"""What a run is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import join
from typing import TYPE_CHECKING

from anyarch.cli import summary
from anyarch.cli.destinations import goals
from anyarch.oci.reference import Tag
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.plan import DEFAULT_PLATFORMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anyarch.cli.access import Access
    from anyarch.cli.project import Project
    from anyarch.errors import AnyarchError
    from anyarch.oci.platforms import Platform
    from anyarch.release.assemble import Assembly
    from anyarch.release.plan import Plan, PlannedPlatform


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a run is asked for.

    Args:
        project: The application.
        plan: The set that the index must hold.
        now: The platforms of it to build in this run.
        engines: ``--engine``.
        records: Where records are kept.
        access: The way to registries.
        force: Whether tags move even from a newer CI run's release.
        timeout_seconds: For each platform.
        again: The command that repeats this run, without its ``--platform`` and ``--engine``.
    """

    project: Project
    plan: Plan
    now: Sequence[PlannedPlatform]
    engines: Mapping[Platform, str]
    records: Path
    access: Access
    force: bool
    timeout_seconds: float
    again: Sequence[str]

    @property
    def goals(self) -> Mapping[str, Sequence[Tag]]:
        """The destinations, and the tags of each."""
        return goals(self.plan.destinations, tuple(map(Tag, self.plan.tags)))

    @property
    def is_layout(self) -> bool:
        """Whether builds go to a directory and not to a registry."""
        return self.plan.destination.startswith(LAYOUT_PREFIX)

    def redo(self, platforms: Sequence[Platform]) -> str:
        """The command that builds just these platforms."""
        return self._repeated(platforms, platforms)

    def anew(self) -> str:
        """The command that builds all platforms of the plan; where nothing else names them, it does."""
        platforms = [each.platform for each in self.plan.platforms]
        known = self.project.config.platforms or set(platforms) == set(DEFAULT_PLATFORMS)
        return self._repeated([] if known else platforms, platforms)

    def _repeated(self, named: Sequence[Platform], built: Sequence[Platform]) -> str:
        engines = [f"--engine={each}={self.engines[each]}" for each in built if each in self.engines]
        return join([*self.again, *(f"--platform={platform}" for platform in named), *engines])


@dataclass(frozen=True)
class Result:
    """What a run achieved; ``failed`` are optional platforms."""

    done: Assembly
    plan: Plan
    built: Mapping[Platform, summary.Built]
    failed: Mapping[Platform, AnyarchError]
    insecure: Sequence[str]

    def lines(self) -> list[str]:
        """For people."""
        warnings = [
            f"warning  {platform} is optional and failed: {error.what.splitlines()[0]}"
            for platform, error in self.failed.items()
        ]
        return [*summary.lines(self.done, built=self.built, insecure=self.insecure), *warnings]

    def document(self) -> dict[str, object]:
        """For programs."""
        failed = [
            {"platform": str(platform), "error": type(error).__name__, "message": error.what}
            for platform, error in self.failed.items()
        ]
        found = summary.document(self.done, built=self.built, insecure=self.insecure)
        return {**found, "plan": str(self.plan.digest), "failed": failed}
