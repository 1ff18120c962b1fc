"""The base image of the examples, made from Debian packages where Docker Hub cannot be reached.

mmdebstrap's chrootless mode lets the host's own dpkg configure the packages, so a foreign architecture
takes no longer than the native one (a quarter of a minute; under QEMU it is almost two minutes). The
result is the same, file by file, as that of a real chroot. As maintainer scripts then run outside any
chroot, they run where everything of the host is read-only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import httpx2
from anyarch.engine.process import run_quiet
from anyarch.errors import AnyarchError
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Index
from anyarch.oci.media_type import MediaType
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.registry.copy import copy_image
from anyarch.registry.stores import open_store

from lab import apt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAME: Final = "library/debian"
TAG: Final = "bookworm-slim"
PLATFORMS: Final = tuple(map(Platform.parse, ("linux/amd64", "linux/386", "linux/arm64")))

_DEBIAN_ARCHITECTURES: Final = {"386": "i386", "amd64": "amd64", "arm64": "arm64"}
_RECIPE: Final = "1"  # part of the cache key: raise it when this file changes what comes out
_EPOCH_SECONDS: Final = 1_700_000_000  # every file's newest allowed time: equal packages, equal bytes
_ATTEMPTS: Final = 2  # a mirror that is just being updated answers with the wrong bytes for seconds
_BUILD_TIMEOUT_SECONDS: Final = 900
_HUB_TIMEOUT_SECONDS: Final = 4
_LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_HOOKS: Final = "/usr/share/mmdebstrap/hooks/merged-usr"
# The host's file system as this process sees it, made read-only; mmdebstrap works in a tmpfs of its own.
# That covers whatever lies under /tmp, this checkout included: nothing in here may be named by its path.
_READ_ONLY_HOST: Final = """
cd /
for folder in /etc /usr /var; do mount --bind "$folder" "$folder"; mount -o remount,bind,ro "$folder"; done
mount -t tmpfs tmpfs /tmp
mount -o remount,bind,ro /
exec "$@"
"""


async def hub_answers() -> bool:
    """Whether Docker Hub can be reached from here, decided within seconds."""
    try:
        async with httpx2.AsyncClient(timeout=_HUB_TIMEOUT_SECONDS) as client:
            with anyio.fail_after(_HUB_TIMEOUT_SECONDS):
                answer = await client.get("https://registry-1.docker.io/v2/")
    except (httpx2.HTTPError, TimeoutError, OSError):
        return False
    return answer.status_code in {200, 401}


async def ensure(cache: Path, *, on_line: Callable[[str], None]) -> Path:
    """Make the multi-platform base image, or find it in the cache.

    Args:
        cache: The cache folder; the layout lies in a folder of its own under it.
        on_line: Called with a line of progress when something takes time.

    Returns:
        An OCI layout whose index.json names the index ``bookworm-slim``.

    Raises:
        AnyarchError: mmdebstrap failed; the message holds the end of what it said.
    """
    sources, settings = apt.sources(), apt.settings()
    layout = cache / "base" / f"debian-{TAG}-{_key(sources, settings)}"
    if layout.is_dir():
        return layout
    platforms = ", ".join(map(str, PLATFORMS))
    on_line(f"making debian:{TAG} for {platforms} from Debian packages (once)")
    layout.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=layout.parent) as work:
        made = Path(work) / "layout"
        await _make(made, sources, settings)
        with contextlib.suppress(FileExistsError):  # two at once: both made the same
            await anyio.Path(made).rename(layout)
    return layout


async def push(layout: Path, registry: str) -> str:
    """Serve the base image from a registry, under the name it has on Docker Hub; return its digest.

    Args:
        layout: What ``ensure`` returned.
        registry: ``host:port`` without TLS.
    """
    source = open_store(f"oci:{layout}")
    target = open_store(f"{registry}/{NAME}", insecure=[registry])
    async with source, target:
        tag = Tag.parse(TAG)
        index = await source.get(tag)
        there = await target.head(tag)
        if there is None or there.digest != index.digest:
            await copy_image(source, target, index.digest)
            await target.put(tag, index)
    return str(index.digest)


def _key(sources: Sequence[str], settings: Sequence[str]) -> str:
    parts = [_RECIPE, *sources, *settings, *map(str, PLATFORMS), _hook()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _hook() -> str:
    """The text of the hook: mmdebstrap gives what is no file's name to a shell."""
    return Path(__file__).with_name("slim.sh").read_text("utf-8")


async def _make(layout: Path, sources: Sequence[str], settings: Sequence[str]) -> None:
    (layout / "blobs/sha256").mkdir(parents=True)
    images: dict[Platform, Descriptor] = {}

    async def one(platform: Platform) -> None:
        tarball = layout / f"{platform.slug}.tar"
        await _bootstrap(platform, tarball, sources, settings)
        images[platform] = await anyio.to_thread.run_sync(_pack, layout, tarball, platform)

    with anyio.fail_after(_BUILD_TIMEOUT_SECONDS):
        async with anyio.create_task_group() as tasks:
            for platform in PLATFORMS:
                tasks.start_soon(one, platform)
    index = Index.build([images[platform].with_platform(platform) for platform in PLATFORMS])
    _write_blob(layout, index.raw)
    top = index.descriptor.with_annotations({"org.opencontainers.image.ref.name": TAG})
    (layout / "index.json").write_bytes(Index.build([top]).raw)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', "utf-8")


async def _bootstrap(
    platform: Platform, tarball: Path, sources: Sequence[str], settings: Sequence[str]
) -> None:
    architecture = _DEBIAN_ARCHITECTURES[platform.architecture]
    command = [
        # The archive is opened before its file system turns read-only.
        *("sh", "-euc", 'exec >"$1"; shift; exec "$@"', "sh", str(tarball)),
        *("unshare", "--mount", "--propagation=private", "sh", "-euc", _READ_ONLY_HOST, "sh"),
        *("mmdebstrap", "--mode=chrootless", "--variant=apt", "--format=tar", "--dpkgopt=force-unsafe-io"),
        *(f"--architectures={architecture}", f"--hook-dir={_HOOKS}", f"--customize-hook={_hook()}"),
        *(f"--aptopt={line}" for line in settings),
        *(apt.SUITE, "-", *sources),
    ]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(_EPOCH_SECONDS), "TMPDIR": "/tmp"}  # noqa: S108
    said = ""
    for _ in range(_ATTEMPTS):
        # A process group of its own matters: a failing mmdebstrap sends SIGHUP to all of its group.
        status, said = await run_quiet(command, environ=environment)
        if status == 0:
            return
    end = "\n".join(said.splitlines()[-12:])
    raise AnyarchError(
        f"mmdebstrap could not make a {platform} root file system:\n{end}",
        hint="if a download failed, try again",
    )


def _pack(layout: Path, tarball: Path, platform: Platform) -> Descriptor:
    """Turn a root file system's tar into one layer, a config and a manifest; equal tar, equal bytes."""
    diff_id = _file_digest(tarball)
    layer = _compress(layout, tarball)
    created = datetime.fromtimestamp(_EPOCH_SECONDS, tz=UTC).isoformat().replace("+00:00", "Z")
    config = {
        "created": created,
        **platform.to_oci(),
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["bash"],
        },
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
        "history": [{"created": created, "created_by": "mmdebstrap --variant=apt bookworm"}],
    }
    config_blob = _write_blob(layout, _json(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": str(MediaType.OCI_MANIFEST),
        "config": config_blob.to_oci() | {"mediaType": str(MediaType.OCI_CONFIG)},
        "layers": [layer.to_oci()],
    }
    return _write_blob(layout, _json(manifest))


def _compress(layout: Path, tarball: Path) -> Descriptor:
    packed = tarball.with_suffix(".tar.gz")
    with packed.open("wb") as output:
        command = ["pigz", "--no-name", "--no-time", "--stdout", str(tarball)]
        subprocess.run(command, check=True, stdout=output, timeout=_BUILD_TIMEOUT_SECONDS)
    tarball.unlink()
    digest, size = _file_digest(packed), packed.stat().st_size
    packed.rename(layout / "blobs/sha256" / digest.hex)
    return Descriptor(media_type=_LAYER_TYPE, digest=digest, size=size)


def _file_digest(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())


def _write_blob(layout: Path, content: bytes) -> Descriptor:
    digest = Digest.of(content)
    (layout / "blobs/sha256" / digest.hex).write_bytes(content)
    return Descriptor(media_type=str(MediaType.OCI_MANIFEST), digest=digest, size=len(content))


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
