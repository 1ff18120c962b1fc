"""Control groups: one of our own per engine in every hierarchy, so that its remains can be found and removed.

Version 1 (one hierarchy per controller), version 2 (one for all) and both at once are the same here: a list
of mounted hierarchies.
"""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from anyarch.errors import EngineStartError

_ROOT: Final = Path("/sys/fs/cgroup")
_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_NOT_CONTROLLERS: Final = frozenset({"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"})
_REMOVE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted tree of control groups."""

    at: Path
    type: str  # cgroup or cgroup2
    options: str  # for mounting the same hierarchy again

    def group(self, name: str) -> Path:
        """The folder of an engine's group."""
        return self.at / f"anyarch-{name}"


def parse(mountinfo: str) -> tuple[Hierarchy, ...]:
    """The hierarchies among a process's mounts."""
    found = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        at = Path(before.split()[4])
        kind, _, options = after.split()[:3]
        if kind in {"cgroup", "cgroup2"} and at.is_relative_to(_ROOT):
            found[at] = Hierarchy(at, kind, _mount_options(options) if kind == "cgroup" else "")
    return tuple(found.values())


def _mount_options(options: str) -> str:
    words = [word for word in options.split(",") if word not in _NOT_CONTROLLERS]
    words = [word for word in words if not word.startswith("release_agent=")]
    return ",".join(["none", *words] if any(word.startswith("name=") for word in words) else words)


def create(name: str) -> tuple[Hierarchy, ...]:
    """Make the engine's group in every hierarchy.

    Raises:
        EngineStartError: there are none, or they cannot be written to.
    """
    hierarchies = parse(_MOUNTINFO.read_text())
    if not hierarchies:
        raise EngineStartError(
            f"no control groups are mounted under {_ROOT}",
            hint="containers need them: mount -t cgroup2 none /sys/fs/cgroup",
        )
    try:
        for hierarchy in hierarchies:
            group = hierarchy.group(name)
            group.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):  # version 1 refuses processes while they are empty
                if hierarchy.type == "cgroup" and (group / file).exists():
                    (group / file).write_text((hierarchy.at / file).read_text())
    except OSError as error:
        raise EngineStartError(
            f"control groups cannot be made: {error}",
            hint="in a container, run it privileged and with control groups it may write to",
        ) from error
    return hierarchies


async def remove(name: str) -> None:
    """End whatever still runs in the engine's groups, and remove them with everything below.

    Usually nothing does: with the engine, its namespace ends. But a record can get lost.
    """
    for hierarchy in parse(_MOUNTINFO.read_text()):
        group = hierarchy.group(name)
        with anyio.move_on_after(_REMOVE_SECONDS):
            while not _removed(group):
                _kill(group)
                await anyio.sleep(0.05)


def _kill(group: Path) -> None:
    """End every process of the tree; a group of ours holds none but ours."""
    for file in group.rglob("cgroup.procs"):
        for pid in _words(file):
            if int(pid) > 0:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []  # the group went away meanwhile


def _removed(group: Path) -> bool:
    """Whether the tree is gone now; a group stays busy for a moment after its last process has ended."""
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
