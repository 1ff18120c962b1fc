"""Where candidates come from: whoever knows of digests that may have become superfluous."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from anyarch.release.prune.age import latest
from anyarch.release.prune.graph import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.inventory import Inventory
    from anyarch.release.history import History
    from anyarch.release.record import Record


@dataclass(frozen=True, kw_only=True)
class Released:
    """A release that a tag pointed at, and when it was left; None: it was, and nobody wrote down when."""

    digest: Digest
    left: datetime | None


def of_records(records: Iterable[Record]) -> list[Candidate]:
    """Builds, as old as the end of their build."""
    return [
        Candidate(
            digest=record.image.digest,
            since=_time(record.ended or record.started),
            why=f"record {record.source}",
        )
        for record in records
    ]


def of_digests(digests: Iterable[Digest]) -> list[Candidate]:
    """What the user names."""
    return [Candidate(digest=digest, why="named") for digest in digests]


def of_inventory(inventory: Inventory) -> list[Candidate]:
    """All that is there; what is needed is found out later."""
    return [Candidate(digest=held.digest, since=held.written) for held in inventory.held]


def releases_of(history: History, current: Digest | None) -> list[Released]:
    """What a tag pointed at and no longer does, what was left last comes first."""
    moves = history.moves
    # Deleted tags and moves by other tools leave gaps: a move says what was there, and what it found.
    steps = [
        Released(digest=digest, left=_time(after.when))
        for before, after in pairwise(moves)
        for digest in (before.digest, after.previous)
        if digest is not None
    ]
    if moves and moves[0].previous is not None:
        steps.insert(0, Released(digest=moves[0].previous, left=_time(moves[0].when)))
    if moves:
        steps.append(Released(digest=moves[-1].digest, left=None))
    found: dict[Digest, Released] = {}
    for step in reversed(steps):
        if step.digest != current:
            found.setdefault(step.digest, step)
    return list(found.values())


def merged(candidates: Sequence[Candidate]) -> dict[Digest, Candidate]:
    """One candidate per digest: the newest time counts, and every reason is named."""
    found: dict[Digest, Candidate] = {}
    for each in candidates:
        other = found.get(each.digest)
        if other is None:
            found[each.digest] = each
            continue
        why = ", ".join(dict.fromkeys(word for word in (other.why, each.why) if word))
        found[each.digest] = Candidate(digest=each.digest, since=latest((other.since, each.since)), why=why)
    return found


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:  # the 31st of February
        return None
