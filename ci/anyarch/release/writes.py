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
    moved = [
        {each.tag: each.previous for each in release.tags if each.action != "unchanged"}
        for release in releases
    ]
    indexes = [
        _put(release, f"{release.repository}@{release.digest}")
        for release in releases
        if release.index_action != "unchanged"
    ]
    tags = [
        _put(releases[number], f"{releases[number].repository}:{tag}")
        for step in steps(moved)
        for number, tag in step
    ]
    histories = [
        Write(action="put", what=None, where=f"{release.repository}:{history_tag(tag)}")
        for release, before in zip(releases, moved, strict=True)
        if not release.repository.startswith(LAYOUT_PREFIX)  # a layout keeps no histories
        for tag in with_history(before)
    ]
    return [*indexes, *tags, *histories]


def _put(release: Release, where: str) -> Write:
    return Write(action="put", what=release.digest, where=where, size=release.index.size)
