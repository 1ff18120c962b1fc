"""``anyarch merge``: join platforms that were built anywhere into one verified tag. Needs no engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from anyarch.cli import journal, output, recordfiles, summary, words
from anyarch.cli.interrupt import carry_out
from anyarch.errors import FileProblemError, UsageError
from anyarch.oci.reference import Tag
from anyarch.registry.stores import open_store
from anyarch.release.config import LAYOUT_PREFIX, parse_destination
from anyarch.release.history import Run
from anyarch.release.ledger import Mover
from anyarch.release.plan import PLAN_MAX_BYTES, Plan, PlannedPlatform
from anyarch.release.publish import merge as publish
from anyarch.release.record import read_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.release.publish import Release

Format = Literal["text", "json", "github"]


def merge(
    *,
    records: Annotated[Path, Parameter(help="Folder with the platforms' records, *.json.")],
    to: Annotated[str, Parameter(help="Repository or oci:DIR; the plan's if left out.")] = "",
    tag: Annotated[
        tuple[str, ...], Parameter(help="Tag to write; repeat for more. The plan's if left out.")
    ] = (),
    plan: Annotated[Path | None, Parameter(help="Plan that the records must belong to.")] = None,
    platform: Annotated[
        tuple[str, ...], Parameter(help="Platform that must be there; repeat for more. With none, any set.")
    ] = (),
    dry_run: Annotated[bool, Parameter(help="Check everything, write nothing.")] = False,
    force: Annotated[
        bool, Parameter(help="Move a tag even if it points at the release of a newer CI run.")
    ] = False,
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Format, Parameter(help="For people, programs, or a GitHub step.")] = "text",  # noqa: A002
) -> None:
    """Join the platforms' images into one index, verify it, and point the tags at it last.

    Every image is read back from the registry; a platform that is missing, double, extra or not what its
    record says is an error, and no tag moves.

    Example: anyarch merge --records .anyarch/records --to registry.example.com/shop/api --tag 1.4.2
    """
    planned = read_plan(plan) if plan else None
    expected = words.platforms(platform)
    if planned and expected:
        raise UsageError("--plan and --platform both say what must be there", hint="give one of them")
    insecure = words.insecure_hosts(insecure_registry)
    destination = parse_destination(to or (planned.destination if planned else _no_destination()))
    wanted = words.tags(tag or (planned.tags if planned else ())) or default_tags(destination)
    found = read_records(recordfiles.read_folder(records))

    async def work() -> Release:
        store = open_store(
            destination,
            insecure=insecure,
            credential=words.credential_from(os.environ),
        )
        async with store:
            return await publish(
                notes.over(store),
                found,
                plan=planned,
                expected=[PlannedPlatform(platform=each) for each in expected] or None,
                tags=wanted,
                dry_run=dry_run,
                mover=Mover(run=ci_run(os.environ), force=force),
            )

    with journal.begin("merge", destination, wanted, dry_run=dry_run) as notes:
        release = carry_out(work, on_interrupt=notes.stop, kept=notes.kept)
    _show(release, format, insecure)


def read_plan(path: Path) -> Plan:
    """A plan file.

    Raises:
        FileProblemError: it cannot be read.
        PlanError: it is no plan.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(PLAN_MAX_BYTES + 1)
    except OSError as error:
        raise FileProblemError(f"plan {path} cannot be read: {error.strerror}", path=str(path)) from error
    return Plan.from_json(raw, subject=str(path))


def ci_run(environ: Mapping[str, str]) -> Run | None:
    """The CI run that we are part of, where the environment tells it: GitHub Actions."""
    from anyarch.github.run import GitHubRun  # noqa: PLC0415  only a release needs it

    found = GitHubRun.from_environ(environ)
    return Run.of(found.run_id, found.attempt) if found else None


def default_tags(destination: str) -> tuple[Tag, ...]:
    """The tags where none is asked for: a layout gets one, few tools find an image without."""
    return (Tag("latest"),) if destination.startswith(LAYOUT_PREFIX) else ()


def _no_destination() -> str:
    raise UsageError(
        "where to? neither --to nor --plan was given",
        hint="--to registry.example.com/shop/api, or --to oci:dist for a layout directory",
    )


def _show(release: Release, kind: Format, insecure: Sequence[str]) -> None:
    if kind == "json":
        output.say_json(summary.document(release, insecure=insecure))
        return
    if kind == "github":
        from anyarch.github.job_outputs import release_outputs  # noqa: PLC0415  only a workflow needs it
        from anyarch.github.outputs import write_outputs  # noqa: PLC0415

        write_outputs(release_outputs(release.digest, [str(each.tag) for each in release.tags]))
    for line in summary.lines(release, insecure=insecure):
        (output.note if kind == "github" else output.say)(line)
