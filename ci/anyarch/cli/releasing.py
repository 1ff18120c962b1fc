"""A whole run, from engines that answer to tags that stand."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from shlex import join
from typing import TYPE_CHECKING

from anyarch.cli import recordfiles, summary
from anyarch.cli.engines import ready
from anyarch.cli.legs import Leg, State, build_all
from anyarch.cli.merge import default_tags
from anyarch.cli.output import note
from anyarch.cli.progress import display
from anyarch.engine.call import BuildCall, Layout, Publish
from anyarch.engine.locate import find_module
from anyarch.errors import AuthenticationError, FileProblemError, PartialBuildError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.stores import open_store
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.matrix import build_arguments
from anyarch.release.parallel import both
from anyarch.release.publish import merge
from anyarch.release.record import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from anyarch.cli.engines import Engines
    from anyarch.cli.project import Project
    from anyarch.errors import AnyarchError
    from anyarch.oci.platforms import Platform
    from anyarch.oci.store import Store
    from anyarch.registry.credentials import Credential
    from anyarch.release.plan import Plan, PlannedPlatform
    from anyarch.release.publish import Release
    from anyarch.release.record import Record


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a run is asked for.

    Args:
        project: The application.
        plan: The set that the index must hold.
        now: The platforms of it to build in this run.
        engines: ``--engine``.
        records: Where records are kept.
        insecure: Registries without TLS.
        credential: What the environment gives for the destination; None: what ``docker login`` left.
        timeout_seconds: For each platform.
        again: The command that repeats this run, without its ``--platform`` and ``--engine``.
    """

    project: Project
    plan: Plan
    now: Sequence[PlannedPlatform]
    engines: Mapping[Platform, str]
    records: Path
    insecure: Sequence[str]
    credential: Credential | None
    timeout_seconds: float
    again: Sequence[str]

    @property
    def is_layout(self) -> bool:
        """Whether the destination is a directory and not a registry."""
        return self.plan.destination.startswith(LAYOUT_PREFIX)

    def redo(self, platforms: Sequence[Platform]) -> str:
        """The command that builds just these platforms."""
        engines = [f"--engine={each}={self.engines[each]}" for each in platforms if each in self.engines]
        return join([*self.again, *(f"--platform={platform}" for platform in platforms), *engines])


@dataclass(frozen=True)
class Result:
    """What a run achieved; ``failed`` are optional platforms."""

    release: Release
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
        return [*summary.lines(self.release, built=self.built, insecure=self.insecure), *warnings]

    def document(self) -> dict[str, object]:
        """For programs."""
        failed = [
            {"platform": str(platform), "error": type(error).__name__, "message": error.what}
            for platform, error in self.failed.items()
        ]
        found = summary.document(self.release, built=self.built, insecure=self.insecure)
        return {**found, "plan": str(self.plan.digest), "failed": failed}


@dataclass
class Run:
    """One run. ``kept`` can be asked at any time, also after it was interrupted."""

    order: Order
    legs: list[Leg] = field(default_factory=list)
    merging: bool = False

    def kept(self) -> str:
        """What an interrupted run leaves behind."""
        if self.merging:
            return "interrupted while merging: every tag points at something complete; run it again to finish"
        done = [str(leg.planned.platform) for leg in self.legs if leg.state is State.DONE]
        kept = f"kept: {', '.join(done)}" if done else "no platform was finished"
        return f"interrupted: nothing was tagged; {kept}. The engines keep what they built: run it again"

    async def carry_out(self) -> Result:
        """Do it all.

        Raises:
            AnyarchError: nothing was tagged, or the message says which tags were.
        """
        order = self.order
        store = open_store(order.plan.destination, insecure=order.insecure, credential=order.credential)
        with _alone(order.project.work / "lock"):
            async with store:
                tags = tuple(map(Tag, order.plan.tags)) or default_tags(order.plan.destination)
                engines = await self._prepare(store, tags)
                self.legs = self._legs(engines)
                async with display(self.legs) as shown:
                    await build_all(
                        self.legs,
                        plan=order.plan,
                        store=store,
                        on_line=shown.on_line,
                        on_state=shown.on_state,
                    )
                failed = self._check()
                records = self._records()
                self.merging = True
                release = await merge(store, records, plan=order.plan, tags=tags)
        built = {
            leg.planned.platform: summary.Built(leg.engine, leg.seconds)
            for leg in self.legs
            if leg.state is State.DONE
        }
        return Result(release, order.plan, built, failed, order.insecure)

    async def _prepare(self, store: Store, tags: Sequence[Tag]) -> Engines:
        """Find out what is wrong before anything is built: engines, registry, credentials."""
        order = self.order

        async def engines() -> Engines:
            return await ready(order.now, flags=order.engines, insecure=order.insecure)

        async def registry() -> None:
            await store.head(tags[0] if tags else Tag("latest"))

        answered, _ = await both(engines, registry)
        return answered

    def _legs(self, engines: Engines) -> list[Leg]:
        order, module = self.order, find_module(os.environ)
        credential = None if order.is_layout else _credential(order)
        legs = []
        for planned in order.now:
            platform, slug = planned.platform, planned.platform.slug
            choice, scratch = engines.choices[platform], order.project.work / "tmp" / slug
            leg = Leg(planned, str(choice), None, order.records / f"{slug}.json", scratch)
            if platform in engines.unreachable:
                leg.error, leg.state = engines.unreachable[platform], State.FAILED
                note(f"{platform} is optional and left out: {leg.error.what}")
            else:
                leg.call = BuildCall(
                    dagger=engines.dagger,
                    module=module,
                    engine=choice.url,
                    source=order.project.context,
                    platform=platform,
                    arguments=tuple(build_arguments(order.plan, platform)),
                    exclude=order.project.excluded(order.plan.destination),
                    ending=self._ending(scratch, credential),
                    log=order.project.work / "logs" / f"{slug}.log",
                    deadline_seconds=order.timeout_seconds,
                )
            legs.append(leg)
        return legs

    def _ending(self, scratch: Path, credential: Credential | None) -> Publish | Layout:
        if self.order.is_layout:
            return Layout(path=scratch.absolute() / "layout")
        destination = self.order.plan.destination
        return Publish(
            repository=destination,
            record=scratch.absolute() / "record.json",
            username=credential.username if credential else "",
            password=credential.password if credential else "",
            insecure=Repository.parse(destination).host in self.order.insecure,
        )

    def _check(self) -> dict[Platform, AnyarchError]:
        """Refuse to go on without a required platform; return what is wrong with optional ones.

        Raises:
            PartialBuildError: one or more required platforms failed, and others did not.
            AnyarchError: all failed for one kind of reason; the error itself says more.
        """
        failed = [leg for leg in self.legs if leg.error is not None]
        required = [leg for leg in failed if leg.planned.required]
        if not required:
            return {leg.planned.platform: leg.error for leg in failed if leg.error is not None}
        errors = [leg.error for leg in required if leg.error is not None]
        platforms = [leg.planned.platform for leg in required]
        if len(required) == len(self.legs) and len({type(error) for error in errors}) == 1:
            raise _for_all(errors, platforms)
        built = ", ".join(str(leg.planned.platform) for leg in self.legs if leg.state is State.DONE)
        raise PartialBuildError(
            f"{len(required)} of {len(self.legs)} platforms failed; nothing was merged or tagged"
            + (f"; kept: {built}" if built else ""),
            offenders=[_offender(leg) for leg in required],
            hint=f"build just what failed: {self.order.redo(platforms)}",
            failed=[str(platform) for platform in platforms],
            logs=[leg.log for leg in required],
            causes=[type(error).__name__ for error in errors],
        )

    def _records(self) -> tuple[Record, ...]:
        """The records of this run, and those that earlier ones left for the other platforms.

        Raises:
            PartialBuildError: a required platform was not built yet.
        """
        order = self.order
        fresh = {leg.planned.platform: leg.record for leg in self.legs if leg.record is not None}
        kept, absent = {}, []
        now = {each.platform for each in order.now}
        for planned in order.plan.platforms:
            path = order.records / f"{planned.platform.slug}.json"
            if planned.platform in now:
                continue
            raw = recordfiles.read_file(path)
            if raw is not None:
                kept[path.name] = raw
            elif planned.required:
                absent.append(planned.platform)
        if absent:
            raise PartialBuildError(
                f"nothing was merged or tagged: {len(absent)} planned platforms were never built",
                offenders=[f"{platform}: there is no record of it in {order.records}" for platform in absent],
                hint=f"build them: {order.redo(absent)}",
            )
        earlier = read_records(kept) if kept else ()
        return (*fresh.values(), *earlier)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one run at a time work in a folder: two would overwrite each other's records."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FileProblemError(
                f"another anyarch run is at work in {path.parent}",
                hint="wait for it, or run in a checkout of your own",
                path=str(path),
            ) from error
        yield


def _credential(order: Order) -> Credential | None:
    """What the engine pushes with: it has no configuration of Docker's to look into."""
    from anyarch.registry.credentials import credential_for  # noqa: PLC0415  layouts need none

    host = Repository.parse(order.plan.destination).host
    found = order.credential or credential_for(host)
    if found is not None and not found.password:
        raise AuthenticationError(
            f"docker login left an identity token for {host}, and an engine can only push with a password",
            hint="set ANYARCH_REGISTRY_USERNAME and ANYARCH_REGISTRY_PASSWORD",
            registry=host,
        )
    return found


def _offender(leg: Leg) -> str:
    first, *rest = str(leg.error.what if leg.error else "").splitlines()
    log = [f"log: {leg.log}"] if leg.log else []
    return "\n".join([first, *(f"    {line}" for line in [*rest, *log])])


def _for_all(errors: Sequence[AnyarchError], platforms: Sequence[Platform]) -> AnyarchError:
    """One error for all platforms, because it is one trouble."""
    first = errors[0]
    if len(errors) == 1:
        return first
    others = ", ".join(map(str, platforms[1:]))
    hint = f"{first.hint}; " if first.hint else ""
    kind = type(first)
    return kind(first.what, hint=f"{hint}the same kind of failure for {others}", **first.facts)
