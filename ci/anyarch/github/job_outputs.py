"""What ``plan`` and ``merge`` tell the rest of a workflow: the step outputs that image.yml is wired to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from anyarch.errors import UsageError
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.labels import PREFIX
from anyarch.release.matrix import github_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.digest import Digest
    from anyarch.release.plan import Plan


def plan_outputs(plan: Plan, *, source: str, insecure: bool) -> dict[str, str]:
    """The outputs of ``anyarch plan --format github``.

    That a registry has no TLS is said twice: dagger's flag is a boolean, ``merge`` wants to know which one.

    Args:
        plan: The plan.
        source: The build context as a path from where the build jobs start: what ``--source`` gets.
        insecure: Whether the destination's registry is spoken to without TLS.

    Raises:
        UsageError: the destination is an OCI layout, which jobs on different machines cannot share.
    """
    if plan.destination.startswith(LAYOUT_PREFIX):
        raise UsageError(
            f"{plan.destination} is a folder of one machine, but each platform is built on another",
            hint="give a repository: --to HOST/PATH, or `image` in anyarch.toml",
            destination=plan.destination,
        )
    return {
        "matrix": json.dumps(github_matrix(plan), separators=(",", ":")),
        "destination": plan.destination,
        "source": source,
        "tags": " ".join(plan.tags),
        "version": plan.build.labels.get(f"{PREFIX}version", ""),
        "insecure": "true" if insecure else "false",
        "insecure-registry": plan.destination.partition("/")[0] if insecure else "",
    }


def release_outputs(digest: Digest, tags: Sequence[str]) -> dict[str, str]:
    """The outputs of ``anyarch merge --format github``: the index, and its tags between spaces."""
    return {"digest": str(digest), "tags": " ".join(tags)}
