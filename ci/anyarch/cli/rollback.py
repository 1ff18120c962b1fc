"""``anyarch rollback``: point a tag at what it pointed at before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from anyarch.cli import journal
from anyarch.cli.access import Access
from anyarch.cli.interrupt import carry_out
from anyarch.cli.promote import Format, show
from anyarch.cli.targets import parse_target
from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Tag
from anyarch.release.promote import rollback as move
from anyarch.release.reserved import release_tag

if TYPE_CHECKING:
    from anyarch.release.promote import Promotion


def rollback(
    ref: Annotated[str, Parameter(help="REPOSITORY:TAG or oci:DIR:TAG.")],
    /,
    *,
    to: Annotated[
        str, Parameter(help="Digest to point it at; with none, what the tag pointed at before.")
    ] = "",
    dry_run: Annotated[bool, Parameter(help="Check everything, write nothing.")] = False,
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Format, Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Point a tag at an earlier release, after verifying that all of it is still there.

    Without --to it goes one step back in the tag's history; called again, one step further. The command
    that undoes it is printed.

    Example: anyarch rollback registry.example.com/shop/api:latest
    """
    destination, tag = parse_target(ref)
    if not isinstance(tag, Tag):
        raise UsageError(f"{ref} names a digest; only a tag can be moved")
    release_tag(tag.name)  # our own books are no release
    digest = Digest.parse(to) if to else None
    access = Access.read(insecure_registry)

    async def work() -> Promotion:
        async with access.open(destination) as store:
            return await move(notes.over(store), tag, digest, dry_run=dry_run)

    with journal.begin("rollback", destination, [tag], dry_run=dry_run) as notes:
        done = carry_out(work, on_interrupt=notes.stop, kept=notes.kept)
    show(done, format, access.insecure)
