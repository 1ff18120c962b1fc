"""Running a command in every platform's image of a release that was just verified, each on its engine."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anyarch.cli.engines import ready
from anyarch.cli.legs import Stage, State, side_by_side
from anyarch.cli.progress import display
from anyarch.cli.project import Project
from anyarch.engine.call import carry_out
from anyarch.engine.locate import find_module
from anyarch.engine.trial import TrialCall
from anyarch.errors import CannotRunError, ContentError, UsageError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.urls import Origin, is_loopback
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.plan import PlannedPlatform
from anyarch.release.trial import TRIAL_MAX_BYTES, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anyarch.cli.access import Access
    from anyarch.cli.engines import Engines
    from anyarch.oci.digest import Digest
    from anyarch.oci.platforms import Platform
    from anyarch.registry.credential import Credential
    from anyarch.release.verify import Verification

_TAG = Tag("trial")


@dataclass(frozen=True, kw_only=True)
class TrialOrder:
    """What is to be run.

    Args:
        command: Its words, quoted as for a shell; empty: each image's own.
        entrypoint: In place of the images' own, empty for none; None keeps theirs.
        engines: ``--engine``.
        access: The way to the registry.
        timeout_seconds: For each platform, the pull included.
    """

    command: str
    entrypoint: str | None
    engines: Mapping[Platform, str]
    access: Access
    timeout_seconds: float


@dataclass
class TrialLeg(Stage):
    """One platform's image and what its command said; ``error`` where it was not run to its end."""

    digest: Digest
    trial: Trial | None = field(default=None, kw_only=True)

    @property
    def passed(self) -> bool:
        """Whether the command ran and ended with 0."""
        return self.trial is not None and self.trial.exit_code == 0


@dataclass
class Trials:
    """The trials of one release. ``kept`` can be asked at any time, also after an interruption."""

    found: Verification
    order: TrialOrder
    legs: list[TrialLeg] = field(default_factory=list)

    def kept(self) -> str:
        """What an interruption leaves behind."""
        done = [str(leg.planned.platform) for leg in self.legs if leg.state is State.DONE]
        return f"interrupted: it was verified, and run for {', '.join(done) or 'no platform'}"

    async def carry_out(self) -> list[TrialLeg]:
        """Run every platform's image to its end; one that fails stops no other.

        Raises:
            UsageError: an engine for a platform that is not there.
            EngineStartError: the native engine does not come up.
            MissingToolError: no Dagger client, or what the native engine needs.
        """
        engines = await self._engines()
        account = await self._account()
        self.legs = [self._leg(planned, engines, digest) for planned, digest in self._planned()]
        with _scratch(self.legs) as scratch:
            async with display(self.legs) as shown:

                async def one(leg: TrialLeg) -> None:
                    leg.state = State.RUNNING
                    shown.on_state(leg)
                    call = await self._call(leg, engines, account, scratch / leg.planned.platform.slug)
                    await carry_out(call, on_line=lambda line: shown.on_line(leg, line))
                    leg.trial = _read(call)

                able = [leg for leg in self.legs if leg.error is None]
                await side_by_side(able, one, on_state=shown.on_state)
        return self.legs

    async def _engines(self) -> Engines:
        planned = [each for each, _ in self._planned()]
        there = {each.platform for each in planned}
        strange = [str(platform) for platform in self.order.engines if platform not in there]
        if strange:
            raise UsageError(
                f"--engine names {', '.join(strange)}, which is not in it",
                hint=f"it holds {', '.join(map(str, there))}",
            )
        linux = [each for each in planned if each.platform.os == "linux"]
        return await ready(linux, flags=self.order.engines, insecure=self.order.access.insecure)

    def _planned(self) -> list[tuple[PlannedPlatform, Digest]]:
        """Each platform with the engine that anyarch.toml names for it. None is required: all are told."""
        configured = {each.platform: each.engine for each in Project.load(Path()).config.platforms}
        return [
            (
                PlannedPlatform(
                    platform=child.platform, engine=configured.get(child.platform), required=False
                ),
                child.digest,
            )
            for child in self.found.children
        ]

    def _leg(self, planned: PlannedPlatform, engines: Engines, digest: Digest) -> TrialLeg:
        platform = planned.platform
        choice = engines.choices.get(platform)
        leg = TrialLeg(planned, str(choice or "none"), digest)
        if choice is None:
            leg.error = CannotRunError(f"{platform}: engines run images for linux only")
        else:
            leg.error = engines.unreachable.get(platform)
        if leg.error is not None:
            leg.state = State.FAILED
        return leg

    @property
    def _unreached(self) -> bool:
        """Whether no engine can reach the images: a directory here, or a registry of this machine's own."""
        where = self.found.repository
        if where.startswith(LAYOUT_PREFIX):
            return True
        return is_loopback(Origin.of_registry(Repository.parse(where).host).host)

    async def _call(
        self, leg: TrialLeg, engines: Engines, account: Credential | None, folder: Path
    ) -> TrialCall:
        where = self.found.repository
        fetched = await self._fetched(leg, folder / "layout") if self._unreached else None
        return TrialCall(
            dagger=engines.dagger,
            module=find_module(os.environ),
            engine=engines.choices[leg.planned.platform].url,
            platform=leg.planned.platform,
            image=fetched or f"{where}@{leg.digest}",
            command=self.order.command,
            entrypoint=self.order.entrypoint,
            result=folder / "trial.json",
            repository="" if fetched else where,
            username=account.username if account else "",
            password=account.password if account else "",
            log=folder / "log",
            deadline_seconds=self.order.timeout_seconds,
        )

    async def _fetched(self, leg: TrialLeg, folder: Path) -> Path:
        """The image as a layout of its own, for an engine that cannot reach where it is."""
        from anyarch.registry.copy import copy_image  # noqa: PLC0415  registries need no copy
        from anyarch.registry.layout import LayoutStore  # noqa: PLC0415

        target = LayoutStore(folder)
        async with self.order.access.open(self.found.repository) as store:
            await target.put(_TAG, await copy_image(store, target, leg.digest))
        return folder

    async def _account(self) -> Credential | None:
        """What an engine pulls with. Identity tokens are left to the Dagger client, which reads them too."""
        if self._unreached:
            return None
        found = await self.order.access.account(self.found.repository)
        return found if found is not None and found.password else None


@contextmanager
def _scratch(legs: Sequence[TrialLeg]) -> Iterator[Path]:
    """A folder with one for each platform. Where a message may name a log in it, the logs stay."""
    folder = Path(tempfile.mkdtemp(prefix="anyarch-trial-"))
    for leg in legs:
        (folder / leg.planned.platform.slug).mkdir()
    try:
        yield folder
    finally:
        wanted = [leg for leg in legs if leg.state is State.FAILED and leg.began is not None]
        for leg in legs:
            kept = folder / leg.planned.platform.slug
            shutil.rmtree(kept / "layout" if leg in wanted else kept, ignore_errors=True)
        if not wanted:
            shutil.rmtree(folder, ignore_errors=True)


def _read(call: TrialCall) -> Trial:
    """What the engine handed over."""
    try:
        with call.result.open("rb") as file:
            raw = file.read(TRIAL_MAX_BYTES + 1)
    except OSError as error:
        raise ContentError(
            f"{call.platform}: the engine left no result: {error.strerror}", hint=f"see {call.log}"
        ) from error
    return Trial.from_json(raw, subject=str(call.platform))
