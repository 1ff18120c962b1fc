"""``anyarch promote``: point more tags at a release that is already there. Needs no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from anyarch.cli import journal, output, summary, words
from anyarch.cli.access import Access
from anyarch.cli.interrupt import carry_out
from anyarch.cli.targets import parse_target
from anyarch.errors import UsageError
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote as move

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.release.promote import Promotion

Format = Literal["text", "json"]


def promote(
    ref: Annotated[str, Parameter(help="The release: REPOSITORY:TAG, REPOSITORY@DIGEST or oci:DIR:TAG.")],
    /,
    *,
    tag: Annotated[
        tuple[str, ...], Parameter(help="Tag to point at it, in the same repository; repeat for more.")
    ],
    platform: Annotated[
        tuple[str, ...],
        Parameter(
            help="Platform it must hold, and no others; repeat for more. With none, any set from which no "
            "tag loses a platform."
        ),
    ] = (),
    dry_run: Annotated[bool, Parameter(help="Check everything, write nothing.")] = False,
    force: Annotated[
        bool,
        Parameter(help="Move a tag even if it holds a newer CI run's release, or platforms that it loses."),
    ] = False,
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Format, Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Verify all of a release, then point tags at the very same digest. Nothing is built or copied.

    Example: anyarch promote registry.example.com/shop/api:1.4.2 --tag stable --tag latest
    """
    destination, source = parse_target(ref)
    tags = words.tags(tag)
    if not tags:
        raise UsageError("--tag names no tag", hint="--tag stable, for example")
    expected = words.platforms(platform)
    access = Access.read(insecure_registry)

    async def work() -> Promotion:
        async with access.open(destination) as store:
            return await move(
                notes.over(store),
                source,
                tags,
                platforms=expected,
                dry_run=dry_run,
                mover=Mover(by="promote", force=force),
            )

    with journal.begin("promote", destination, tags, dry_run=dry_run) as notes:
        done = carry_out(work, on_interrupt=notes.stop, kept=notes.kept)
    show(done, format, access.insecure)


def show(done: Promotion, kind: Format, insecure: Sequence[str]) -> None:
    """Print what was moved, from where, and the way back."""
    if kind == "json":
        output.say_json(
            {
                "schema": 1,
                "repository": done.repository,
                "digest": str(done.digest),
                "platforms": [str(child.platform) for child in done.verification.children],
                "dry_run": done.dry_run,
                **summary.tag_fields(done, insecure=insecure),
            }
        )
        return
    platforms = ", ".join(str(child.platform) for child in done.verification.children)
    output.say(f"index  {done.repository}@{done.digest}  (verified: {platforms})")
    for line in summary.way_back(done, insecure=insecure):
        output.say(line)
