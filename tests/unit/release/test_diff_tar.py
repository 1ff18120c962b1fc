"""Layers as archives: every format read as other tar readers do, every damage named, nothing unbounded."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import ContentError
from anyarch.oci.digest import Digest
from anyarch.release.diff.entry import Kind, shown
from anyarch.release.diff.limits import MIB, SPECIAL_HEADER_MAX_BYTES, Limits
from hypothesis import given
from hypothesis import strategies as st

from tests.layers import (
    COMPRESSIONS,
    a_file,
    archive,
    entries_of,
    folder,
    hard_link,
    member,
    symlink,
    zstd,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
BLOCK = 512
END = bytes(2 * BLOCK)


def header(name: str, *, type: bytes = b"0", size: int = 0) -> bytearray:  # noqa: A002
    info, _ = member(name, type=type)
    info.size = size
    return bytearray(info.tobuf(tarfile.GNU_FORMAT))


def signed(block: bytearray) -> bytes:
    """The header with a checksum that holds again."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def pax_block(records: bytes, type: bytes = b"x") -> bytes:  # noqa: A002
    return bytes(header("pax", type=type, size=len(records))) + padded(records)


def record(key: str, value: bytes) -> bytes:
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


def only(raw: bytes) -> tuple[str, object]:
    ((name, entry),) = entries_of(raw)
    return name, entry


# --- good archives


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(
        st.tuples(
            st.text(
                st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=140
            ),
            st.binary(max_size=1500),
            st.integers(0, 0o7777),
            st.integers(0, 0o7777777),
            st.integers(0, 2**33 - 1),
        ),
        max_size=4,
    ),
    st.sampled_from([1, 511, 512, 4096]),
)
def test_an_archive_reads_as_the_standard_library_reads_it(
    format: str,  # noqa: A002
    files: list[tuple[str, bytes, int, int, int]],
    chunk: int,
) -> None:
    if format == "ustar":  # which has room for 100 bytes
        files = [(each[0].encode()[:90].decode(errors="ignore") or "x", *each[1:]) for each in files]
    raw = archive(
        *(
            member(f"d/{name}", data, mode=mode, owner=(uid, uid), mtime=mtime)
            for name, data, mode, uid, mtime in files
        ),
        format=FORMATS[format],
    )
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        expected = [
            (
                info.name,
                a_file(data, mode=info.mode, uid=info.uid, gid=info.gid, mtime_ns=int(info.mtime) * 10**9),
            )
            for info, (_, data, *_) in zip(tar, files, strict=True)
        ]
    assert entries_of(raw, chunk=chunk) == expected


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS.keys())
def test_every_type_of_entry_says_what_it_is(format: int) -> None:  # noqa: A002
    found = dict(
        entries_of(
            archive(
                folder("d", mode=0o1777, owner=(7, 8)),
                member("d/f", b"abc", mode=0o4755),
                symlink("d/s", "../elsewhere"),
                hard_link("d/h", "d/f"),
                member("c", type=tarfile.CHRTYPE, device=(1, 3)),
                member("b", type=tarfile.BLKTYPE, device=(8, 1)),
                member("p", type=tarfile.FIFOTYPE),
                format=format,
            )
        )
    )
    assert {name.rstrip("/"): entry.kind for name, entry in found.items()} == {
        "d": Kind.DIRECTORY,
        "d/f": Kind.FILE,
        "d/s": Kind.SYMLINK,
        "d/h": Kind.HARD_LINK,
        "c": Kind.CHARACTER_DEVICE,
        "b": Kind.BLOCK_DEVICE,
        "p": Kind.FIFO,
    }
    assert (found["d/s"].target, found["d/h"].target) == ("../elsewhere", "d/f")
    assert (found["c"].device, found["b"].device) == ((1, 3), (8, 1))
    assert found["d/f"] == a_file(b"abc", mode=0o4755, mtime_ns=0)


def test_long_paths_and_link_targets_come_whole_in_every_format_that_has_them() -> None:
    name, target = "d/" + "n" * 180, "t" * 190
    for format_ in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        found, entry = only(archive(symlink(name, target), format=format_))
        assert found == name
        assert getattr(entry, "target", "") == target
    prefixed = f"{'p' * 120}/{'n' * 90}"
    assert only(archive(member(prefixed), format=tarfile.USTAR_FORMAT))[0] == prefixed


def test_extended_attributes_and_exact_times_come_from_pax_records() -> None:
    records = (
        record("SCHILY.xattr.security.capability", b"\1\0\0\2\xff\0")
        + record("SCHILY.xattr.user.long", b"v" * 65)
        + record("mtime", b"1700000000.123456789")
        + record("path", b"caf\xe9")
    )
    name, entry = only(pax_block(records) + bytes(header("short")) + END)
    assert name == "caf\udce9"
    assert shown(name) == "caf\\xe9"
    assert entry == a_file(
        mtime_ns=1700000000123456789,
        xattrs=(
            ("security.capability", "01000002ff00"),
            ("user.long", "sha256:" + hashlib.sha256(b"v" * 65).hexdigest()),
        ),
    )


def test_a_global_header_is_passed_over_as_container_runtimes_do() -> None:
    raw = pax_block(record("path", b"everywhere"), type=b"g") + bytes(header("own")) + END
    assert only(raw)[0] == "own"


def test_of_two_headers_for_a_path_the_gnu_one_counts_as_in_go() -> None:
    long_name = bytes(header("././@LongLink", type=b"L", size=8)) + padded(b"gnu/own\0")
    raw = pax_block(record("path", b"pax/own")) + long_name + bytes(header("short")) + END
    assert only(raw)[0] == "gnu/own"


def test_a_directory_of_the_oldest_tar_has_a_slash_and_no_type() -> None:
    block = header("old/")
    block[156:157] = b"\0"
    block[257:265] = bytes(8)
    assert getattr(only(signed(block) + END)[1], "kind", None) is Kind.DIRECTORY


def test_numbers_too_long_for_octal_digits_are_read_in_base_256() -> None:
    info, _ = member("big", owner=(2**31 + 5, 0))
    info.mtime = -3
    _, entry = only(info.tobuf(tarfile.GNU_FORMAT) + END)
    assert entry == a_file(uid=2**31 + 5, mtime_ns=-3 * 10**9)


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(END, id="two blocks of zeros"),
        pytest.param(bytes(BLOCK), id="one block of zeros"),
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(20 * BLOCK), id="a whole tape record"),
        pytest.param(END + b"whatever follows is not looked at", id="something behind the end"),
    ],
)
def test_an_archive_may_end_as_real_ones_do(ending: bytes) -> None:
    assert only(bytes(header("a")) + ending)[0] == "a"


def test_no_bytes_are_an_empty_layer() -> None:
    assert entries_of(b"") == []


# --- sparse files: two parts of data in 10 000 bytes

WHOLE = bytes(1000) + b"x" * 600 + bytes(3400) + b"y" * 100 + bytes(4900)
STORED = WHOLE[1000:1600] + WHOLE[5000:5100]
MAP = b"1000,600,5000,100"


def old_gnu_sparse(*, extended: bool = False) -> bytes:
    parts = 5 if extended else 1  # four fit into the header
    pairs = [(1000 + 600 // parts * n, 600 // parts) for n in range(parts)] + [(5000, 100)]
    block = header("sparse", type=b"S", size=len(STORED))
    inline, rest = pairs[:4], pairs[4:]
    for number, (offset, length) in enumerate(inline):
        block[386 + 24 * number : 410 + 24 * number] = b"%011o\0%011o\0" % (offset, length)
    block[483:495] = b"%011o\0" % len(WHOLE)
    extension = b""
    if rest:
        block[482] = 1
        extension = b"".join(b"%011o\0%011o\0" % pair for pair in rest).ljust(BLOCK, b"\0")
    return signed(block) + extension + padded(STORED) + END


def pax_sparse(records: bytes, content: bytes = STORED) -> bytes:
    return pax_block(records) + bytes(header("name", size=len(content))) + padded(content) + END


SPARSE = {
    "old GNU": old_gnu_sparse(),
    "old GNU with an extension block": old_gnu_sparse(extended=True),
    "PAX 0.0": pax_sparse(
        record("GNU.sparse.size", b"10000")
        + record("GNU.sparse.numblocks", b"2")
        + record("GNU.sparse.offset", b"1000")
        + record("GNU.sparse.numbytes", b"600")
        + record("GNU.sparse.offset", b"5000")
        + record("GNU.sparse.numbytes", b"100")
    ),
    "PAX 0.1": pax_sparse(
        record("GNU.sparse.size", b"10000")
        + record("GNU.sparse.map", MAP)
        + record("GNU.sparse.name", b"sparse")
    ),
    "PAX 1.0": pax_sparse(
        record("GNU.sparse.major", b"1")
        + record("GNU.sparse.minor", b"0")
        + record("GNU.sparse.name", b"sparse")
        + record("GNU.sparse.realsize", b"10000"),
        padded(b"2\n" + MAP.replace(b",", b"\n") + b"\n") + STORED,
    ),
}


@pytest.mark.parametrize("raw", SPARSE.values(), ids=SPARSE.keys())
def test_a_sparse_file_is_the_file_with_its_holes(raw: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:  # the standard library agrees
        (info,) = tar
        extracted = tar.extractfile(info)
        assert extracted is not None
        assert extracted.read() == WHOLE
    _, entry = only(raw)
    assert entry == a_file(WHOLE, mtime_ns=0)


# --- bad archives


def with_field(at: slice, value: bytes) -> bytes:
    block = header("f")
    block[at] = value
    return signed(block) + END


BAD = [
    pytest.param(b"\x7fELF" + bytes(1000), "checksum", id="no archive at all"),
    pytest.param(bytes(header("f"))[:300], "middle of a header", id="half a header"),
    pytest.param(bytes(header("f", size=9)) + b"abc", "middle of f", id="half a file"),
    pytest.param(bytes(header("f", size=9)) + b"abcdefghi", "padding", id="no padding"),
    pytest.param(bytes(header("a")) + b"Z" * BLOCK + END, "checksum", id="a damaged second header"),
    pytest.param(
        bytes(BLOCK) + bytes(header("a")) + END, "zeros in the middle", id="a single block of zeros"
    ),
    pytest.param(with_field(slice(124, 136), b"\xff" * 12), "bytes", id="a negative size"),
    pytest.param(with_field(slice(124, 136), b"\x80" + b"\xff" * 11), "no size", id="a size of 95 bits"),
    pytest.param(with_field(slice(100, 108), b"0o7_7\0\0\0"), "no mode", id="a mode in Python's digits"),
    pytest.param(with_field(slice(108, 116), b"0000089\0"), "no uid", id="an owner that is not octal"),
    pytest.param(with_field(slice(156, 157), b"Z"), "type", id="a type that nobody unpacks"),
    pytest.param(pax_block(record("path", b"x")) + END, "middle of an entry", id="PAX records for nothing"),
    pytest.param(pax_block(b"8 path=x\n") + END, "damaged PAX", id="a record shorter than it says"),
    pytest.param(pax_block(b"99999 path=x\n") + END, "damaged PAX", id="a record longer than the header"),
    pytest.param(pax_block(b"0 path=x\n") + END, "damaged PAX", id="a record of no length"),
    pytest.param(pax_block(b"7 pathx\n") + END, "damaged PAX", id="a record without a value"),
    pytest.param(pax_block(record("path", b"a\0b")) + bytes(header("f")) + END, "NUL", id="a NUL in a path"),
    pytest.param(
        pax_block(record("size", b"-1")) + bytes(header("f")) + END, "bytes", id="a negative size in PAX"
    ),
    pytest.param(
        pax_block(record("size", b"9" * 30)) + bytes(header("f")) + END, "no size", id="a size of 30 digits"
    ),
    pytest.param(
        pax_block(record("mtime", b"12.3.4")) + bytes(header("f")) + END,
        "no mtime",
        id="a time with two dots",
    ),
    pytest.param(
        bytes(header("pax", type=b"x", size=SPECIAL_HEADER_MAX_BYTES + 1)) + END,
        "extended header",
        id="PAX records over the limit",
    ),
    pytest.param(
        bytes(header("long", type=b"L", size=2**33 - 1)) + END, "extended header", id="a name of gigabytes"
    ),
    pytest.param(
        pax_sparse(record("GNU.sparse.size", b"10000") + record("GNU.sparse.map", b"5000,100,1000,600")),
        "does not fit",
        id="a sparse map out of order",
    ),
    pytest.param(
        pax_sparse(record("GNU.sparse.size", b"5000") + record("GNU.sparse.map", MAP)),
        "does not fit",
        id="a sparse map that leaves the file",
    ),
    pytest.param(
        pax_sparse(record("GNU.sparse.size", b"10000") + record("GNU.sparse.map", b"1000,600")),
        "does not fit",
        id="a sparse map for less than there is",
    ),
    pytest.param(
        pax_sparse(
            record("GNU.sparse.major", b"1")
            + record("GNU.sparse.minor", b"0")
            + record("GNU.sparse.realsize", b"1"),
            padded(b"9999999\n"),
        ),
        "does not end",
        id="a sparse map that never ends",
    ),
    pytest.param(
        pax_sparse(record("GNU.sparse.major", b"7") + record("GNU.sparse.realsize", b"1")),
        "unknown format",
        id="a sparse format of the future",
    ),
]


@pytest.mark.parametrize(("raw", "word"), BAD)
def test_a_bad_archive_is_refused_by_name(raw: bytes, word: str) -> None:
    with pytest.raises(ContentError, match=f"^layer: .*{word}"):
        entries_of(raw)


@given(st.data())
def test_no_damage_ends_in_anything_but_a_content_error(data: st.DataObject) -> None:
    raw = bytearray(
        pax_block(record("path", b"a/b") + record("GNU.sparse.map", b"0,3") + record("GNU.sparse.size", b"9"))
        + bytes(header("f", size=3))
        + padded(b"abc")
        + bytes(old_gnu_sparse(extended=True))
    )
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # past the checksum, into the fields
        raw[1024:1536] = signed(bytearray(raw[1024:1536]))
    with suppress(ContentError):
        entries_of(bytes(raw))


# --- compression


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS.keys())
@pytest.mark.parametrize("chunk", [1, 700, 10**6])
def test_compression_makes_no_difference(compress: Callable[[bytes], bytes], chunk: int) -> None:
    raw = archive(member("f", b"abc" * 1000), folder("d"))
    assert entries_of(compress(raw), chunk=chunk) == entries_of(raw)


SKIPPABLE = b"\x53\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(
            lambda a, b: gzip.compress(a) + gzip.compress(b), id="gzip members, as eStargz has them"
        ),
        pytest.param(lambda a, b: gzip.compress(a + b) + bytes(700), id="zeros behind gzip"),
        pytest.param(lambda a, b: zstd(a) + zstd(b), id="zstd frames"),
        pytest.param(
            lambda a, b: SKIPPABLE + zstd(a) + SKIPPABLE + zstd(b) + SKIPPABLE,
            id="zstd:chunked's skippable frames",
        ),
    ],
)
@pytest.mark.parametrize("chunk", [1, 5000])
def test_a_layer_of_several_frames_is_one_layer(blob: Callable[[bytes, bytes], bytes], chunk: int) -> None:
    raw = archive(member("f", b"abc" * 1000))
    assert entries_of(blob(raw[:700], raw[700:]), chunk=chunk) == entries_of(raw)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda raw: gzip.compress(raw)[:-1], id="gzip cut short"),
        pytest.param(lambda raw: gzip.compress(raw)[:-8] + b"12345678", id="a wrong checksum in gzip"),
        pytest.param(lambda raw: gzip.compress(raw) + b"garbage", id="garbage behind gzip"),
        pytest.param(lambda raw: gzip.compress(raw) + bytes(9) + b"x", id="garbage behind zeros"),
        pytest.param(lambda raw: zstd(raw)[:-1], id="zstd cut short"),
        pytest.param(lambda raw: zstd(raw)[:9] + b"\xff" * 50, id="damaged zstd"),
        pytest.param(lambda raw: zstd(raw) + b"garbage", id="garbage behind zstd"),
    ],
)
def test_damaged_compression_is_refused(damage: Callable[[bytes], bytes]) -> None:
    raw = archive(member("f", bytes(range(256)) * 20))
    with pytest.raises(ContentError, match=r"^layer: .*compressed data"):
        entries_of(damage(raw), diff_id=Digest.of(raw))


# --- limits and digests


def test_bytes_that_are_not_the_configs_are_refused() -> None:
    with pytest.raises(ContentError, match="diff_id") as caught:
        entries_of(archive(member("f")), diff_id=Digest.of(b"another layer"))
    assert str(Digest.of(b"another layer")) in caught.value.what


def test_what_stands_behind_the_archive_counts_for_the_digest() -> None:
    raw = archive(member("f"))
    assert entries_of(raw + b"tail", diff_id=Digest.of(raw + b"tail"))
    with pytest.raises(ContentError, match="diff_id"):
        entries_of(raw + b"tail", diff_id=Digest.of(raw))


@pytest.mark.parametrize(
    ("raw", "limits", "word"),
    [
        pytest.param(archive(*map(member, "abc")), Limits(entries=2), "2 entries", id="entries"),
        pytest.param(
            archive(symlink("s" * 90, "t" * 90)), Limits(name_bytes=150), "names and attributes", id="names"
        ),
        pytest.param(archive(member("f", bytes(5000))), Limits(content_bytes=4096), "larger", id="content"),
        pytest.param(SPARSE["PAX 0.1"], Limits(content_bytes=9000), "larger", id="holes"),
        pytest.param(
            gzip.compress(bytes(8 * MIB)), Limits(content_bytes=4 * MIB), "larger", id="zeros at the end"
        ),
    ],
)
def test_every_limit_holds(raw: bytes, limits: Limits, word: str) -> None:
    with pytest.raises(ContentError, match=word):
        entries_of(raw, limits=limits, diff_id=Digest.of(b""))


@pytest.mark.parametrize("compress", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_a_bomb_is_never_in_memory_as_a_whole(compress: Callable[[bytes], bytes]) -> None:
    import tracemalloc

    bomb = compress(archive(member("f", bytes(20 * MIB))))
    tracemalloc.start()
    try:
        with pytest.raises(ContentError, match="larger"):
            entries_of(bomb, limits=Limits(content_bytes=16 * MIB), diff_id=Digest.of(b""), chunk=len(bomb))
        assert tracemalloc.get_traced_memory()[1] < 6 * MIB
    finally:
        tracemalloc.stop()
