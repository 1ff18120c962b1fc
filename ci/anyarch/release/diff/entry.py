"""What a layer says about one path, and what two paths are compared by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a path is; the values are the words that a reader sees."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"
    HARD_LINK = "hard link"  # only inside a layer: in a tree it is the file that it points at


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Everything about a path except its name and its bytes.

    Args:
        mode: The permission bits, set-user-ID, set-group-ID and sticky: ``0o7777`` at most.
        size: Of a file's content, in bytes; 0 for anything else.
        content: A file's sha256, 32 raw bytes; empty for anything else.
        target: Where a symbolic or hard link points, as written.
        device: Major and minor number of a device.
        xattrs: Extended attributes by name: the value in hexadecimal, or its sha256 where it is long.
        mtime_ns: Modification time in nanoseconds since 1970; None where no layer says (a directory
            that exists only because a file lies in it).
    """

    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    content: bytes = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, str], ...] = ()
    mtime_ns: int | None = None


IMPLIED_DIRECTORY = Entry(kind=Kind.DIRECTORY, mode=0o755)


def shown(name: str) -> str:
    """A path or other hostile text so that it is safe to print and still unambiguous."""
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(_shown_character(character) for character in name)


def _shown_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as surrogateescape keeps it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
