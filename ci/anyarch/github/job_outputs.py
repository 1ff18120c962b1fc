"""What ``plan`` and ``merge`` tell the rest of a workflow: the step outputs that image.yml is wired to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyarch.errors import UsageError
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.labels import PREFIX
from anyarch.release.matrix import github_matrix

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.release.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user name, empty for none, and where dagger finds the password: ``env:NAME`` or ``cmd:COMMAND``."""

    username: str
    password: str


def plan_outputs(plan: Plan, *, source: str, insecure: Collection[str], login: Login) -> dict[str, str]:
    """The outputs of ``anyarch plan --format github``.

    That a registry has no TLS is said twice: dagger's flag is a boolean about where builds push to, ``merge``
    wants to know which ones, of all destinations.

    Args:
        plan: The plan.
        source: The build context as a path from where the build jobs start: what ``--source`` gets.
        insecure: Registries that are spoken to without TLS.
        login: How builds sign in at the first destination.

    Raises:
        UsageError: a destination is an OCI layout, which jobs on different machines cannot share.
    """
    for folder in (each for each in plan.destinations if each.startswith(LAYOUT_PREFIX)):
        raise UsageError(
            f"{folder} is a folder of one machine, but each platform is built on another",
            hint="give a repository: --to HOST/PATH, or `image` in anyarch.toml",
            destination=folder,
        )
    hosts = list(dict.fromkeys(each.partition("/")[0] for each in plan.destinations))
    return {
        "matrix": json.dumps(github_matrix(plan), separators=(",", ":")),
        "destination": plan.destination,
        "source": source,
        "tags": " ".join(plan.tags),
        "version": plan.build.labels.get(f"{PREFIX}version", ""),
        "username": login.username,
        "password": login.password,
        "insecure": "true" if hosts[0] in insecure else "false",
        "insecure-registry": " ".join(host for host in hosts if host in insecure),
    }


def release_outputs(digest: Digest, tags: Sequence[str]) -> dict[str, str]:
    """The outputs of ``anyarch merge --format github``: the index, and its tags between spaces."""
    return {"digest": str(digest), "tags": " ".join(tags)}
