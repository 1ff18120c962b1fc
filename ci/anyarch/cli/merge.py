"""``anyarch merge``: join platforms that were built anywhere into one verified tag. Needs no engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NoReturn

from cyclopts import Parameter

from anyarch.cli import journals, output, recordfiles, summary, words
from anyarch.cli.access import Access, config_in
from anyarch.cli.destinations import destinations, goals, identity_of
from anyarch.cli.interrupt import carry_out
from anyarch.cli.regular import read_regular
from anyarch.cli.targets import parse_target
from anyarch.errors import FileProblemError, UsageError
from anyarch.release.assemble import Destination, Order, assemble
from anyarch.release.config import CONFIG_NAME, parse_destination
from anyarch.release.history import Run
from anyarch.release.ledger import Mover
from anyarch.release.plan import PLAN_MAX_BYTES, Plan, PlannedPlatform
from anyarch.release.record_files import sort_records
from anyarch.release.references import Reference, check_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anyarch.cli.targets import Target
    from anyarch.oci.digest import Digest
    from anyarch.oci.platforms import Platform
    from anyarch.oci.store import Store
    from anyarch.oci.write import Brought, Write
    from anyarch.release.assemble import Assembly
    from anyarch.release.config import Config

TOLD_MIN_BYTES: Final = 1_000_000  # a blob of which people are told when it has come

Format = Literal["text", "json", "github"]


def merge(
    *reference: Annotated[
        str,
        Parameter(
            help="Image or index to take, beside the records or without any: REPOSITORY:TAG, "
            "REPOSITORY@DIGEST, oci:DIR:TAG. It may be anywhere; an index gives all its platforms."
        ),
    ],
    records: Annotated[Path | None, Parameter(help="Folder with the platforms' records, *.json.")] = None,
    to: Annotated[
        tuple[str, ...],
        Parameter(help="Repository or oci:DIR; repeat for more. The plan's if left out."),
    ] = (),
    tag: Annotated[
        tuple[str, ...], Parameter(help="Tag to write; repeat for more. The plan's if left out.")
    ] = (),
    from_: Annotated[
        tuple[str, ...],
        Parameter(
            name="--from",
            help="Repository or oci:DIR whose records are welcome too: its images are brought along. "
            "Repeat for more.",
        ),
    ] = (),
    plan: Annotated[Path | None, Parameter(help="Plan that the records must belong to.")] = None,
    platform: Annotated[
        tuple[str, ...],
        Parameter(
            help="Platform that must be there; repeat for more. With none, those of anyarch.toml in this "
            "folder if it is about a destination, else any set from which no tag loses a platform."
        ),
    ] = (),
    mixed_revisions: Annotated[
        bool, Parameter(help="Without a plan: join images of different commits or plans.")
    ] = False,
    dry_run: Annotated[
        bool, Parameter(help="Check everything, write nothing; show the writes to come and the index.")
    ] = False,
    force: Annotated[
        bool,
        Parameter(help="Move a tag even if it holds a newer CI run's release, or platforms that it loses."),
    ] = False,
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Format, Parameter(help="For people, programs, or a GitHub step.")] = "text",  # noqa: A002
) -> None:
    """Join the platforms' images into one index, verify it, and point the tags at it last.

    Every image is read back from where it is; a platform that is missing, double, extra or not what its
    record or index says is an error, and no tag moves. Only then are images that are elsewhere brought to
    the destination, with their attestations, signatures and other referrers.

    Example: anyarch merge --records .anyarch/records --to registry.example.com/shop/api --tag 1.4.2

    Example: anyarch merge stage.example.com/api:a stage.example.com/api:b --to registry.example.com/api

    With several --to the same index is written to all of them, and no tag moves before it is everywhere.

    Example: anyarch merge --records .anyarch/records --to eu.example.com/api --to us.example.com/api
    """
    planned = read_plan(plan) if plan else None
    expected = words.platforms(platform)
    if planned and (expected or mixed_revisions):
        raise UsageError("--plan says what must be there", hint="leave --platform and --mixed-revisions away")
    if records is None and not reference:
        raise UsageError("what to merge? neither --records nor a reference was given")
    names = destinations(to, planned.destinations if planned else ()) or _no_destination()
    wanted = goals(names, words.tags(tag or (planned.tags if planned else ())))
    named = words.separate(reference)
    check_once(named)
    targets = {each: parse_target(each) for each in named}
    sources = [parse_destination(each) for each in words.separate(from_)]
    config = config_in()
    access = Access.told(config, insecure_registry)
    whole, unreadable = sort_records(recordfiles.read_folder(records)) if records else ((), ())
    order = Order(
        records=whole,
        unreadable=unreadable,
        plan=planned,
        expected=None if planned else _expected(expected, config, names),
        mixed=mixed_revisions,
        dry_run=dry_run,
        mover=Mover(run=ci_run(os.environ), force=force),
    )

    async def work() -> Assembly:
        others = [*names[1:], *sources, *(name for name, _ in targets.values())]
        async with access.open_all(names[0], others) as stores:
            places = [
                Destination(store=notes.over(name, stores[name]), tags=tags) for name, tags in wanted.items()
            ]
            return await assembled(places, _with_stores(order, stores, sources, targets), access)

    with journals.begin_all("merge", wanted, dry_run=dry_run) as notes:
        done = carry_out(work, on_interrupt=notes.stop, kept=notes.kept)
    _show(done, format, access.insecure)


async def assembled(places: Sequence[Destination], order: Order, access: Access) -> Assembly:
    """Merge; what is brought is told as it comes. A repository is made only when something goes there.

    Args:
        places: The destinations, the first one first.
        order: What to merge, without tags and further destinations.
        access: The way to registries.
    """

    async def bring_to(
        source: Store,
        target: Store,
        digests: Sequence[Digest],
        *,
        dry_run: bool = False,
        on_write: Callable[[Write], None] = lambda _: None,
    ) -> Brought:
        from anyarch.registry.bring import bring  # noqa: PLC0415  most merges have nothing to bring

        configured = access.of(target.name).create is not None
        if configured and not dry_run and await access.make_missing(target, target.name):
            output.note(f"created {target.name}")
        found = await bring(source, target, digests, dry_run=dry_run, on_write=on_write)
        if found.writes and not dry_run:
            output.note(summary.brought_line(found.writes, source.name, target.name))
        return found

    first, *also = places
    whole = replace(order, tags=first.tags, also=also)
    return await assemble(first.store, whole, bring=bring_to, on_write=_tell)


def _tell(write: Write) -> None:
    """A blob that took a while; the rest is only counted."""
    if (write.size or 0) >= TOLD_MIN_BYTES:
        output.note(summary.write_lines([write])[0])


def _with_stores(
    order: Order,
    stores: Mapping[str, Store],
    sources: Sequence[str],
    targets: Mapping[str, tuple[str, Target]],
) -> Order:
    """The order with the places that were named, now that they are open."""
    return replace(
        order,
        sources=[stores[name] for name in sources],
        references=[
            Reference(store=stores[name], target=target, name=word)
            for word, (name, target) in targets.items()
        ],
    )


def read_plan(path: Path) -> Plan:
    """A plan file.

    Raises:
        FileProblemError: it cannot be read.
        PlanError: it is no plan.
    """
    try:
        raw = read_regular(path, PLAN_MAX_BYTES)
    except OSError as error:
        raise FileProblemError(f"plan {path} cannot be read: {error.strerror}", path=str(path)) from error
    return Plan.from_json(raw, subject=str(path))


def ci_run(environ: Mapping[str, str]) -> Run | None:
    """The CI run that we are part of, where the environment tells it: GitHub Actions."""
    from anyarch.github.run import GitHubRun  # noqa: PLC0415  only a release needs it

    found = GitHubRun.from_environ(environ)
    return Run.of(found.run_id, found.attempt) if found else None


def _expected(
    named: Sequence[Platform], config: Config, names: Sequence[str]
) -> list[PlannedPlatform] | None:
    """The platforms that must be there: of the flag, else of an anyarch.toml that is about a destination.

    One that names another image is another application's: merge works in any folder.
    """
    if named:
        return [PlannedPlatform(platform=each, why="--platform") for each in named]
    configured = {identity_of(each) for each in config.destinations}
    if configured and configured.isdisjoint(map(identity_of, names)):
        return None
    return [
        PlannedPlatform(platform=each.platform, required=each.required, why=CONFIG_NAME)
        for each in config.platforms
    ] or None


def _no_destination() -> NoReturn:
    raise UsageError(
        "where to? neither --to nor --plan was given",
        hint="--to registry.example.com/shop/api, or --to oci:dist for a layout directory",
    )


def _show(done: Assembly, kind: Format, insecure: Sequence[str]) -> None:
    release = done.release
    if kind == "json":
        output.say_json(summary.document(done, insecure=insecure))
        return
    if kind == "github":
        from anyarch.github.job_outputs import release_outputs  # noqa: PLC0415  only a workflow needs it
        from anyarch.github.outputs import write_outputs  # noqa: PLC0415

        write_outputs(release_outputs(release.digest, [str(each.tag) for each in release.tags]))
    for line in summary.lines(done, insecure=insecure):
        (output.note if kind == "github" else output.say)(line)
    if release.dry_run and kind == "text":
        for line in ("", "writes to come, in order:", *(summary.write_lines(done.writes) or ["none"]), ""):
            output.say(line)
        output.say_exactly(release.index.raw)
