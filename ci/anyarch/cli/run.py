"""``anyarch run``: plan → build every platform on its engine → publish → merge → verify → tag."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import anyio
from cyclopts import Parameter

from anyarch.cli import output, words
from anyarch.cli.access import Access
from anyarch.cli.destinations import destinations
from anyarch.cli.happening import tag_context
from anyarch.cli.interrupt import interruptible
from anyarch.cli.orders import Order
from anyarch.cli.project import Project
from anyarch.cli.releasing import Run
from anyarch.engine.process import GRACE_SECONDS, kill_all
from anyarch.release.config import parse_duration
from anyarch.release.plan import DEFAULT_DESTINATION, make_plan, select


def run(
    path: Annotated[Path, Parameter(help="Folder with the Dockerfile and, perhaps, anyarch.toml.")] = Path(),
    /,
    *,
    platform: Annotated[
        tuple[str, ...], Parameter(help="Platform to build; repeat for more. Others keep their records.")
    ] = (),
    engine: Annotated[tuple[str, ...], Parameter(help="PLATFORM=URL of an engine; repeat for more.")] = (),
    to: Annotated[tuple[str, ...], Parameter(help="Repository or oci:DIR; repeat for more.")] = (),
    tag: Annotated[
        tuple[str, ...], Parameter(help="Tag to write, in place of what rules give; repeat for more.")
    ] = (),
    ref: Annotated[str, Parameter(help="What to take for checked out, such as refs/tags/v1.2.3.")] = "",
    records: Annotated[Path | None, Parameter(help="Where records are kept; PATH/.anyarch/records.")] = None,
    force: Annotated[
        bool, Parameter(help="Move a tag even if it points at the release of a newer CI run.")
    ] = False,
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    timeout: Annotated[str, Parameter(help="How long one platform may take, such as 90m.")] = "",
    format: Annotated[Literal["text", "json"], Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Build all platforms at once, each on its own engine; publish, merge, verify, and tag last.

    Platforms of anyarch.toml, or linux/amd64 and linux/arm64. One that fails does not stop the others, and
    --platform builds it again and merges it with the records that are there, if they are of the same commit,
    files and settings. With no repository, the result is the OCI layout directory dist.

    Example: anyarch run examples/web --to registry.example.com/shop/web --tag 1.4.2 --tag latest

    With several --to every platform is built once and pushed to the first; the others get the same index from
    there, and no tag moves before it is everywhere.

    Example: anyarch run --to eu.example.com/shop/web --to us.example.com/shop/web --tag 1.4.2
    """
    project = Project.load(path)
    project.check_dockerfile()
    engines, wanted = words.engines(engine), words.platforms(platform)
    destination, *also = destinations(to, project.config.destinations or (DEFAULT_DESTINATION,))
    checkout = project.checkout(os.environ)
    context = tag_context(checkout, os.environ, ref=ref)
    sources = project.sources(checkout, (destination, *also), records)
    plan = make_plan(
        project.config,
        platforms=project.promised(wanted, destination),
        engines=engines,
        destination=destination,
        also=also,
        tags=[str(each) for each in words.tags(tag)],
        revision=sources.revision or context.sha or None,
        context=context,
    )
    plan = replace(plan, changes=sources.changes)
    again = [*(f"--to={value}" for value in to), *(f"--tag={value}" for value in tag)]
    again += [f"--ref={ref}"] if ref else []
    again += [f"--records={records}"] if records else []
    again += ["--force"] if force else []
    again += [f"--insecure-registry={value}" for value in insecure_registry]
    order = Order(
        project=project,
        plan=plan,
        now=select(plan, wanted),
        engines=engines,
        force=force,
        records=records or project.records,
        access=Access.told(project.config, insecure_registry, path),
        timeout_seconds=parse_duration(timeout) if timeout else project.config.timeout_seconds,
        again=["anyarch", "run", str(path), *again],
    )
    project.prepare(plan)
    _show(order, format)


def _show(order: Order, kind: str) -> None:
    """Carry the order out and print what came of it."""
    work = Run(order)

    def stop() -> None:
        output.note(f"stopping (up to {GRACE_SECONDS:g} s; once more kills at once)")
        work.stop()

    result = anyio.run(
        lambda: interruptible(
            work.carry_out, on_interrupt=stop, on_second=lambda _: kill_all(), kept=work.kept
        )
    )
    if kind == "json":
        output.say_json(result.document())
    else:
        for line in result.lines():
            output.say(line)
