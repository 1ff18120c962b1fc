"""The legs of a run: one platform each, built at the same time, none stopping another."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import anyio

from anyarch.cli.project import write_whole
from anyarch.engine.call import carry_out
from anyarch.engine.ending import Publish
from anyarch.errors import AnyarchError, ContentError, FileProblemError, RecordError
from anyarch.oci.manifest import MANIFEST_MAX_BYTES, Index
from anyarch.release import marks
from anyarch.release.record import RECORD_MAX_BYTES, Record, record_from_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyarch.engine.call import BuildCall
    from anyarch.engine.output import Line
    from anyarch.oci.store import Store
    from anyarch.release.plan import Plan, PlannedPlatform


S = TypeVar("S", bound="Stage")


class State(StrEnum):
    """Where a leg is."""

    WAITING = "waiting"
    BUILDING = "building"
    STORING = "storing"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self in {State.BUILDING, State.STORING, State.RUNNING}


@dataclass
class Stage:
    """One platform's part of something done for several at the same time; ``engine`` is for people."""

    planned: PlannedPlatform
    engine: str
    state: State = field(default=State.WAITING, kw_only=True)
    step: str = field(default="", kw_only=True)
    error: AnyarchError | None = field(default=None, kw_only=True)
    began: float | None = field(default=None, kw_only=True)
    ended: float | None = field(default=None, kw_only=True)

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return 0.0 if self.began is None else (self.ended or monotonic()) - self.began


@dataclass
class Leg(Stage):
    """One platform of this run.

    ``record_path`` is where its record goes, ``scratch`` a folder of its own.
    """

    call: BuildCall | None
    record_path: Path
    scratch: Path
    record: Record | None = field(default=None, kw_only=True)

    @property
    def log(self) -> str:
        """Where its whole log is; empty if it was never started."""
        return "" if self.call is None or self.began is None else str(self.call.log)


async def build_all(
    legs: Sequence[Leg],
    *,
    plan: Plan,
    store: Store,
    on_line: Callable[[Leg, Line], None],
    on_state: Callable[[Leg], None],
) -> None:
    """Run every leg to its end; what went wrong is in ``leg.error`` afterwards.

    Args:
        legs: The platforms; one without a call has failed already.
        plan: What their records must belong to.
        store: Where a layout's images go; a registry's have been pushed by the engine.
        on_line: Told each line of each leg's client.
        on_state: Told when a leg's state changes.
    """

    async def one(leg: Leg) -> None:
        leg.record = await _build(leg, plan, store, on_line, on_state)

    await side_by_side([leg for leg in legs if leg.call is not None], one, on_state=on_state)


async def side_by_side(
    stages: Sequence[S], work: Callable[[S], Awaitable[None]], *, on_state: Callable[[S], None]
) -> None:
    """Do the work of all stages at the same time; one that fails keeps its error and stops no other."""

    async def one(stage: S) -> None:
        stage.began = monotonic()
        try:
            await work(stage)
            stage.state = State.DONE
        except AnyarchError as error:
            stage.error, stage.state = error, State.FAILED
        finally:
            stage.ended = monotonic()
        on_state(stage)

    async with anyio.create_task_group() as group:
        for stage in stages:
            group.start_soon(one, stage)


async def _build(
    leg: Leg,
    plan: Plan,
    store: Store,
    on_line: Callable[[Leg, Line], None],
    on_state: Callable[[Leg], None],
) -> Record:
    call = leg.call
    assert call is not None  # noqa: S101  build_all starts no other
    try:
        await anyio.to_thread.run_sync(_prepare, leg)
        ending = call.ending
        leg.state = State.BUILDING
        on_state(leg)
        started = datetime.now(UTC)
        outcome = await carry_out(call, on_line=lambda line: on_line(leg, line))
        leg.state = State.STORING
        on_state(leg)
        if isinstance(ending, Publish):
            record = _read_record(ending.record, leg, plan)
        else:
            record = await _store_layout(ending.path, leg, plan, store, started)
            record = replace(record, seconds={"build": round(outcome.seconds, 3)})
        _write(leg.record_path, record)
        return record
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(leg.scratch, ignore_errors=True))


def _prepare(leg: Leg) -> None:
    """Forget the last run's record: from now on it would be told as this one's."""
    try:
        leg.record_path.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(leg.scratch)
        leg.scratch.mkdir(parents=True)
    except OSError as error:
        raise FileProblemError(
            f"{error.filename} cannot be written: {error.strerror}", path=str(error.filename)
        ) from error


def _read_record(path: Path, leg: Leg, plan: Plan) -> Record:
    """The record that the engine handed over: small, about this platform, and of this plan."""
    try:
        with path.open("rb") as file:
            raw = file.read(RECORD_MAX_BYTES + 1)
    except OSError as error:
        raise RecordError(
            f"{leg.planned.platform}: the build left no record: {error.strerror}", hint=f"see {leg.log}"
        ) from error
    record = Record.from_json(raw, subject=leg.record_path.name)
    if (record.platform, record.plan) != (leg.planned.platform, plan.digest):
        raise RecordError(
            f"{leg.planned.platform}: the build left a record of {record.platform}, plan {record.plan}; "
            f"expected plan {plan.digest}",
            hint="does ANYARCH_MODULE name another version of the pipeline?",
        )
    return record


async def _store_layout(path: Path, leg: Leg, plan: Plan, store: Store, started: datetime) -> Record:
    """Bring an exported image into the layout, by digest only, and make its record from there."""
    from anyarch.registry.copy import copy_image  # noqa: PLC0415  only layouts need it
    from anyarch.registry.layout import LayoutStore  # noqa: PLC0415

    platform = leg.planned.platform
    try:
        raw = (path / "index.json").read_bytes()
    except OSError as error:
        raise ContentError(f"{platform}: the build left no layout: {error.strerror}") from error
    index = Index.from_bytes(raw[: MANIFEST_MAX_BYTES + 1], subject=f"{platform}: {path}/index.json")
    found = index.images if isinstance(index, Index) else ()
    if len(found) != 1:
        raise ContentError(f"{platform}: the build left a layout of {len(found)} images; expected one")
    image = await copy_image(LayoutStore(path), store, found[0].digest)
    execution = image.annotations.get(marks.EXECUTION)
    return await record_from_store(
        store,
        found[0].digest,
        platform=platform,
        plan=plan.digest,
        revision=plan.revision,
        execution="native" if execution == "native" else "emulated" if execution == "emulated" else None,
        started=_rfc3339(started),
        ended=_rfc3339(datetime.now(UTC)),
    )


def _write(path: Path, record: Record) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, record.to_json())
    except OSError as error:
        raise FileProblemError(
            f"record {path} cannot be written: {error.strerror}", path=str(path)
        ) from error


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
