"""A folder's git checkout: what tags and labels are made of where no workflow tells it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_GIT_SECONDS: Final = 10.0
# ssh://git@host:22/a/b.git, https://user:password@host/a/b.git; git@host:a/b.git
_URL: Final = re.compile(r"(?:https?|ssh|git)://(?:[^/@]*@)?([A-Za-z0-9.-]+)(?::\d+)?/(\S+)", re.ASCII)
_SHORT: Final = re.compile(r"(?:[^/@:]+@)?([A-Za-z0-9.-]+\.[A-Za-z0-9-]+):(?!/)(\S+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkout:
    """The checkout that a folder is in, asked anew each time; empty answers where there is none."""

    folder: Path
    environ: Mapping[str, str]

    def commit(self) -> str:
        """The whole commit id."""
        return self._git("rev-parse", "--verify", "HEAD")

    def uncommitted(self, context: Path) -> list[Path] | None:
        """The files here and in the build context that are not as in the commit, untracked ones too.

        A checkout inside this one is one name. None: git cannot say, or ignores the folder or the context.
        """
        folders = [self.folder.resolve(), context.resolve()]
        status = ("--literal-pathspecs", "status", "--porcelain", "-z", "--no-renames")
        said = self._answer(*status, "--untracked-files=all", "--ignored=matching", "--", *map(str, folders))
        if not said:
            return None if said is None else []
        root = self._answer("rev-parse", "--show-toplevel")
        if root is None:
            return None
        top = Path(os.fsdecode(root.removesuffix(b"\n")))
        entries = [(each[:2], top / os.fsdecode(each[3:])) for each in said.split(b"\0") if each]
        ignored = {path for state, path in entries if state == b"!!"}
        if any(lies_in(folder, ignored) for folder in folders):
            return None
        return [path for state, path in entries if state != b"!!"]

    def commit_date(self) -> datetime | None:
        """When the commit was made: the committer's date, as GitHub's API has it."""
        text = self._git("-c", "log.showSignature=false", "show", "-s", "--format=%cI", "HEAD")
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return None

    def ref(self) -> str:
        """The branch that is checked out; else the tag that was, or the only one that is at the commit."""
        branch = self._git("symbolic-ref", "-q", "HEAD")
        if branch:
            return branch
        tags = self.tags()
        moves = self._git("reflog", "show", "-1", "--grep-reflog=^checkout: ", "--format=%gs", "HEAD")
        asked = moves.rpartition(" to ")[2].removeprefix("refs/").removeprefix("tags/")
        if asked in tags:
            return f"refs/tags/{asked}"
        return f"refs/tags/{tags[0]}" if len(tags) == 1 else ""

    def tags(self) -> list[str]:
        """The tags at the commit."""
        return self._git("tag", "--points-at", "HEAD").splitlines()

    def default_branch(self) -> str:
        """The default branch of where this was cloned from."""
        head = self._git("symbolic-ref", "-q", "refs/remotes/origin/HEAD")
        return head.removeprefix("refs/remotes/origin/")

    def source(self) -> str:
        """The address of where this was cloned from, for a browser; empty if it is none."""
        return web_address(self._git("remote", "get-url", "origin"))

    def _git(self, *words: str) -> str:
        return (self._answer(*words) or b"").decode(errors="replace").strip()

    def _answer(self, *words: str) -> bytes | None:
        """What git prints; None if it fails, is not there, or takes too long."""
        git = shutil.which("git", path=self.environ.get("PATH"))
        if git is None:
            return None
        try:
            done = subprocess.run(
                [git, "-C", str(self.folder), *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_GIT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None


def lies_in(path: Path, others: Collection[Path]) -> bool:
    """Whether a path is one of the others, or below one."""
    return any(each in others for each in (path, *path.parents))


def web_address(remote: str) -> str:
    """A remote's address as ``https://host/path``, without user, password, port and ``.git``."""
    found = _URL.fullmatch(remote) or _SHORT.fullmatch(remote)
    return f"https://{found[1]}/{found[2].rstrip('/').removesuffix('.git')}" if found else ""
