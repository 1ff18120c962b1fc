"""What a prune did, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyarch.cli import output
from anyarch.registry.ecr_host import EcrHost
from anyarch.release.prune.age import exactly

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from anyarch.release.prune.prune import Pruned, Pruning


def document(done: Pruning, *, older_than: timedelta) -> dict[str, object]:
    """The result as a JSON object."""
    return {
        "schema": 1,
        "repository": done.repository,
        "dry_run": done.dry_run,
        "older_than_seconds": int(older_than.total_seconds()),
        "removed": [
            {
                "digest": str(each.node.digest),
                "kind": each.node.kind,
                "platform": each.node.platform or None,
                "bytes": each.node.size,
                "since": _time(each.since),
                "why": each.why or None,
            }
            for each in done.removed
        ],
        "kept": [
            {"digest": str(each.digest), "why": each.why, "reason": reason} for each, reason in done.kept
        ],
        "gone": [{"digest": str(each.digest), "why": each.why} for each in done.gone],
        "young": done.young,
        "freed_bytes": done.freed_bytes,
        "freed_bytes_exact": done.exact,
    }


def lines(done: Pruning, *, older_than: timedelta, pulls: bool = True) -> list[str]:
    """The result for people; what was deleted was told as it happened.

    Args:
        done: What was done.
        older_than: Nothing younger went.
        pulls: Whether a pull made an image younger, where pulls are known.
    """
    said = _planned(done.removed) if done.dry_run else []
    said += [
        f"kept     {each.digest}  ({each.why or 'its index goes'}): {reason}" for each, reason in done.kept
    ]
    said += [f"gone     {each.digest}  ({each.why}): it is not there any more" for each in done.gone]
    age = exactly(older_than)
    if done.young:
        counted = pulls and EcrHost.parse(done.repository.partition("/")[0]) is not None
        since = ", or pulled since; prune's own reads are pulls (--ignore-pulls)" if counted else ""
        said.append(f"{done.young} more without a tag: needed by nothing, but younger than {age}{since}")
    if not done.removed:
        looked = f"{done.tags} tag{'s' if done.tags != 1 else ''} looked at"
        return [*said, f"{done.repository}: nothing to delete that is older than {age}; {looked}"]
    return [*said, _sum(done), *(["dry run: nothing was deleted"] if done.dry_run else [])]


def deleted(pruned: Pruned) -> str:
    """One deletion, told when it has happened."""
    platform = f" {pruned.node.platform}" if pruned.node.platform else ""
    why = f"  ({pruned.why})" if pruned.why else ""
    return f"deleted  {pruned.node.digest}  {pruned.node.kind}{platform}{why}"


def _planned(removed: Sequence[Pruned]) -> list[str]:
    rows = [
        [
            "delete",
            each.node.kind,
            each.node.platform or "-",
            str(each.node.digest),
            (_time(each.since) or "-")[:10],
            each.why or "nothing needs it",
        ]
        for each in removed
    ]
    return output.table(("", "KIND", "PLATFORM", "DIGEST", "UNUSED SINCE", "WHY"), rows) if rows else []


def _sum(done: Pruning) -> str:
    freed = "would free" if done.dry_run else "freed"
    count = f"{len(done.removed)} thing{'s' if len(done.removed) != 1 else ''}"
    if done.exact:
        return f"{count}; {freed} {output.size(done.freed_bytes)}"
    return (
        f"{count}; {freed} at most {output.size(done.freed_bytes)}, once the registry collects its garbage; "
        "layers that other images share stay"
    )


def _time(when: datetime | None) -> str | None:
    return None if when is None else when.strftime("%Y-%m-%dT%H:%M:%SZ")
