"""A folder's git checkout: what tags and labels are made of where no workflow tells it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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

    def revision(self) -> str | None:
        """The commit, with ``-dirty`` if tracked files differ from it; None if not known."""
        commit = self.commit()
        if not commit:
            return None
        changed = self._git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return f"{commit}-dirty" if changed else commit

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
        git = shutil.which("git", path=self.environ.get("PATH"))
        if git is None:
            return ""
        try:
            done = subprocess.run(
                [git, "-C", str(self.folder), *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_GIT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def web_address(remote: str) -> str:
    """A remote's address as ``https://host/path``, without user, password, port and ``.git``."""
    found = _URL.fullmatch(remote) or _SHORT.fullmatch(remote)
    return f"https://{found[1]}/{found[2].rstrip('/').removesuffix('.git')}" if found else ""
