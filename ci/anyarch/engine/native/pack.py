"""From a directory tree to an OCI layout with one image of one layer."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, cast

import anyio
import anyio.to_thread

from anyarch.errors import EngineStartError
from anyarch.oci import strict_json
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Index, Manifest
from anyarch.oci.media_type import MediaType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anyarch.oci.platforms import Platform

_LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
_REPRODUCIBLE: Final = ("--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner")


async def pack(tree: Path, layout: Path, *, platform: Platform) -> None:
    """Write the image of ``tree`` as the OCI layout ``layout``; equal trees give equal bytes.

    Raises:
        EngineStartError: tar or zstd failed.
    """
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    tar, compressed = layout / "layer.tar", layout / "layer.tar.zst"
    await run_step(["tar", *_REPRODUCIBLE, "-C", str(tree), "-cf", str(tar), "."], what="packing the layer")
    diff_id = (await _describe(tar, "")).digest
    await run_step(["zstd", "-q", "-T0", "-3", "--rm", str(tar)], what="compressing the layer")
    layer = await _describe(compressed, _LAYER_TYPE)
    compressed.rename(blobs / layer.digest.hex)
    rootfs = {"type": "layers", "diff_ids": [str(diff_id)]}
    config = _write(blobs, MediaType.OCI_CONFIG, {**platform.to_oci(), "rootfs": rootfs})
    document = {
        "schemaVersion": 2,
        "mediaType": str(MediaType.OCI_MANIFEST),
        "config": config.to_oci(),
        "layers": [layer.to_oci()],
    }
    manifest = _write(blobs, MediaType.OCI_MANIFEST, document)
    (layout / "oci-layout").write_bytes(strict_json.dumps({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(Index.build([manifest]).raw)


def manifest_digest(layout: Path) -> Digest:
    """The digest of the one image in a layout that ``pack`` wrote."""
    index = Manifest.from_bytes((layout / "index.json").read_bytes(), subject=str(layout))
    return cast("Index", index).manifests[0].digest


async def run_step(command: Sequence[str], *, what: str) -> str:
    """Run a program to its end and return its output.

    Raises:
        EngineStartError: it failed; the message ends with its last lines.
    """
    done = await anyio.run_process(command, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise EngineStartError(
            f"{what} failed: {command[0]} ended with {done.returncode}: {' / '.join(said[-5:])}"
        )
    return done.stdout.decode()


async def _describe(path: Path, media_type: str) -> Descriptor:
    def read() -> Descriptor:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Descriptor(media_type=media_type, digest=Digest("sha256", digest), size=path.stat().st_size)

    return await anyio.to_thread.run_sync(read)


def _write(blobs: Path, media_type: MediaType, document: Mapping[str, object]) -> Descriptor:
    raw = strict_json.dumps(document)
    digest = Digest.of(raw)
    (blobs / digest.hex).write_bytes(raw)
    return Descriptor(media_type=media_type, digest=digest, size=len(raw))
