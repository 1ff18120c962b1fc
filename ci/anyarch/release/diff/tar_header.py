"""Tar headers: one block of 512 bytes, and the PAX records that say more than fits in it.

Not the standard library's tarfile: it keeps every member, reads a PAX header of any size into memory,
and takes a damaged header in the middle of an archive for the end of it. Where tar readers disagree,
this one does as Go's archive/tar, since container runtimes unpack layers with that:
https://github.com/golang/go/blob/master/src/archive/tar/reader.go
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

from anyarch.errors import ContentError

BLOCK_BYTES: Final = 512
ZERO_BLOCK: Final = bytes(BLOCK_BYTES)

_MAX_NUMBER: Final = 2**63 - 1
_NANOSECONDS_PER_SECOND: Final = 10**9
_FRACTION_DIGITS: Final = 9
XATTR_PREFIX: Final = "SCHILY.xattr."
SPARSE_MAP: Final = "GNU.sparse.map"
_SPARSE_PAIR: Final = {"GNU.sparse.offset", "GNU.sparse.numbytes"}


@dataclass(slots=True, kw_only=True)
class Header:
    """One header block, with what the PAX and GNU headers before it put in its place."""

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: bytes
    device: tuple[int, int]
    is_gnu: bool
    block: bytes


def parse_header(block: bytes, *, subject: str) -> Header:
    """Read one header block.

    Raises:
        ContentError: the checksum does not hold, or a field is not a number.
    """
    _check_sum(block, subject=subject)
    magic = block[257:265]
    is_ustar, is_gnu = magic.startswith(b"ustar\0"), magic == b"ustar  \0"
    name = _text(block[:100])
    if is_ustar:
        # Star keeps two times behind a shorter prefix.
        end = 476 if block[508:] == b"tar\0" else 500
        if prefix := _text(block[345:end]):
            name = prefix + b"/" + name
    device = (0, 0)
    if (is_ustar or is_gnu) and block[156:157] in {b"3", b"4"}:
        device = (
            number(block[329:337], "devmajor", subject=subject),
            number(block[337:345], "devminor", subject=subject),
        )
    return Header(
        name=name,
        type=block[156:157],
        mode=number(block[100:108], "mode", subject=subject) & 0o7777,
        uid=number(block[108:116], "uid", subject=subject),
        gid=number(block[116:124], "gid", subject=subject),
        size=_size(number(block[124:136], "size", subject=subject), subject=subject),
        mtime_ns=number(block[136:148], "mtime", subject=subject) * _NANOSECONDS_PER_SECOND,
        link=_text(block[157:257]),
        device=device,
        is_gnu=is_gnu,
        block=block,
    )


def parse_pax(data: bytes, *, subject: str) -> dict[str, bytes]:
    """Read a PAX header's records; of two with one key the later counts.

    The oldest sparse format repeats a pair of keys, so those become one map.

    Raises:
        ContentError: a record is not ``LENGTH KEY=VALUE`` and a new line.
    """
    records: dict[str, bytes] = {}
    sparse: list[bytes] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        length = data[at:space] if space > 0 else b""
        end = at + int(length) if length.isdigit() else 0
        key, equals, value = data[space + 1 : max(end - 1, 0)].partition(b"=")
        if not (space < end <= len(data)) or data[end - 1 : end] != b"\n" or not equals or not key:
            raise ContentError(f"{subject}: a damaged PAX header")
        name = key.decode("utf-8", "surrogateescape")
        if name in _SPARSE_PAIR:
            sparse.append(value)
        records[name] = value
        at = end
    if sparse:
        records[SPARSE_MAP] = b",".join(sparse)
    return records


def apply_pax(header: Header, records: dict[str, bytes], *, subject: str) -> None:
    """Put PAX records in place of the header's own fields; an empty value leaves the field alone.

    Raises:
        ContentError: a record that should be a number is none, or a path has a NUL.
    """
    header.name = records.get("GNU.sparse.name") or records.get("path") or header.name
    header.link = records.get("linkpath") or header.link
    if b"\0" in header.name + header.link:
        raise ContentError(f"{subject}: a PAX path with a NUL character")
    if size := records.get("size"):
        header.size = _size(decimal(size, "size", subject=subject), subject=subject)
    if uid := records.get("uid"):
        header.uid = decimal(uid, "uid", subject=subject)
    if gid := records.get("gid"):
        header.gid = decimal(gid, "gid", subject=subject)
    if mtime := records.get("mtime"):
        header.mtime_ns = _nanoseconds(mtime, subject=subject)


def decimal(text: bytes, what: str, *, subject: str) -> int:
    """A whole number of at most 63 bits, written in decimal digits."""
    number = text.removeprefix(b"-")
    if not number.isdigit() or len(number) > 19 or int(number) > _MAX_NUMBER:
        _bad_number(text, what, subject=subject)
    return int(text)


def _nanoseconds(text: bytes, *, subject: str) -> int:
    whole, dot, fraction = text.partition(b".")
    seconds = decimal(whole, "mtime", subject=subject)
    if dot and fraction and not fraction.isdigit():
        _bad_number(text, "mtime", subject=subject)
    part = int(fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, b"0"))
    return seconds * _NANOSECONDS_PER_SECOND + (-part if text.startswith(b"-") else part)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def number(field: bytes, what: str, *, subject: str) -> int:
    """A number in octal digits, or in GNU's base 256 where the first bit is set."""
    if field[0] & 0x80:
        bits = len(field) * 8 - 1
        value = int.from_bytes(field) & ((1 << bits) - 1)
        if field[0] & 0x40:
            value -= 1 << bits
        if abs(value) > _MAX_NUMBER:
            _bad_number(field, what, subject=subject)
        return value
    digits = _text(field.strip(b" \0"))
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        _bad_number(field, what, subject=subject)
    return int(digits, 8)


def _size(size: int, *, subject: str) -> int:
    if size < 0:
        raise ContentError(f"{subject}: a tar entry of {size} bytes")
    return size


def _check_sum(block: bytes, *, subject: str) -> None:
    """The sum of all bytes, the sum's own field taken as spaces; some old tars added signed bytes."""
    field = block[148:156]
    expected = number(field, "checksum", subject=subject)
    total = sum(block) - sum(field) + 8 * ord(" ")
    if total == expected:
        return
    negative = sum(byte > 127 for byte in block[:148]) + sum(byte > 127 for byte in block[156:])
    if total - 256 * negative != expected:
        raise ContentError(f"{subject}: not a tar archive, or a damaged one: a header's checksum is wrong")


def _bad_number(field: bytes, what: str, *, subject: str) -> NoReturn:
    raise ContentError(f"{subject}: {field[:24]!r} is no {what} of a tar entry")
