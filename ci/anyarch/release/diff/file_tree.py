"""The file tree of an image: layers applied one upon the other, as a runtime unpacks them.

Rules: https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets. Where it
leaves something open, this does as containerd and Docker do on overlayfs; each such place says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from anyarch.errors import ContentError
from anyarch.release.diff.entry import IMPLIED_DIRECTORY, Entry, Kind, shown
from anyarch.release.diff.limits import NAME_MAX_BYTES, PATH_MAX_BYTES, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WHITEOUT: Final = ".wh."
_WHITEOUT_META: Final = ".wh..wh."
_OPAQUE: Final = ".wh..wh..opq"
_LINKS_FOLLOWED_MAX: Final = 40  # Linux's own limit for one path


class Node:
    """One path of a tree. Two hard links are one node under two names.

    Args:
        entry: What the path is.
        children: A directory's names; None for anything else.
        layer: Number of the layer that put it here.
    """

    __slots__ = ("children", "entry", "layer")

    def __init__(self, entry: Entry, *, layer: int) -> None:
        self.entry = entry
        self.children: Names | None = {} if entry.kind is Kind.DIRECTORY else None
        self.layer = layer


Names = dict[str, Node]
Parts = tuple[str, ...]


class FileTree:
    """What a container of the image finds under ``/``, after the layers applied so far."""

    def __init__(self, *, limits: Limits | None = None) -> None:
        self.root = Node(IMPLIED_DIRECTORY, layer=0)
        self._top: Names = {}
        self.root.children = self._top
        self._limits = limits or Limits()
        self._layer = 0
        self._made = 0
        self._waiting: dict[Parts, tuple[Entry, str]] = {}

    def apply(self, entries: Iterable[tuple[str, Entry]], *, subject: str) -> None:
        """Apply one layer.

        Whiteouts hide only what lower layers brought, wherever in the layer they are written.

        Args:
            entries: Names as written, and what is there.
            subject: Whose layer it is, for messages.

        Raises:
            ContentError: a path outside the root, a hard link to nothing, a file below a file.
        """
        self._layer += 1
        present: list[tuple[Parts, Entry, str]] = []
        for name, entry in entries:
            here = f"{subject}: {shown(name)[:200]}"
            parts = split_path(name, subject=here)
            if _WHITEOUT not in name or not self._whiteout(parts, subject=here):
                present.append((parts, entry, here))
        for parts, entry, here in present:
            self._place(parts, entry, subject=here)
        self._link_the_waiting()

    def walk(self) -> Iterator[tuple[str, Entry]]:
        """Every path, ``/`` first, a directory before what is in it, names in order."""
        waiting = [("", self.root)]
        while waiting:
            path, node = waiting.pop()
            yield path or "/", node.entry
            children = node.children or {}
            waiting.extend((f"{path}/{name}", children[name]) for name in sorted(children, reverse=True))

    def _whiteout(self, parts: Parts, *, subject: str) -> bool:
        """Hide what a whiteout names; False if the name is not that of a whiteout."""
        if not parts:
            return False
        folder, last = parts[:-1], parts[-1]
        if last == _OPAQUE:
            names = self._names_below(folder)
            if names is not None:
                names.clear()
            return True
        if any(part.startswith(_WHITEOUT_META) for part in parts):
            return True  # aufs kept its own files under such names; runtimes pass over them
        if not last.startswith(_WHITEOUT):
            return False
        hidden = last.removeprefix(_WHITEOUT)
        if hidden in {"", ".", ".."}:
            raise ContentError(f"{subject}: a whiteout that names nothing")
        names = self._names_below(folder)
        if names is not None:
            names.pop(hidden, None)
        return True

    def _names_below(self, parts: Parts) -> Names | None:
        """The names in a directory of the lower layers; None if there is no such directory."""
        names: Names | None = self._top
        for part in parts:
            child = names.get(part) if names is not None else None
            names = child.children if child is not None else None
        return names

    def _place(self, parts: Parts, entry: Entry, *, subject: str) -> None:
        if not parts:
            if entry.kind is not Kind.DIRECTORY:
                raise ContentError(f"{subject}: the root of the file tree must be a directory")
            self.root.entry = entry
            return
        folder, last = self._folder(parts[:-1], subject=subject), parts[-1]
        if entry.kind is Kind.HARD_LINK:
            target = self._link_target(entry, subject=subject)
            if target is None or target.layer != self._layer:
                self._waiting[parts] = (entry, subject)  # this layer may still bring it
            else:
                self._link(folder, last, target, entry, subject=subject)
            return
        self._waiting.pop(parts, None)
        there = folder.get(last)
        if there is not None and there.children is not None and entry.kind is Kind.DIRECTORY:
            there.entry, there.layer = entry, self._layer
        else:
            folder[last] = self._new(entry, subject=subject)

    def _new(self, entry: Entry, *, subject: str) -> Node:
        self._made += 1
        if self._made > self._limits.entries:
            raise ContentError(f"{subject}: more than {self._limits.entries} paths in one image")
        return Node(entry, layer=self._layer)

    def _folder(self, parts: Parts, *, subject: str) -> Names:
        """The names in the directory that a path lies in; directories are made where they are missing."""
        names = self._enter(parts, make=True, subject=subject)
        if names is None:  # making leaves nothing missing
            raise ContentError(f"{subject}: lies in no directory")
        return names

    def _enter(self, parts: Parts, *, make: bool, subject: str) -> Names | None:
        """The names in a directory, links on the way followed.

        While making, a symbolic link is followed if this layer brought it. One of a lower layer gives
        way to a directory: on overlayfs a layer is unpacked without a look at those below it.
        """
        stack = [self._top]
        todo = list(reversed(parts))
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                stack = stack[:-1] or stack
                continue
            child = stack[-1].get(part)
            if make and (child is None or (child.children is None and child.layer != self._layer)):
                child = stack[-1][part] = self._new(IMPLIED_DIRECTORY, subject=subject)
            if child is not None and child.entry.kind is Kind.SYMLINK:
                links += 1
                if links > _LINKS_FOLLOWED_MAX:
                    raise ContentError(f"{subject}: a loop of symbolic links on the way")
                stack = [self._top] if child.entry.target.startswith("/") else stack
                todo += [word for word in reversed(child.entry.target.split("/")) if word not in {"", "."}]
            elif child is not None and child.children is not None:
                stack.append(child.children)
            elif make:
                raise ContentError(f"{subject}: lies below something of the same layer that is no directory")
            else:
                return None
        return stack[-1]

    def _link_target(self, link: Entry, *, subject: str) -> Node | None:
        """The node that a hard link names, if it is there by now."""
        parts = split_path(link.target, subject=f"{subject}: hard link to {shown(link.target)[:200]}")
        names = self._enter(parts[:-1], make=False, subject=subject)
        return None if names is None or not parts else names.get(parts[-1])

    def _link(self, folder: Names, last: str, target: Node, link: Entry, *, subject: str) -> None:
        """Put a second name of ``target`` into ``folder``.

        The link's own header counts for owner and mode: unpacking sets them, for all names at once.
        """
        if target.children is not None:
            raise ContentError(f"{subject}: a hard link to a directory, {shown(link.target)[:200]}")
        target.entry = replace(target.entry, mode=link.mode, uid=link.uid, gid=link.gid)
        target.layer = self._layer
        folder[last] = target

    def _link_the_waiting(self) -> None:
        """Make the hard links that came before their targets, or whose targets lower layers brought."""
        while self._waiting:
            chain = [next(iter(self._waiting))]
            seen = set(chain)
            # A link may name another one that waits: that one first.
            while (target := split_path(self._waiting[chain[-1]][0].target, subject="")) in self._waiting:
                if target in seen:
                    raise ContentError(f"{self._waiting[target][1]}: a loop of hard links")
                chain.append(target)
                seen.add(target)
            for parts in reversed(chain):
                link, subject = self._waiting.pop(parts)
                node = self._link_target(link, subject=subject)
                if node is None:
                    raise ContentError(
                        f"{subject}: a hard link to {shown(link.target)[:200]}, which is not there"
                    )
                folder = self._folder(parts[:-1], subject=subject)
                self._link(folder, parts[-1], node, link, subject=subject)


def split_path(name: str, *, subject: str) -> Parts:
    """The components of a path below the root: ``./a//b/``, ``/a/b`` and ``a/x/../b`` are all a, b.

    Raises:
        ContentError: the path leaves the root, or is longer than a system can unpack.
    """
    if len(name) * 4 > NAME_MAX_BYTES:  # a character has at most four bytes
        components = name.encode("utf-8", "surrogateescape").split(b"/")
        longest = max(len(component) for component in components)
        if sum(map(len, components)) + len(components) - 1 > PATH_MAX_BYTES or longest > NAME_MAX_BYTES:
            raise ContentError(f"{subject}: a path that is too long for any file system")
    parts: list[str] = []
    for part in name.split("/"):
        if part in {"", "."}:
            continue
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise ContentError(f"{subject}: a path that leaves the root of the file tree")
    return tuple(parts)
