"""A real registry (Debian's docker-registry, distribution 2.8) with an address of its own.

It runs in its own network namespace, as a registry elsewhere would: the host and every engine's containers
reach it at the same ``10.87.n.2:5000``. It speaks plain HTTP, so whoever uses it must call it insecure.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import httpx2
from anyarch.engine.native.network import connect, disconnect, lease
from anyarch.engine.native.places import RUNTIME
from anyarch.engine.native.process import Process
from anyarch.errors import AnyarchError, MissingToolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyarch.engine.native.network import Network

PORT: Final = 5000
# Invented, and the same in every test; the hash is bcrypt of the least cost.
USERNAME: Final = "robot"
PASSWORD: Final = "correct-horse"  # noqa: S105  invented
_HTPASSWD: Final = f"{USERNAME}:$2b$04$r0TKCZrGdTVHjJqBzVkFXum9nMcKfiEm6PzE1FVw62JO9OHu5psmG\n"

_START_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05
_STOP_SIGNALS: Final = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
# Run in the new namespace: say who we are, wait for the link, configure it, become the registry.
_INSIDE: Final = """
echo $$ >"$1.new"; mv "$1.new" "$1"
config=$2; tries=0; shift 2
until ip link show eth0 >/dev/null 2>&1; do
  tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1
  sleep 0.05
done
for command in "$@"; do $command; done
exec docker-registry serve "$config"
"""
_numbers = count()


@dataclass(frozen=True, slots=True)
class _Places:
    """The runtime files of one registry. No engine's name has a dot, so none collides with it."""

    name: str

    @property
    def folder(self) -> Path:
        return RUNTIME / f"{self.name}.registry"

    @property
    def owner(self) -> str:
        return f"registry.{self.name}"

    def file(self, name: str) -> Path:
        return self.folder / name


@contextmanager
def real_registry(*, auth: bool = False, storage: Path | None = None) -> Iterator[str]:
    """A registry for the time of a ``with`` block, as ``host:port``; empty unless ``storage`` has content.

    Args:
        auth: Whether it asks for ``USERNAME`` and ``PASSWORD``.
        storage: Where it keeps its blobs; a temporary folder if not given.

    Raises:
        AnyarchError: it did not come up within 20 s.
    """
    name = f"{os.getpid()}-{next(_numbers)}"
    kept = Path(tempfile.mkdtemp(prefix="anyarch-registry-")) if storage is None else storage
    try:
        yield anyio.run(start, name, kept, auth)
    finally:
        anyio.run(stop, name)
        if storage is None:
            shutil.rmtree(kept, ignore_errors=True)


async def start(name: str, storage: Path, auth: bool = False) -> str:
    """Start a registry, unless the one of this name runs already; return its ``host:port``.

    Raises:
        MissingToolError: docker-registry is not installed.
        AnyarchError: it did not come up within 20 s; the message holds the end of its log.
    """
    if shutil.which("docker-registry") is None:
        hint = "make demo and make test install it: lab/setup.sh"
        raise MissingToolError("docker-registry is not installed", hint=hint, tools=["docker-registry"])
    places = _Places(name)
    running = _running(places)
    network = await lease(places.owner)
    host = f"{network.address}:{PORT}"
    if running is not None:
        if await _answers(host):
            return host
        await running.stop(_STOP_SIGNALS)
    await disconnect(places.owner)  # what an earlier one left
    network = await lease(places.owner)
    host = f"{network.address}:{PORT}"
    try:
        with anyio.fail_after(_START_SECONDS):
            await _launch(places, network, storage, auth=auth)
            while not await _answers(host):
                await anyio.sleep(_POLL_SECONDS)
    except BaseException as error:
        log = places.file("log")
        said = log.read_text("utf-8", errors="replace")[-2000:] if log.exists() else ""
        with anyio.CancelScope(shield=True):
            await stop(name)
        if isinstance(error, TimeoutError):
            what = f"the registry at {host} did not answer within {_START_SECONDS:g} s:\n{said}"
            raise AnyarchError(what) from error
        raise
    return host


async def stop(name: str) -> None:
    """End a registry and remove all it left on the host; its storage stays. None running is no error."""
    places = _Places(name)
    running = _running(places)
    if running is not None:
        await running.stop(_STOP_SIGNALS)
    await disconnect(places.owner)
    shutil.rmtree(places.folder, ignore_errors=True)
    with suppress(OSError):
        RUNTIME.rmdir()  # unless somebody else uses it


async def stop_all() -> None:
    """End every registry on this machine that was started here, also one whose test run was killed."""
    for folder in RUNTIME.glob("*.registry"):
        await stop(folder.name.removesuffix(".registry"))


def address(name: str) -> str | None:
    """Where the registry of this name runs, as ``host:port``; None if it does not."""
    places = _Places(name)
    if _running(places) is None:
        return None
    return places.file("host").read_text("utf-8")


async def _launch(places: _Places, network: Network, storage: Path, *, auth: bool) -> None:
    places.folder.mkdir(parents=True, exist_ok=True)
    storage.mkdir(parents=True, exist_ok=True)
    pid_file = places.file("pid")
    pid_file.unlink(missing_ok=True)
    places.file("htpasswd").write_text(_HTPASSWD, "utf-8")
    places.file("config.yml").write_text(json.dumps(_config(places, network, storage, auth=auth)), "utf-8")
    places.file("host").write_text(f"{network.address}:{PORT}", "utf-8")
    commands = [" ".join(words) for words in network.inside()]
    with places.file("log").open("wb") as log:
        await anyio.run_process(
            [
                *("setsid", "--fork", "unshare", "--net", "sh", "-euc", _INSIDE, "sh"),
                *(str(pid_file), str(places.file("config.yml")), *commands),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},  # no REGISTRY_* of the user's
            cwd="/",
        )
    while not pid_file.exists():
        await anyio.sleep(_POLL_SECONDS)
    process = Process.read(int(pid_file.read_text()))
    if process is None:
        said = places.file("log").read_text("utf-8", errors="replace")[-2000:]
        raise AnyarchError(f"the registry's process ended at once:\n{said}")
    places.file("process.json").write_text(json.dumps([process.pid, process.ticks, process.boot]), "utf-8")
    await connect(places.owner, network, process.pid)


def _config(places: _Places, network: Network, storage: Path, *, auth: bool) -> dict[str, object]:
    """docker-registry's configuration; JSON is YAML."""
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "cache": {"blobdescriptor": "inmemory"},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": f"{network.address}:{PORT}"},
    }
    if auth:
        config["auth"] = {"htpasswd": {"realm": "anyarch-lab", "path": str(places.file("htpasswd"))}}
    return config


def _running(places: _Places) -> Process | None:
    try:
        process = Process(*json.loads(places.file("process.json").read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return process if process.alive else None


async def _answers(host: str) -> bool:
    try:
        async with httpx2.AsyncClient(timeout=1.0, trust_env=False) as client:
            answer = await client.get(f"http://{host}/v2/")
    except httpx2.HTTPError:
        return False
    return answer.status_code in {200, 401}
