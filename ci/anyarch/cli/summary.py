"""A release as people and programs read it: its platforms, its tags, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import join
from typing import TYPE_CHECKING

from anyarch.cli.output import UNKNOWN, seconds, size, table
from anyarch.release.config import LAYOUT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from anyarch.oci.platforms import Platform
    from anyarch.oci.write import Write
    from anyarch.release.assemble import Assembly
    from anyarch.release.promote import Promotion
    from anyarch.release.released import Release, ReleasedChild, TagResult


@dataclass(frozen=True, slots=True)
class Built:
    """How this very run built a platform. ``seconds`` is the whole time, from call to record."""

    engine: str
    seconds: float


def lines(
    done: Assembly, *, built: Mapping[Platform, Built] | None = None, insecure: Collection[str] = ()
) -> list[str]:
    """The release as text: its platforms, then each destination.

    Args:
        done: What was merged.
        built: What this run built itself; None where merging was all it did.
        insecure: Registries without TLS: the way back needs to know them too.
    """
    release = done.release
    head = ["PLATFORM", "BUILT", "SECONDS", "SIZE", "DIGEST"]
    rows = [_row(child, built or {}) for child in release.children]
    rows += [[str(platform), "missing (optional)", "-", "-", "-"] for platform in release.missing]
    if built is not None:
        head.insert(2, "ENGINE")
        for row, child in zip(rows, release.children, strict=False):
            platform = child.platform
            row.insert(2, built[platform].engine if platform in built else "(earlier run)")
        for row in rows[len(release.children) :]:
            row.insert(2, "-")
    if all(_seconds(child, built or {}) is None for child in release.children):
        unknown = head.index("SECONDS")
        for row in (head, *rows):
            del row[unknown]
    return [
        *table(head, rows, right=("SECONDS", "SIZE")),
        *(line for each in done.releases for line in _destination_lines(each, insecure)),
        *(["dry run: nothing was written"] if release.dry_run else []),
    ]


def document(
    done: Assembly,
    *,
    built: Mapping[Platform, Built] | None = None,
    insecure: Collection[str] = (),
) -> dict[str, object]:
    """The release for programs. Sizes are bytes to download, times seconds, null where unknown.

    ``index`` is the text whose bytes have the digest; ``writes`` were made, or would be on a dry run.
    ``repository``, ``index_action`` and ``tags`` are the first destination's, ``destinations`` are all;
    ``writes``, ``undo`` and ``warnings`` are of all.
    """
    release = done.release
    return {
        "schema": 1,
        "repository": release.repository,
        "digest": str(release.digest),
        "media_type": str(release.index.media_type),
        "size": release.index.size,
        "index": release.index.raw.decode(),
        "index_action": release.index_action,
        "writes": [_write(each) for each in done.writes],
        "dry_run": release.dry_run,
        "platforms": [_platform(child, built or {}) for child in release.children],
        "missing": [str(platform) for platform in release.missing],
        **tag_fields(release, insecure=insecure),
        "undo": [command for each in done.releases for command in undo_commands(each, insecure)],
        "warnings": [word for each in done.releases for word in each.warnings],
        "destinations": [
            {
                "repository": each.repository,
                "index_action": each.index_action,
                **tag_fields(each, insecure=insecure),
            }
            for each in done.releases
        ],
    }


def write_lines(writes: Sequence[Write]) -> list[str]:
    """Writes for people, one line each."""
    lines = []
    for each in writes:
        amount = "" if each.size is None else size(each.size)
        source = f"  from {each.source}" if each.source else ""
        lines.append(f"{each.action:5}  {amount:>9}  {each.where}{source}")
    return lines


def brought_line(writes: Sequence[Write], source: str, target: str) -> str:
    """All that was brought from one place to another, in one line."""
    manifests = sum(each.action == "put" for each in writes)
    counts = {"blob": len(writes) - manifests, "manifest": manifests}
    what = [f"{count} {name}{'s' if count != 1 else ''}" for name, count in counts.items() if count]
    amount = size(sum(each.size or 0 for each in writes))
    return f"brought  {' and '.join(what)}, {amount}, from {source} to {target}"


def way_back(release: Release | Promotion, *, insecure: Collection[str] = ()) -> list[str]:
    """The tags, what they pointed at before, and the commands that bring them back there."""
    dry = ["dry run: nothing was written"] if release.dry_run else []
    return [*_place_lines(release, insecure), *dry]


def tag_fields(release: Release | Promotion, *, insecure: Collection[str] = ()) -> dict[str, object]:
    """The same for programs."""
    return {
        "tags": [
            {
                "tag": str(each.tag),
                "action": each.action,
                "previous": None if each.previous is None else str(each.previous),
            }
            for each in release.tags
        ],
        "undo": undo_commands(release, insecure),
        "warnings": list(release.warnings),
    }


def undo_commands(release: Release | Promotion, insecure: Collection[str] = ()) -> list[str]:
    """The commands that bring moved tags back to what they pointed at."""
    host = release.repository.partition("/")[0]
    plain = [f"--insecure-registry={host}"] if host in insecure else []
    return [
        join(["anyarch", "rollback", f"{release.repository}:{each.tag}", f"--to={each.previous}", *plain])
        for each in _moved(release)
        if each.previous is not None
    ]


def _destination_lines(release: Release, insecure: Collection[str]) -> list[str]:
    return [
        "",
        f"index  {release.repository}@{release.digest}{_action(release.index_action)}",
        *_place_lines(release, insecure),
    ]


def _place_lines(release: Release | Promotion, insecure: Collection[str]) -> list[str]:
    warnings = [f"warning: {each}" for each in release.warnings]
    return [*_tag_lines(release), *_undo_lines(release, insecure), *warnings]


def _write(write: Write) -> dict[str, object]:
    return {
        "action": write.action,
        "what": None if write.what is None else str(write.what),
        "where": write.where,
        "from": write.source or None,
        "size": write.size,
    }


def _platform(child: ReleasedChild, built: Mapping[Platform, Built]) -> dict[str, object]:
    return {
        "platform": str(child.platform),
        "digest": str(child.digest),
        "execution": child.execution,
        "seconds": _seconds(child, built),
        "size": child.total_bytes,
        "attestations": child.attestations,
        "engine": built[child.platform].engine if child.platform in built else None,
    }


def _seconds(child: ReleasedChild, built: Mapping[Platform, Built]) -> float | None:
    """How long a platform took: the whole of it where this run built it, else its record's phases."""
    if child.platform in built:
        return round(built[child.platform].seconds, 3)
    phases = child.record.seconds
    return round(sum(phases.values()), 3) if phases else None


def _row(child: ReleasedChild, built: Mapping[Platform, Built]) -> list[str]:
    return [
        str(child.platform),
        child.execution or UNKNOWN,
        seconds(_seconds(child, built)),
        size(child.total_bytes),
        str(child.digest),
    ]


def _tag_lines(release: Release | Promotion) -> list[str]:
    if not release.tags:
        return ["tags   none: the index is only reachable by its digest; --tag names some"]
    width = max(len(str(each.tag)) for each in release.tags)
    return [f"tag    {each.tag!s:{width}}  {_was(each, release)}" for each in release.tags]


def _was(result: TagResult, release: Release | Promotion) -> str:
    if result.action == "unchanged":
        return "unchanged"
    would = "would be " if release.dry_run else ""
    return f"{would}moved, was {result.previous}" if result.previous else f"{would}new"


def _undo_lines(release: Release | Promotion, insecure: Collection[str]) -> list[str]:
    if release.dry_run:
        return []
    commands = undo_commands(release, insecure)
    new = [str(each.tag) for each in _moved(release) if each.previous is None]
    found = [f"undo   {command}" for command in commands]
    if new and release.repository.startswith(LAYOUT_PREFIX):
        folder = release.repository.removeprefix(LAYOUT_PREFIX)
        found.append(
            f"undo   {join(['rm', '-r', folder])}  (new: {', '.join(new)}; removes the whole layout)"
        )
    elif new:
        are, them = ("is", "it") if len(new) == 1 else ("are", "them")
        found.append(f"undo   {', '.join(new)} {are} new: delete {them} at the registry")
    return found


def _moved(release: Release | Promotion) -> Sequence[TagResult]:
    return [each for each in release.tags if each.action == "written"]


def _action(action: str) -> str:
    return {"unchanged": "  (unchanged)", "planned": "  (would be written)"}.get(action, "")
