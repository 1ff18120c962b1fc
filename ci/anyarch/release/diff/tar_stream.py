"""A tar archive as a stream of entries: each file's content becomes its digest while it passes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from anyarch.errors import ContentError
from anyarch.release.diff.entry import Entry, Kind, shown
from anyarch.release.diff.limits import SPECIAL_HEADER_MAX_BYTES
from anyarch.release.diff.tar_header import (
    BLOCK_BYTES,
    XATTR_PREFIX,
    ZERO_BLOCK,
    Header,
    apply_pax,
    parse_header,
    parse_pax,
)
from anyarch.release.diff.tar_sparse import expand, read_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyarch.release.diff.byte_source import ByteSource
    from anyarch.release.diff.limits import Budget

_XATTR_SHOWN_BYTES: Final = 64
_SPARSE_TYPE: Final = b"S"
_KINDS: Final = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,  # "contiguous", which no system makes a difference of
    _SPARSE_TYPE: Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER_DEVICE,
    b"4": Kind.BLOCK_DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_LINKS: Final = {Kind.SYMLINK, Kind.HARD_LINK}


def read_entries(source: ByteSource, *, budget: Budget, subject: str) -> Iterator[tuple[str, Entry]]:
    """Every entry's name as written, and what the archive says about it; reads to the last byte.

    The bytes are held to their diff_id after the last entry.

    Args:
        source: The uncompressed archive.
        budget: What entries are counted against.
        subject: Whose archive it is, for messages.

    Raises:
        ContentError: damaged, truncated, not what its diff_id says, over a limit, or with an entry that no
            runtime unpacks.
    """
    while (found := _next_header(source, subject=subject)) is not None:
        header, pax = found
        name = _decoded(header.name)
        here = f"{subject}: {shown(name)[:200]}"
        entry = _entry(name, header, pax, source, budget=budget, subject=here)
        names = (
            len(header.name) + len(header.link) + sum(len(key) + len(value) for key, value in entry.xattrs)
        )
        budget.spend_entry(names, subject=subject)
        yield name, entry
    source.finish()


def _next_header(source: ByteSource, *, subject: str) -> tuple[Header, dict[str, bytes]] | None:
    """The next entry's header with everything said before it, or None at the end of the archive."""
    pax: dict[str, bytes] = {}
    long_name = long_link = b""
    expects_entry = False
    while (block := _next_block(source, subject=subject)) is not None:
        header = parse_header(block, subject=subject)
        if header.type == b"x":
            pax = parse_pax(_special(header, source, subject=subject), subject=subject)
        elif header.type == b"L":
            long_name = _special(header, source, subject=subject).partition(b"\0")[0]
        elif header.type == b"K":
            long_link = _special(header, source, subject=subject).partition(b"\0")[0]
        elif header.type == b"g":
            # Global records would hold for all later entries, but every container runtime ignores them.
            _special(header, source, subject=subject)
            continue
        else:
            apply_pax(header, pax, subject=subject)
            header.name = long_name or header.name
            header.link = long_link or header.link
            return header, pax
        expects_entry = True
    if expects_entry:
        raise source.truncated("an entry")
    return None


def _next_block(source: ByteSource, *, subject: str) -> bytes | None:
    """The next header block; None at the end, which is two blocks of zeros or no more bytes."""
    block = source.read(BLOCK_BYTES)
    if block == ZERO_BLOCK:
        block = source.read(BLOCK_BYTES)
        if block not in {ZERO_BLOCK, b""}:
            raise ContentError(f"{subject}: a block of zeros in the middle of the archive")
        return None
    if not block:
        return None
    if len(block) < BLOCK_BYTES:
        raise source.truncated("a header")
    return block


def _special(header: Header, source: ByteSource, *, subject: str) -> bytes:
    """The content of a header that is about the next entry."""
    if header.size > SPECIAL_HEADER_MAX_BYTES:
        raise ContentError(
            f"{subject}: an extended header of {header.size} bytes; {SPECIAL_HEADER_MAX_BYTES} are allowed"
        )
    content = source.exactly(header.size, of="an extended header")
    source.skip(-header.size % BLOCK_BYTES, of="an extended header")
    return content


def _entry(
    name: str, header: Header, pax: dict[str, bytes], source: ByteSource, *, budget: Budget, subject: str
) -> Entry:
    kind = _KINDS.get(header.type)
    if kind is None:
        raise ContentError(f"{subject}: a tar entry of type {header.type!r}, which no runtime unpacks")
    if header.type == b"\0" and name.endswith("/"):
        kind = Kind.DIRECTORY  # as tar wrote directories before it had a type for them
    size, content = 0, b""
    if kind is Kind.FILE:
        size, content = _content(header, pax, source, budget=budget, subject=subject)
    return Entry(
        kind=kind,
        mode=header.mode,
        uid=header.uid,
        gid=header.gid,
        size=size,
        content=content,
        target=_decoded(header.link) if kind in _LINKS else "",
        device=header.device,
        xattrs=_xattrs(pax),
        mtime_ns=header.mtime_ns,
    )


def _content(
    header: Header, pax: dict[str, bytes], source: ByteSource, *, budget: Budget, subject: str
) -> tuple[int, bytes]:
    """A file's size and sha256; its bytes are read and forgotten."""
    running = hashlib.sha256()
    sparse = read_map(header, pax, source, subject=subject)
    if sparse is None:
        size = stored = header.size
        pieces: Iterator[bytes | memoryview] = source.pieces(size)
    else:
        size, stored = sparse.size, sparse.stored
        budget.spend_content(size - stored, subject=subject)  # holes cost no bytes, but time
        pieces = expand(sparse, source)
    found = 0
    for piece in pieces:
        running.update(piece)
        found += len(piece)
    if found != size:
        raise source.truncated(subject.rpartition(": ")[2])
    source.skip(-stored % BLOCK_BYTES, of="the padding behind a file")
    return size, running.digest()


def _xattrs(pax: dict[str, bytes]) -> tuple[tuple[str, str], ...]:
    return tuple(
        sorted(
            (key.removeprefix(XATTR_PREFIX), _shown_value(value))
            for key, value in pax.items()
            if key.startswith(XATTR_PREFIX)
        )
    )


def _shown_value(value: bytes) -> str:
    if len(value) <= _XATTR_SHOWN_BYTES:
        return value.hex()
    return f"sha256:{hashlib.sha256(value).hexdigest()}"


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
