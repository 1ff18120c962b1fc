"""Sparse files: tar stores the parts that hold data, and a map that says where they go.

GNU's four ways to write the map: https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from anyarch.errors import ContentError
from anyarch.release.diff.limits import PIECE_BYTES, SPECIAL_HEADER_MAX_BYTES
from anyarch.release.diff.tar_header import BLOCK_BYTES, SPARSE_MAP, Header, decimal, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyarch.release.diff.byte_source import ByteSource

_OLD_GNU_TYPE: Final = b"S"
_REGIONS_MAX: Final = SPECIAL_HEADER_MAX_BYTES // 24  # the oldest format's 24 bytes for each
_ZEROS: Final = bytes(PIECE_BYTES)


@dataclass(frozen=True, slots=True)
class Sparse:
    """Where a sparse file's stored bytes go, and how long the file is.

    Args:
        regions: Offset and length of each part that holds data, in order.
        size: The whole file's length in bytes, holes included.
        stored: How many bytes of the entry hold data, the map left out.
    """

    regions: tuple[tuple[int, int], ...]
    size: int
    stored: int


def read_map(header: Header, pax: dict[str, bytes], source: ByteSource, *, subject: str) -> Sparse | None:
    """Read a sparse file's map, if the entry is one; what follows in ``source`` is its data.

    Raises:
        ContentError: a map that overlaps, leaves the file or does not fit the data.
    """
    stored = header.size
    if header.type == _OLD_GNU_TYPE:
        size, numbers = _old_gnu(header.block, source, subject=subject)
    elif "GNU.sparse.major" in pax or SPARSE_MAP in pax:
        length = pax.get("GNU.sparse.realsize") or pax.get("GNU.sparse.size") or b""
        size = decimal(length, "sparse size", subject=subject)
        version = (pax.get("GNU.sparse.major", b"0"), pax.get("GNU.sparse.minor", b"1"))
        if version == (b"1", b"0"):
            numbers, map_bytes = _map_in_data(source, stored, subject=subject)
            stored -= map_bytes
        elif version[0] == b"0":
            text = pax.get(SPARSE_MAP, b"")
            words = text.split(b",") if text else []
            numbers = [decimal(word, "sparse map", subject=subject) for word in words]
        else:
            raise ContentError(f"{subject}: an unknown format of sparse files")
    else:
        return None
    return _checked(numbers, size, stored, subject=subject)


def expand(sparse: Sparse, source: ByteSource) -> Iterator[bytes | memoryview]:
    """The whole file's bytes, holes as zeros. The source is left at the end of the stored data."""
    at = 0
    for offset, length in sparse.regions:
        yield from _zeros(offset - at)
        yield from source.pieces(length)
        at = offset + length
    yield from _zeros(sparse.size - at)


def _zeros(count: int) -> Iterator[memoryview]:
    while count > 0:
        part = memoryview(_ZEROS)[:count]
        count -= len(part)
        yield part


def _old_gnu(block: bytes, source: ByteSource, *, subject: str) -> tuple[int, list[int]]:
    """Four regions in the header, more in extension blocks of 21."""
    size = number(block[483:495], "sparse size", subject=subject)
    numbers = _pairs(block[386:482], subject=subject)
    extended = block[482]
    while extended:
        block = source.exactly(BLOCK_BYTES, of="a sparse file's map")
        numbers += _pairs(block[:504], subject=subject)
        extended = block[504]
        if len(numbers) > 2 * _REGIONS_MAX:
            raise ContentError(f"{subject}: a sparse file of more than {_REGIONS_MAX} parts")
    return size, numbers


def _pairs(data: bytes, *, subject: str) -> list[int]:
    """Offsets and lengths of 12 bytes each; an offset that starts with a NUL ends the list."""
    numbers: list[int] = []
    for at in range(0, len(data) - 23, 24):
        if data[at] == 0:
            break
        numbers.append(number(data[at : at + 12], "sparse offset", subject=subject))
        numbers.append(number(data[at + 12 : at + 24], "sparse length", subject=subject))
    return numbers


def _map_in_data(source: ByteSource, stored: int, *, subject: str) -> tuple[list[int], int]:
    """Decimal lines before the data, filled up to a whole block: how many parts, then the pairs."""
    text = b""
    while True:
        if len(text) >= min(stored, SPECIAL_HEADER_MAX_BYTES):
            raise ContentError(f"{subject}: a sparse file's map does not end")
        text += source.exactly(BLOCK_BYTES, of="a sparse file's map")
        first, _, rest = text.partition(b"\n")
        lines = rest.count(b"\n")
        if not first.isdigit() or len(first) > 7:
            raise ContentError(f"{subject}: a sparse file's map has no length")
        if lines >= 2 * int(first):
            words = rest.split(b"\n")[: 2 * int(first)]
            return [decimal(word, "sparse map", subject=subject) for word in words], len(text)


def _checked(numbers: list[int], size: int, stored: int, *, subject: str) -> Sparse:
    regions = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    ends = [(offset, offset + length) for offset, length in regions]
    fits = (
        len(numbers) % 2 == 0
        and all(number >= 0 for number in [*numbers, size])
        and all(before[1] <= after[0] for before, after in pairwise(ends))
        and (not ends or ends[-1][1] <= size)
        and sum(length for _, length in regions) == stored
    )
    if not fits:
        raise ContentError(f"{subject}: a sparse file's map does not fit its data")
    return Sparse(regions, size, stored)
