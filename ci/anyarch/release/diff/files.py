"""File trees compared: every path, and what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from anyarch.release.diff.entry import Entry, Kind, shown
from anyarch.release.diff.model import Change, Difference, Side

if TYPE_CHECKING:
    from anyarch.release.diff.file_tree import FileTree, Node
    from anyarch.release.diff.ignore import Ignore

_AREA: Final = "file"
_NANOSECONDS_PER_SECOND: Final = 10**9


class TreeComparison:
    """Two trees walked side by side.

    Args:
        ignore: Paths that do not count.
        timestamps: Whether modification times count.
    """

    def __init__(self, *, ignore: Ignore, timestamps: bool) -> None:
        self._ignore = ignore
        self._timestamps = timestamps
        self.paths = 0
        self.differences: list[Difference] = []

    def compare(self, a: FileTree, b: FileTree) -> None:
        """Add what differs, in order of path, and count the paths looked at."""
        waiting: list[tuple[str, Node | None, Node | None]] = [("", a.root, b.root)]
        while waiting:
            path, left, right = waiting.pop()
            if path and self._ignore.path(path):
                continue
            self.paths += 1
            self._compare(path or "/", left, right)
            names = _children(left) | _children(right)
            waiting.extend(
                (f"{path}/{name}", _child(left, name), _child(right, name))
                for name in sorted(names, reverse=True)
            )

    def _compare(self, path: str, left: Node | None, right: Node | None) -> None:
        if left is not None and right is not None:
            if left.entry != right.entry and (changes := self._changes(left.entry, right.entry)):
                self.differences.append(Difference(area=_AREA, name=shown(path), changes=changes))
            return
        only_in, node = (Side.A, left) if left is not None else (Side.B, right)
        if node is not None:
            kind = node.entry.kind.value
            self.differences.append(Difference(area=_AREA, name=shown(path), only_in=only_in, kind=kind))

    def _changes(self, a: Entry, b: Entry) -> tuple[Change, ...]:
        if a.kind != b.kind:
            return (Change(what="type", a=a.kind.value, b=b.kind.value),)
        left, right = self._properties(a), self._properties(b)
        if a.mtime_ns is None or b.mtime_ns is None:
            left.pop("mtime", None)
            right.pop("mtime", None)
        return tuple(
            Change(what=what, a=left.get(what), b=right.get(what))
            for what in [*left, *sorted(right.keys() - left.keys())]
            if left.get(what) != right.get(what)
        )

    def _properties(self, entry: Entry) -> dict[str, str]:
        """What counts for a path of this type, in the order in which it is reported."""
        properties: dict[str, str] = {}
        if entry.kind is not Kind.SYMLINK:  # Linux gives every link 0777; tars say what they like
            properties["mode"] = f"{entry.mode:04o}"
        properties["owner"] = f"{entry.uid}:{entry.gid}"
        if entry.kind is Kind.FILE:
            properties |= {"size": str(entry.size), "content": f"sha256:{entry.content.hex()}"}
        if entry.kind is Kind.SYMLINK:
            properties["target"] = shown(entry.target)
        if entry.kind in {Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE}:
            properties["device"] = "{}:{}".format(*entry.device)
        properties |= {f"xattr {shown(name)}": value for name, value in entry.xattrs}
        if self._timestamps and entry.mtime_ns is not None:
            properties["mtime"] = _seconds(entry.mtime_ns)
        return properties


def _children(node: Node | None) -> set[str]:
    return set(node.children or ()) if node is not None else set()


def _child(node: Node | None, name: str) -> Node | None:
    return node.children.get(name) if node is not None and node.children is not None else None


def _seconds(nanoseconds: int) -> str:
    """Seconds since 1970, with a fraction only where there is one; exact, unlike a float."""
    sign, rest = ("-" if nanoseconds < 0 else ""), abs(nanoseconds)
    whole, fraction = divmod(rest, _NANOSECONDS_PER_SECOND)
    return f"{sign}{whole}" + (f".{fraction:09}".rstrip("0") if fraction else "")
