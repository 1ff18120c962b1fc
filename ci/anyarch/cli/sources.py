"""What is built from: a commit, and the digest of the files that no commit answers for."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anyarch.cli.checkout import lies_in
from anyarch.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from anyarch.cli.checkout import Checkout


@dataclass(frozen=True, slots=True)
class Sources:
    """The commit, with ``-dirty`` if it is not all, and the digest of the rest; None where there is none.

    ``why`` says which files that rest is.
    """

    revision: str | None
    changes: Digest | None
    why: str


def sources_of(checkout: Checkout, context: Path, ours: Iterable[Path]) -> Sources:
    """What a build of a context is made of.

    In a checkout the files that differ from the commit count, untracked ones too, ignored ones not; where
    git cannot say which those are, all of the context counts.

    Args:
        checkout: The git checkout of the application's folder.
        context: The build context.
        ours: Files and folders that count for nothing: what we write ourselves.
    """
    base, commit = context.resolve(), checkout.commit()
    left_out = {path.parent.resolve() / path.name for path in ours} - {base}
    listed = checkout.uncommitted(context) if commit else None
    if listed is None:
        found, why = set(_below(base, left_out)), "all files: not in git"
    else:
        found, why = {path for path in listed if not lies_in(path, left_out)}, "uncommitted"
        # Among them may be a checkout inside this one, or an empty folder where a file was.
        found |= {each for path in found for each in _below(path, left_out)}
    if listed is not None and not found:
        return Sources(commit, None, "git")
    return Sources(f"{commit}-dirty" if commit else None, _digest(base, found), why)


def _below(top: Path, left_out: Collection[Path]) -> Iterator[Path]:
    """A file, or all files below a folder."""
    waiting = [top]
    while waiting:
        path = waiting.pop()
        if path.name == ".git" or path in left_out:
            continue
        try:
            if stat.S_ISDIR(path.lstat().st_mode):
                waiting += path.iterdir()
                continue
        except OSError:
            pass  # _state says so
        yield path


def _digest(base: Path, paths: Iterable[Path]) -> Digest:
    whole = hashlib.sha256()
    named = {os.fsencode(os.path.relpath(path, base)): path for path in paths}
    for name in sorted(named):
        whole.update(b"%s\0%s\0" % (name, _state(named[name])))
    return Digest.parse(f"sha256:{whole.hexdigest()}")


def _state(path: Path) -> bytes:
    """Kind, mode and content. What cannot be read is as good as absent: the Dagger client cannot send it."""
    try:
        mode = path.lstat().st_mode
        content = hashlib.sha256()
        if stat.S_ISLNK(mode):
            content.update(os.fsencode(path.readlink()))
        elif stat.S_ISREG(mode):
            # It may have been swapped meanwhile, for a pipe that would hold us for ever.
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(number, "rb", buffering=0) as file:
                content = hashlib.file_digest(file, "sha256")
    except OSError:
        return b"absent"
    return b"%o %s" % (mode, content.hexdigest().encode())
