"""A whole run, from engines that answer to tags that stand."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from anyarch.cli import bases, journals, recordfiles, summary
from anyarch.cli.access import check_destination, engine_credential, renewal
from anyarch.cli.engines import ready
from anyarch.cli.legs import Leg, State, build_all
from anyarch.cli.merge import assembled, ci_run
from anyarch.cli.orders import Result
from anyarch.cli.output import note
from anyarch.cli.progress import display
from anyarch.cli.shortfall import check
from anyarch.engine.call import BuildCall
from anyarch.engine.ending import Layout, Publish
from anyarch.engine.locate import find_module
from anyarch.errors import FileProblemError, PartialBuildError, PlanMismatchError
from anyarch.oci.reference import Repository
from anyarch.release.assemble import Destination
from anyarch.release.assemble import Order as Merge
from anyarch.release.ledger import Mover
from anyarch.release.matrix import build_arguments
from anyarch.release.parallel import both, in_parallel
from anyarch.release.record_files import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from anyarch.cli.engines import Engines
    from anyarch.cli.journals import Journals
    from anyarch.cli.orders import Order
    from anyarch.oci.store import Store
    from anyarch.registry.credential import Credential
    from anyarch.release.assemble import Assembly
    from anyarch.release.plan import Plan
    from anyarch.release.record import Record


@dataclass
class Run:
    """One run. ``kept`` can be asked at any time, also after it was interrupted."""

    order: Order
    legs: list[Leg] = field(default_factory=list)
    merging: bool = False
    journals: Journals | None = None

    def kept(self) -> str:
        """What an interrupted run leaves behind."""
        if self.merging:
            return self.journals.kept() if self.journals else "interrupted while merging"
        done = [str(leg.planned.platform) for leg in self.legs if leg.state is State.DONE]
        kept = f"kept: {', '.join(done)}" if done else "no platform was finished"
        return f"interrupted: nothing was tagged; {kept}. The engines keep what they built: run it again"

    def stop(self) -> None:
        """Begin no more writes: an interruption has come."""
        if self.journals:
            self.journals.stop()

    async def carry_out(self) -> Result:
        """Do it all.

        Raises:
            AnyarchError: nothing was tagged, or the message says which tags were.
        """
        order, plan = self.order, self.order.plan
        with (
            _alone(order.project.work / "lock"),
            journals.begin_all("run", order.goals) as self.journals,
        ):
            kept = self._kept()
            async with order.access.open_all(plan.destination, plan.also) as stores:
                engines = await self._prepare(stores)
                async with bases.shown(order) as docker_config:
                    self.legs = self._legs(engines, await engine_credential(order), docker_config)
                    await self._build(stores[plan.destination])
                failed = check(self.legs, order)
                records = self._records(kept)
                self.merging = True
                done = await self._merge(stores, records, self.journals)
        built = {
            leg.planned.platform: summary.Built(leg.engine, leg.seconds)
            for leg in self.legs
            if leg.state is State.DONE
        }
        return Result(done, plan, built, failed, order.access.insecure)

    async def _build(self, store: Store) -> None:
        async with display(self.legs) as shown:
            await build_all(
                self.legs,
                plan=self.order.plan,
                store=store,
                on_line=shown.on_line,
                on_state=shown.on_state,
            )

    async def _prepare(self, stores: Mapping[str, Store]) -> Engines:
        """Find out what is wrong before anything is built: engines, registries, credentials."""
        order = self.order

        async def engines() -> Engines:
            return await ready(order.now, flags=order.engines, insecure=order.access.insecure)

        async def registry(name: str) -> None:
            if await check_destination(stores[name], name, order.access):
                note(f"created {name}")

        async def registries() -> None:
            await in_parallel([partial(registry, name) for name in stores])

        answered, _ = await both(engines, registries)
        return answered

    async def _merge(
        self, stores: Mapping[str, Store], records: Sequence[Record], notes: Journals
    ) -> Assembly:
        """Merge, bring to the other destinations, and tag: as ``anyarch merge`` does."""
        order = self.order
        places = [
            Destination(store=notes.over(name, stores[name]), tags=tags) for name, tags in order.goals.items()
        ]
        mover = Mover(run=ci_run(os.environ), force=order.force)
        return await assembled(places, Merge(records=records, plan=order.plan, mover=mover), order.access)

    def _legs(self, engines: Engines, credential: Credential | None, docker_config: Path | None) -> list[Leg]:
        order, module = self.order, find_module(os.environ)
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
                    exclude=order.project.excluded(order.plan.destinations, order.records),
                    ending=self._ending(scratch, credential),
                    log=order.project.work / "logs" / f"{slug}.log",
                    deadline_seconds=order.timeout_seconds,
                    docker_config=docker_config,
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
            renewal=renewal(self.order) if credential else (),
            insecure=Repository.parse(destination).host in self.order.access.insecure,
        )

    def _kept(self) -> tuple[Record, ...]:
        """The records that earlier runs left for the platforms that this one does not build.

        Raises:
            RecordError: a file is no record.
            PlanMismatchError: some are of another plan, so that what is built now could not join them.
        """
        order = self.order
        now = {each.platform for each in order.now}
        files = {}
        for planned in order.plan.platforms:
            path = order.records / f"{planned.platform.slug}.json"
            raw = None if planned.platform in now else recordfiles.read_file(path)
            if raw is not None:
                files[path.name] = raw
        records = read_records(files) if files else ()
        if others := [record for record in records if record.plan != order.plan.digest]:
            raise PlanMismatchError(
                "nothing was built: earlier records are of other sources or settings than are here now",
                offenders=[_differs(record, order.plan) for record in others],
                hint=f"build all of them anew: {order.anew()}",
            )
        return records

    def _records(self, kept: Sequence[Record]) -> tuple[Record, ...]:
        """The records of this run and those kept.

        Raises:
            PartialBuildError: a required platform was not built yet.
        """
        order = self.order
        known = {each.platform for each in order.now} | {record.platform for record in kept}
        absent = [
            each.platform for each in order.plan.platforms if each.required and each.platform not in known
        ]
        if absent:
            raise PartialBuildError(
                f"nothing was merged or tagged: {len(absent)} planned platforms were never built",
                offenders=[f"{platform}: there is no record of it in {order.records}" for platform in absent],
                hint=f"build them: {order.redo(absent)}",
            )
        return (*(leg.record for leg in self.legs if leg.record is not None), *kept)


def _differs(record: Record, plan: Plan) -> str:
    """Where a record's plan and this one part, as far as the record tells."""
    if record.revision != plan.revision:
        return (
            f"{record.name}: expected revision {plan.revision or 'none'}, found {record.revision or 'none'}"
        )
    return f"{record.name}: expected plan {plan.digest}, found {record.plan or 'none'}"


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
