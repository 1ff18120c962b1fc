"""Whether a runtime can make a root file system of an image: layers that it unpacks, all of them listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.media_type import is_layer

if TYPE_CHECKING:
    from anyarch.oci.manifest import Image, ImageConfig


def flaws(manifest: Image, config: ImageConfig) -> tuple[str, ...]:
    """What keeps every runtime from unpacking an image, one sentence each.

    https://github.com/opencontainers/image-spec/blob/main/config.md#properties: ``rootfs`` is required, and
    its ``diff_ids`` are the layers of the manifest in order, those that live elsewhere included.
    """
    found = [
        f"its layer {layer.digest} is a {layer.media_type}, which no runtime unpacks"
        for layer in manifest.layers
        if not is_layer(layer.media_type)
    ]
    rootfs = config.document.get("rootfs")
    if not isinstance(rootfs, dict):
        return (*found, "its config has no rootfs: no runtime can unpack it")
    if rootfs.get("type") != "layers":  # the only type there is: others MUST be an error
        return (*found, f"its config's rootfs is of type {str(rootfs.get('type'))[:40]}, expected layers")
    listed = rootfs.get("diff_ids") or []  # Docker leaves an empty list away
    if not isinstance(listed, list) or not all(map(_is_digest, listed)):
        return (*found, "diff_ids of its config's rootfs is no list of digests: no runtime can unpack it")
    if len(listed) != len(manifest.layers):
        found.append(
            f"its config lists {len(listed)} layers (rootfs.diff_ids), its manifest {len(manifest.layers)}: "
            "no runtime can unpack it"
        )
    return tuple(found)


def _is_digest(word: object) -> bool:
    try:
        return bool(Digest.parse(str(word)))
    except UsageError:
        return False
