"""``anyarch prune``: delete what nothing in a repository needs any more. Needs no engine."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from anyarch.cli import journal, output, words
from anyarch.cli.access import Access
from anyarch.cli.interrupt import carry_out
from anyarch.cli.pruned import deleted, document, lines
from anyarch.cli.recordfiles import read_folder
from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.registry.layout import LayoutStore
from anyarch.release.prune.age import parse_age
from anyarch.release.prune.candidates import of_digests, of_records
from anyarch.release.prune.prune import prune as delete
from anyarch.release.prune.prune import utc_now
from anyarch.release.prune.survey import KEPT_RELEASES, Places, Wishes
from anyarch.release.record_files import read_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anyarch.cli.journal import Journal
    from anyarch.registry.stores import OpenedStore
    from anyarch.release.prune.graph import Candidate
    from anyarch.release.prune.prune import Pruned, Pruning

_STDIN: Final = "-"
_STDIN_MAX_CHARACTERS: Final = 16 * 1024 * 1024


def prune(
    repo: Annotated[str, Parameter(help="REPOSITORY or oci:DIR.")],
    /,
    *,
    older_than: Annotated[str, Parameter(help="Nothing younger is touched: 12h, 7d, 2w.")],
    dry_run: Annotated[bool, Parameter(help="Show what would be deleted, and why; delete nothing.")] = False,
    records: Annotated[
        tuple[Path, ...],
        Parameter(help="Folder of records: builds that may never have been merged; repeat for more."),
    ] = (),
    digest: Annotated[
        tuple[str, ...],
        Parameter(
            help="A digest that may be superfluous; repeat for more, - reads stdin.",
            allow_leading_hyphen=True,
        ),
    ] = (),
    keep: Annotated[
        tuple[str, ...],
        Parameter(
            help="A digest in use elsewhere; repeat for more, - reads stdin.", allow_leading_hyphen=True
        ),
    ] = (),
    keep_releases: Annotated[
        int, Parameter(help="How many earlier releases of each tag stay for a rollback, however old.")
    ] = KEPT_RELEASES,
    with_referrers: Annotated[
        bool,
        Parameter(help="Delete signatures and attestations with what they are about; else they keep it."),
    ] = False,
    ignore_pulls: Annotated[
        bool,
        Parameter(help="In Amazon ECR: a pull does not make an image younger; prune's own reads are pulls."),
    ] = False,
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Literal["text", "json"], Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Delete what no tag, index, referrer or rollback needs, and nobody has used for a while.

    In a registry: earlier releases that the histories of its tags know, and what --records and --digest
    name. In Amazon ECR also every image without a tag that was neither pushed nor pulled for so long. In a
    layout directory: every file that its index does not need.

    Example: anyarch prune registry.example.com/shop/api --older-than 30d --dry-run
    """
    if keep_releases < 0:
        raise UsageError(f"--keep-releases {keep_releases}: needs 0 or more")
    if _STDIN in digest and _STDIN in keep:
        raise UsageError("both --digest and --keep read stdin; only one can")
    age = parse_age(older_than)
    access = Access.read(insecure_registry)
    named = of_digests(_digests(digest, "--digest"))

    def tell(pruned: Pruned) -> None:
        (output.note if format == "json" else output.say)(deleted(pruned))

    async def work() -> Pruning:
        async with access.open(repo) as store:
            wishes = Wishes(
                older_than=age,
                now=utc_now(),
                kept_releases=keep_releases,
                keep=frozenset(_digests(keep, "--keep")),
                candidates=(*named, *_recorded(records, store.name)),
                with_referrers=with_referrers,
            )
            places = await _places(store, notes, access, pulls=not ignore_pulls)
            return await delete(places, wishes, dry_run=dry_run, on_removed=tell)

    with journal.begin("prune", repo, [], dry_run=dry_run) as notes:
        done = carry_out(work, on_interrupt=notes.stop, kept=notes.kept)
    if format == "json":
        output.say_json(document(done, older_than=age))
        return
    for line in lines(done, older_than=age, pulls=not ignore_pulls):
        output.say(line)


async def _places(store: OpenedStore, notes: Journal, access: Access, *, pulls: bool) -> Places:
    if isinstance(store, LayoutStore):
        return Places(store=store, inventory=store)
    from anyarch.cli.listed import listed  # noqa: PLC0415  layouts need no client
    from anyarch.registry.referrers import list_referrers  # noqa: PLC0415

    return Places(
        store=notes.over(store),
        inventory=await listed(store.name, access, pulls=pulls),
        referrers=partial(list_referrers, store),
    )


def _digests(values: Sequence[str], flag: str) -> list[Digest]:
    """Digests, or references with a digest as clusters tell what they run."""
    found: list[Digest] = []
    for word in _with_stdin(values):
        try:
            found.append(Digest.parse(word.rpartition("@")[2]))
        except UsageError as error:
            raise UsageError(f"{flag}: {error.what}", hint=error.hint) from error
    return found


def _with_stdin(values: Sequence[str]) -> Iterable[str]:
    for word in words.separate(values):
        if word != _STDIN:
            yield word
            continue
        text = sys.stdin.read(_STDIN_MAX_CHARACTERS + 1)
        if len(text) > _STDIN_MAX_CHARACTERS:
            raise UsageError(f"stdin is longer than {_STDIN_MAX_CHARACTERS} characters")
        yield from text.split()


def _recorded(folders: Sequence[Path], repository: str) -> list[Candidate]:
    """What records name; those of other repositories are not followed."""
    found = [record for folder in folders for record in read_records(read_folder(folder))]
    for record in found:
        if record.repository != repository:
            output.note(f"{record.source} is about {record.repository} and is not followed")
    return of_records(record for record in found if record.repository == repository)
