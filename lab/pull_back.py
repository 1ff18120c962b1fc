"""Take one platform's image out of a tag and run it, with tools that are not ours: skopeo, umoci, runc.

Whoever pulls the tag on such a machine gets exactly this. A foreign platform runs because an engine that
emulates it has told the kernel how; so its engine must be up.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyarch.engine.process import run_quiet
from anyarch.errors import AnyarchError
from anyarch.oci.manifest import CONFIG_MAX_BYTES, Image, ImageConfig
from anyarch.oci.reference import Tag
from anyarch.registry.stores import open_store

if TYPE_CHECKING:
    from anyarch.oci.digest import Digest
    from anyarch.oci.platforms import Platform

_PULL_SECONDS: Final = 120.0
_RUN_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_TAG: Final = "pulled"
_FETCH: Final = (
    "import sys, urllib.request; "
    "print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode(errors='replace'))"
)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What came out of the tag for one platform, and what it said when it ran. ``size`` is in bytes."""

    platform: Platform
    digest: Digest
    size: int
    said: str


async def pull_and_run(source: str, platform: Platform) -> Pulled:
    """Let skopeo choose ``platform`` from a tag, unpack the image and run what its config says.

    An image that exposes a port is a service: it is asked for ``/``. Any other one is run to its end.

    Args:
        source: As skopeo names it: ``docker://host/path:tag`` or ``oci:DIR:tag``.
        platform: What to ask for.

    Raises:
        AnyarchError: a tool failed, or the image is another platform's than was asked for.
    """
    with tempfile.TemporaryDirectory(prefix="anyarch-pull-") as folder:
        work = Path(folder)
        with anyio.fail_after(_PULL_SECONDS):
            image, config = await _pull(source, platform, work)
            await _tool("umoci", "unpack", "--image", f"{work}/image:{_TAG}", str(work / "bundle"))
        container = f"{work.name}-{platform.slug}"
        runc = ("runc", "--root", str(work / "runc"))
        try:
            with anyio.fail_after(_RUN_SECONDS):
                said = await _run(work, container, runc, port=_port(config))
        finally:
            with anyio.CancelScope(shield=True):
                await run_quiet([*runc, "delete", "--force", container])
    size = image.config.size + sum(layer.size for layer in image.layers)
    return Pulled(platform, image.digest, size, said.strip())


async def _pull(source: str, platform: Platform, work: Path) -> tuple[Image, ImageConfig]:
    words = ["--override-os", platform.os, "--override-arch", platform.architecture]
    if platform.variant:
        words += ["--override-variant", platform.variant]
    target = f"oci:{work}/image:{_TAG}"
    await _tool("skopeo", "--insecure-policy", *words, "copy", "--src-tls-verify=false", source, target)
    async with open_store(f"oci:{work}/image") as store:
        image = await store.get(Tag(_TAG))
        if not isinstance(image, Image):
            raise AnyarchError(f"skopeo found no single image for {platform} in {source}")
        raw = await store.get_blob(image.config, max_bytes=CONFIG_MAX_BYTES)
    config = ImageConfig.from_bytes(raw, subject=source)
    if config.platform != platform:
        raise AnyarchError(f"{source}: asked for {platform}, got {config.platform}")
    return image, config


async def _run(work: Path, container: str, runc: tuple[str, ...], *, port: str | None) -> str:
    bundle = work / "bundle"
    settings = json.loads((bundle / "config.json").read_text("utf-8"))
    settings["process"]["terminal"] = False
    (bundle / "config.json").write_text(json.dumps(settings), "utf-8")
    if port is None:
        return await _tool(*runc, "run", "--bundle", str(bundle), container)
    start = [*runc, "run", "--detach", "--pid-file", f"{work}/pid", "--bundle", str(bundle), container]
    # A service keeps its output open for as long as it runs; so it goes to a file.
    log = work / "log"
    await _tool("sh", "-c", 'exec "$@" >"$0" 2>&1', str(log), *start)
    namespace = f"--net=/proc/{(work / 'pid').read_text('utf-8')}/ns/net"
    fetch = ["nsenter", namespace, sys.executable, "-I", "-c", _FETCH, f"http://127.0.0.1:{port}/"]
    try:
        while True:
            status, said = await run_quiet(fetch)
            if status == 0:
                return said
            await anyio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        end = log.read_text("utf-8", errors="replace")[-1500:]
        raise AnyarchError(f"the service does not answer on port {port}; it said:\n{end}") from error


def _port(config: ImageConfig) -> str | None:
    """The first exposed TCP port."""
    settings = config.document.get("config")
    exposed = settings.get("ExposedPorts") if isinstance(settings, dict) else None
    ports = [port.partition("/")[0] for port in exposed or {} if not port.endswith("/udp")]
    return min(ports, default=None)


async def _tool(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STORAGE_")}
    status, said = await run_quiet(command, environ=environment)
    if status != 0:
        raise AnyarchError(f"`{' '.join(command)}` failed ({status}):\n{said[-1500:]}")
    return said
