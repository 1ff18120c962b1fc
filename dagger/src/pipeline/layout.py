"""The engine's image archives: unpacked, and put right where the engine mistakes the platform."""

import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any, Final

import dagger
from anyarch.errors import ContentError
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from dagger import dag

# The archive also has Docker's own manifest.json, which a layout does not need.
_KEPT: Final = re.compile(r"oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}", re.ASCII)


def unpack(archive: Path, folder: Path) -> None:
    """Take the OCI layout out of an archive, by name, so that no entry lands elsewhere.

    Raises:
        ContentError: there is no layout in it.
    """
    (folder / "blobs/sha256").mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or not _KEPT.fullmatch(member.name):
                continue
            with (folder / member.name).open("wb") as file:
                shutil.copyfileobj(content, file)
    if not (folder / "index.json").exists():
        raise ContentError("the engine's image archive holds no OCI layout")


async def for_platform(container: dagger.Container, platform: Platform) -> dagger.Container:
    """The same image with a config that says ``platform``.

    An engine of 0.21 gives an image that starts ``FROM scratch`` its own platform instead of the one
    that was asked for (``util/llbtodagger``: a container made of a directory). Nothing in its interface
    changes a container's platform, so the image goes out as an archive and comes back corrected.
    Annotations are lost on the way.
    """
    if Platform.parse(await container.platform()) == platform:
        return container
    # Several platforms may be corrected at once.
    mistaken, layout, corrected = (Path(f"{platform.slug}{end}") for end in (".tar", "", "-corrected.tar"))
    await container.as_tarball().export(str(mistaken))
    unpack(mistaken, layout)
    correct(layout, platform)
    return loaded(layout, corrected, platform)


def loaded(layout: Path, archive: Path, platform: Platform) -> dagger.Container:
    """The one image of a layout as a container; ``archive`` is where it is packed on the way."""
    with tarfile.open(archive, "w") as tar:
        tar.add(layout, arcname=".")
    packed = dag.current_module().workdir_file(str(archive))
    return dag.container(platform=dagger.Platform(str(platform))).import_(packed)


def correct(folder: Path, platform: Platform) -> None:
    """Have the one image of a layout say ``platform``."""
    index = json.loads((folder / "index.json").read_bytes())
    (child,) = index["manifests"]
    manifest = _read(folder, child)
    config = _read(folder, manifest["config"])
    for field in ("os", "architecture", "variant"):
        config.pop(field, None)
    _write(folder, manifest["config"], {**config, **platform.to_oci()})
    _write(folder, child, manifest)
    child["platform"] = platform.to_oci()
    (folder / "index.json").write_text(json.dumps(index))


def _read(folder: Path, descriptor: dict[str, Any]) -> dict[str, Any]:
    digest = Digest.parse(descriptor["digest"])
    document: dict[str, Any] = json.loads((folder / "blobs" / digest.algorithm / digest.hex).read_bytes())
    return document


def _write(folder: Path, descriptor: dict[str, Any], document: dict[str, Any]) -> None:
    """Put a document in the place of the one that ``descriptor`` names."""
    old, raw = Digest.parse(descriptor["digest"]), json.dumps(document).encode()
    (folder / "blobs" / old.algorithm / old.hex).unlink()
    new = Digest.of(raw)
    (folder / "blobs" / new.algorithm / new.hex).write_bytes(raw)
    descriptor.update(digest=str(new), size=len(raw))
