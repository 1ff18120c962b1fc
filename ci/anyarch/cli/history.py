"""``anyarch history``: what a tag pointed at, as the registry itself remembers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from anyarch.cli import output
from anyarch.cli.access import Access
from anyarch.cli.interrupt import carry_out
from anyarch.cli.targets import parse_target
from anyarch.errors import UsageError
from anyarch.oci.reference import Tag
from anyarch.release.ledger import keeps_history, read_history
from anyarch.release.parallel import both

if TYPE_CHECKING:
    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.release.history import History


def history(
    ref: Annotated[str, Parameter(help="REPOSITORY:TAG.")],
    /,
    *,
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Literal["text", "json"], Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Show what a tag was moved to, when, from where and by which run, the newest move first.

    Example: anyarch history registry.example.com/shop/api:latest
    """
    destination, tag = parse_target(ref)
    if not isinstance(tag, Tag):
        raise UsageError(f"{ref} names a digest; only a tag has a history")
    access = Access.read(insecure_registry)

    async def work() -> tuple[History, Descriptor | None, bool]:
        async with access.open(destination) as store:
            found, now = await both(lambda: read_history(store, tag), lambda: store.head(tag))
            return found, now, keeps_history(store)

    found, head, kept = carry_out(work)
    now = head.digest if head else None
    if format == "json":
        output.say_json(_document(destination, found, now))
        return
    for line in _lines(ref, found, now, kept=kept):
        output.say(line)


def _document(destination: str, found: History, now: Digest | None) -> dict[str, object]:
    back = found.step_back(now)
    return {
        "schema": 1,
        "repository": destination,
        "tag": str(found.tag),
        "digest": None if now is None else str(now),
        "rollback": None if back is None else str(back),
        "moves": [move.document() for move in reversed(found.moves)],
    }


def _lines(ref: str, found: History, now: Digest | None, *, kept: bool) -> list[str]:
    state = f"{ref} is {now}" if now else f"{ref} is not there"
    if not found.moves:
        why = "no move of it was written down yet" if kept else "a layout directory keeps no history"
        return [f"{state}; {why}"]
    rows = [
        [
            move.when,
            move.by,
            str(move.run or "-"),
            (move.revision or "-")[:12],
            str(move.digest),
            move.previous.short if move.previous else "(new)",
        ]
        for move in reversed(found.moves)
    ]
    lines = [state, *output.table(("WHEN", "BY", "RUN", "REVISION", "DIGEST", "WAS"), rows)]
    if now != found.moves[-1].digest:
        lines.append("the tag was moved, or deleted, since: not by anyarch, or the move was not written down")
    back = found.step_back(now)
    if back is not None and back == now:
        return [
            *lines,
            "anyarch rollback would only write down the step back that was taken: it is not known here",
        ]
    return [*lines, f"anyarch rollback would go back to {back}"] if back else lines
