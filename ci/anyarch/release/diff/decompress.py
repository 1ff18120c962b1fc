"""A layer's bytes, uncompressed piece by piece: gzip, zstd or plain, told apart by the first bytes.

The media type is not asked: runtimes look at the bytes, and layers with a wrong type are in use.
"""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from anyarch.errors import ContentError, MissingToolError
from anyarch.release.diff.limits import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GZIP: Final = b"\x1f\x8b\x08"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
# A skippable frame's first byte is 0x50 … 0x5f: https://www.rfc-editor.org/rfc/rfc8878#section-3.1.2
_ZSTD_SKIPPABLE: Final = b"\x2a\x4d\x18"
_MAGIC_BYTES: Final = 4
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS  # 16: with gzip's header and checksum


class _Frame(Protocol):
    """One gzip member or zstd frame."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def pieces(self, data: bytes) -> Iterator[bytes]: ...


def decompress(chunks: Iterator[bytes], *, subject: str) -> Iterator[bytes]:
    """The uncompressed bytes in pieces of at most 1 MiB (plain: as they come).

    Args:
        chunks: The blob.
        subject: Whose bytes they are, for the message.

    Raises:
        ContentError: damaged or truncated compressed data, or something else behind it.
        MissingToolError: a zstd layer, and no library for it.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _MAGIC_BYTES:
            break
    if head.startswith(_GZIP):
        yield from _frames(head, chunks, _GzipFrame, subject=subject)
    elif _is_zstd(head):
        yield from _frames(head, chunks, _ZstdFrame, subject=subject)
    else:
        if head:
            yield head
        yield from chunks


def _is_zstd(head: bytes) -> bool:
    return head.startswith(_ZSTD) or (head[1:4] == _ZSTD_SKIPPABLE and head[0] >> 4 == 5)


def _frames(
    head: bytes, chunks: Iterator[bytes], new: Callable[[], _Frame], *, subject: str
) -> Iterator[bytes]:
    """Every frame of a blob: eStargz and zstd:chunked layers have thousands, one behind the other."""
    frame: _Frame | None = new()
    data = head
    while data or (data := next(chunks, b"")):
        if frame is None:
            # Padding with zeros, as tapes have it, is allowed; gzip and pigz skip it as well.
            data = data.lstrip(b"\0")
            if not data:
                continue
            frame = new()
        try:
            yield from frame.pieces(data)
        except (zlib.error, _zstd_error()) as error:
            raise ContentError(f"{subject}: damaged compressed data: {error}") from error
        data = frame.unused_data if frame.eof else b""
        if frame.eof:
            frame = None
    if frame is not None:
        raise ContentError(f"{subject}: the compressed data ends too early")


def _zstd_error() -> type[Exception]:
    """The zstd library's exception, if the library is in use at all."""
    module = sys.modules.get("compression.zstd") or sys.modules.get("backports.zstd")
    return getattr(module, "ZstdError", zlib.error)


class _GzipFrame:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data and not self._inflate.eof:
            if piece := self._inflate.decompress(data, PIECE_BYTES):
                yield piece
            data = self._inflate.unconsumed_tail


class _ZstdFrame:
    def __init__(self) -> None:
        # Loaded only where a layer is zstd: most commands and most images never need it.
        try:
            if sys.version_info >= (3, 14):
                from compression.zstd import ZstdDecompressor  # noqa: PLC0415
            else:
                from backports.zstd import ZstdDecompressor  # noqa: PLC0415
        except ImportError as error:
            raise MissingToolError(
                "a layer is compressed with zstd, but Python has no zstd library",
                hint="install the package backports.zstd, one of anyarch's dependencies",
            ) from error
        self._inflate = ZstdDecompressor()

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while not self._inflate.eof and (data or not self._inflate.needs_input):
            if piece := self._inflate.decompress(data, PIECE_BYTES):
                yield piece
            data = b""
