"""Layers and images for tests of ``anyarch diff``: tar archives made in memory, one line per entry."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from anyarch.oci import strict_json
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Image, Manifest
from anyarch.oci.media_type import MediaType
from anyarch.oci.platforms import Platform
from anyarch.release.diff.byte_source import ByteSource
from anyarch.release.diff.decompress import decompress
from anyarch.release.diff.entry import Entry, Kind
from anyarch.release.diff.file_tree import FileTree
from anyarch.release.diff.limits import Budget, Limits
from anyarch.release.diff.tar_stream import read_entries

from tests.builders import BuiltImage, blob_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.memory_store import MemoryStore

_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


def zstd(content: bytes) -> bytes:
    from backports.zstd import compress

    return compress(content)


def plain(content: bytes) -> bytes:
    return content


COMPRESSIONS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "plain": plain,
    "gzip": lambda content: gzip.compress(content, 1, mtime=0),
    "zstd": zstd,
}


def member(
    name: str,
    content: bytes = b"",
    *,
    type: bytes = tarfile.REGTYPE,  # noqa: A002  tarfile's word
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
    to: str = "",
    mtime: float = 0,
    device: tuple[int, int] = (0, 0),
    pax: Mapping[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.mtime = type, mode, to, mtime
    info.uid, info.gid = owner
    info.devmajor, info.devminor = device
    info.size = len(content)
    info.pax_headers = dict(pax or {})
    return info, content


def folder(
    name: str, *, mode: int = 0o755, owner: tuple[int, int] = (0, 0), mtime: float = 0
) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=mode, owner=owner, mtime=mtime)


def symlink(name: str, to: str, *, mode: int = 0o777) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, to=to, mode=mode)


def hard_link(
    name: str, to: str, *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)
) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, to=to, mode=mode, owner=owner)


def archive(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    """An uncompressed tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def in_chunks(content: bytes, size: int = 1000) -> Iterator[bytes]:
    yield from (content[at : at + size] for at in range(0, len(content), size))


def entries_of(
    raw: bytes, *, limits: Limits | None = None, diff_id: Digest | None = None, chunk: int = 1000
) -> list[tuple[str, Entry]]:
    """What our reader finds in a layer, compressed or not."""
    budget = Budget(limits=limits or Limits())
    pieces = decompress(in_chunks(raw, chunk), subject="layer")
    expected = diff_id or Digest.of(b"".join(decompress(in_chunks(raw, chunk), subject="layer")))
    source = ByteSource(pieces, diff_id=expected, budget=budget, subject="layer")
    return list(read_entries(source, budget=budget, subject="layer"))


def a_file(
    content: bytes = b"",
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    xattrs: tuple[tuple[str, str], ...] = (),
    mtime_ns: int = 0,
) -> Entry:
    return Entry(
        kind=Kind.FILE,
        mode=mode,
        uid=uid,
        gid=gid,
        size=len(content),
        content=hashlib.sha256(content).digest(),
        xattrs=xattrs,
        mtime_ns=mtime_ns,
    )


def tree_of(*layers: Sequence[tuple[tarfile.TarInfo, bytes]]) -> dict[str, Entry]:
    """Every path of the tree that the layers make, the root left out."""
    tree = FileTree()
    for number, members in enumerate(layers, start=1):
        tree.apply(entries_of(archive(*members)), subject=f"layer {number}")
    return {path: entry for path, entry in tree.walk() if path != "/"}


def paths_of(*layers: Sequence[tuple[tarfile.TarInfo, bytes]]) -> list[str]:
    return list(tree_of(*layers))


def plant(store: MemoryStore, image: BuiltImage) -> None:
    """Put an image into a store without any check."""
    store.blobs |= image.blobs
    store.plant(image.digest, image.manifest)


def image_of(
    *layers: bytes,
    platform: str = "linux/amd64",
    settings: Mapping[str, object] | None = None,
    compress: Callable[[bytes], bytes] = plain,
    fields: Mapping[str, object] | None = None,
) -> BuiltImage:
    """An image of uncompressed archives; ``settings`` is the config's ``config``, ``fields`` lie over it."""
    parsed = Platform.parse(platform)
    config = strict_json.dumps(
        {
            **parsed.to_oci(),
            "config": dict(settings or {}),
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]},
            **(fields or {}),
        }
    )
    blobs = [compress(layer) for layer in layers]
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": blob_of(config, MediaType.OCI_CONFIG).to_oci(),
        "layers": [blob_of(blob, _LAYER).to_oci() for blob in blobs],
    }
    manifest = Manifest.from_bytes(strict_json.dumps(document))
    assert isinstance(manifest, Image)
    contents = {Digest.of(each): each for each in (config, *blobs)}
    return BuiltImage(manifest, parsed, MappingProxyType(contents), MappingProxyType({}))
