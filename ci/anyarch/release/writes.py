"""The writes of a release, in order: what a dry run shows, and what a run has done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyarch.oci.write import Write
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.history import history_tag
from anyarch.release.ledger import with_history
from anyarch.release.moving import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.release.released import Release


def own_writes(releases: Sequence[Release]) -> list[Write]:
    """What one release writes itself in its places: every index, then the tags, the histories of those."""
    by_name = {release.repository: release for release in releases}
    moved = {
        name: {each.tag: each.previous for each in release.tags if each.action != "unchanged"}
        for name, release in by_name.items()
    }
    indexes = [
        _put(release, f"{name}@{release.digest}")
        for name, release in by_name.items()
        if release.index_action != "unchanged"
    ]
    tags = [_put(by_name[name], f"{name}:{tag}") for step in steps(moved) for name, tag in step]
    histories = [
        Write(action="put", what=None, where=f"{name}:{history_tag(tag)}")
        for name, before in moved.items()
        if not name.startswith(LAYOUT_PREFIX)  # a layout keeps no histories
        for tag in with_history(before)
    ]
    return [*indexes, *tags, *histories]


def _put(release: Release, where: str) -> Write:
    return Write(action="put", what=release.digest, where=where, size=release.index.size)
