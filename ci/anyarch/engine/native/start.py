"""Starting one engine process in its namespaces, and waiting until it answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from anyarch.engine.native import emulation
from anyarch.engine.native.options import engine_config, inherited_environment
from anyarch.engine.native.tools import SEARCH_PATH, find
from anyarch.engine.probe import probe
from anyarch.engine.urls import parse_engine_url
from anyarch.errors import EngineStartError, EngineUnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.engine.native import cgroups
    from anyarch.engine.native.build import Installation
    from anyarch.engine.native.image import SdkImage
    from anyarch.engine.native.network import Network
    from anyarch.engine.native.options import UpOptions
    from anyarch.engine.native.places import Places
    from anyarch.engine.native.process import Process as Identity
    from anyarch.oci.platforms import Platform

_LAUNCH: Final = Path(__file__).with_name("launch.py")
_LAUNCH_SECONDS: Final = 30.0
_ANSWER_BYTES: Final = 65_536
_POLL_SECONDS: Final = 0.1
# The engines' containers; every engine has a network of its own, so all use the same addresses.
_CONTAINER_NETWORK: Final = "10.187.0.0/16"
# Container networks made before they are needed. The engine's own 128 keep two cores busy for a quarter of a
# minute after every start, and for seconds at the stop.
_NETWORKS_AHEAD: Final = 8
# Folders that the engine or its helpers write to: links of iptables, resolv.conf and engine.json, network
# leases, hashes of certificates.
_OVERLAYS: Final = ("/usr/bin", "/etc", "/var/lib", "/usr/local/share/ca-certificates")
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_RESOLVED: Final = Path("/run/systemd/resolve/resolv.conf")
_FATAL: Final = re.compile(r"^(dagger-engine: |panic: |fatal error: )|level=(error|fatal|panic)")


@dataclass(frozen=True, slots=True)
class Start:
    """Everything that one start is made of."""

    places: Places
    options: UpOptions
    installed: Installation
    image: SdkImage | None
    network: Network
    hierarchies: tuple[cgroups.Hierarchy, ...]
    emulated: tuple[Platform, ...]

    @property
    def emulators(self) -> Mapping[str, str]:
        """The kernel's entries for them."""
        return emulation.entries(self.emulated)

    def plan(self) -> dict[str, object]:
        """What ``launch.py`` is told."""
        places = self.places
        binds = [[str(self.image.content_dir), str(self.installed.content)]] if self.image else []
        keep = [places.runtime, places.state, self.installed.prefix]
        keep += [self.image.content_dir] if self.image else []
        return {
            "cgroups": [
                {
                    "path": str(tree.group(places.name)),
                    "at": str(tree.at),
                    "type": tree.type,
                    "options": tree.options,
                }
                for tree in self.hierarchies
            ],
            "keep": [str(path) for path in keep],
            "scratch": str(places.scratch),
            "overlays": [folder for folder in _OVERLAYS if Path(folder).is_dir()],
            "binds": binds,
            "files": {
                "/etc/dagger/engine.json": engine_config(self.options),
                "/etc/buildkit/buildkitd.toml": "",
                "/etc/resolv.conf": resolv_conf(),
            },
            "links": {
                f"/usr/bin/{name}": path
                for name in ("xtables-nft-multi", "xtables-legacy-multi")
                if (path := find(name)) is not None
            },
            "binfmt": dict(self.emulators),
            "network": self.network.inside(),
            "command": self._command(),
            "environment": self._environment(),
            "log": str(places.log),
        }

    def _command(self) -> list[str]:
        words = [str(self.installed.engine), "--addr", self.places.url, "--root", str(self.places.root)]
        words += ["--network-cidr", _CONTAINER_NETWORK, "--oci-cni-binary-dir", str(self.installed.plugins)]
        words += ["--oci-cni-pool-size", str(_NETWORKS_AHEAD)]
        return words

    def _environment(self) -> dict[str, str]:
        own = {
            "PATH": f"{self.installed.prefix / 'bin'}:{SEARCH_PATH}",
            "HOME": str(self.places.state / "home"),
            "TMPDIR": str(self.places.state / "tmp"),
        }
        image = dict(self.image.environment) if self.image else {}
        return {**inherited_environment(), **own, **image}


def resolv_conf(usual: Path = _RESOLV_CONF, uplink: Path = _RESOLVED) -> str:
    """The name servers an engine can reach: a stub that listens on the host's loopback is not among them.

    Args:
        usual: The host's own file.
        uplink: Where systemd-resolved writes the servers behind its stub.
    """
    text = usual.read_text() if usual.exists() else ""
    if not reachable_servers(text) and uplink.exists():
        text = uplink.read_text()
    return text


def reachable_servers(text: str) -> list[str]:
    """The name servers of a ``resolv.conf`` that are no loopback addresses."""
    words = [line.split() for line in text.splitlines()]
    servers = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return [server for server in servers if not server.startswith("127.") and server != "::1"]


class Launch:
    """The dialogue with ``launch.py``."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None  # noqa: S101  both are pipes
        assert process.stdin is not None  # noqa: S101
        self._process = process
        self._answers = BufferedByteReceiveStream(process.stdout)
        self._stdin = process.stdin

    @classmethod
    async def begin(cls, start: Start) -> Launch:
        """Start ``launch.py`` away from this process's terminal and tell it the plan."""
        command = [sys.executable, "-I", str(_LAUNCH)]
        process = await anyio.open_process(command, stderr=subprocess.STDOUT, start_new_session=True)
        launch = cls(process)
        await launch.say(json.dumps(start.plan()))
        return launch

    async def say(self, line: str) -> None:
        """Send one line."""
        await self._stdin.send(line.encode() + b"\n")

    async def hear(self, word: str) -> Mapping[str, object]:
        """The next answer, which must hold ``word``.

        Raises:
            EngineStartError: it says what went wrong, or ends, or says nothing in time.
        """
        try:
            with anyio.fail_after(_LAUNCH_SECONDS):
                line = await self._answers.receive_until(b"\n", _ANSWER_BYTES)
        except (anyio.EndOfStream, anyio.IncompleteRead, TimeoutError) as error:
            raise EngineStartError(f"the engine's launcher did not say {word!r}") from error
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise EngineStartError(
                f"the engine's launcher failed: {line.decode(errors='replace')}"
            ) from error
        if not isinstance(answer, dict) or word not in answer:
            said = answer.get("error", answer) if isinstance(answer, dict) else answer
            raise EngineStartError(
                f"the engine's namespaces cannot be set up: {said}",
                hint="inside a container it needs all of root's powers: docker run --privileged",
            )
        return answer

    async def end(self) -> None:
        """Let go of it; whatever has not been told ``go`` ends by itself."""
        await self._stdin.aclose()
        await self._answers.aclose()
        await self._process.wait()


async def wait_until_ready(places: Places, process: Identity, *, deadline_seconds: float) -> None:
    """Return when the engine answers on its socket.

    Raises:
        EngineStartError: it ended, or did not answer in time; the message has the log's last cause.
    """
    url = parse_engine_url(places.url)
    end = time.monotonic() + deadline_seconds
    why = "it says nothing"
    while time.monotonic() < end:
        try:
            await probe(url, deadline_seconds=max(0.1, min(2.0, end - time.monotonic())))
        except EngineUnreachableError as error:
            why = error.what
        else:
            return
        if not process.alive:
            raise _failure(places, "ended while starting")
        await anyio.sleep(_POLL_SECONDS)
    raise _failure(places, f"did not answer within {deadline_seconds:g} s ({why})")


def _failure(places: Places, how: str) -> EngineStartError:
    text = places.log.read_text(errors="replace") if places.log.exists() else ""
    said = cause(text)
    return EngineStartError(
        f"engine {places.name!r} {how}" + (f": {said}" if said else ", and its log is empty"),
        hint=f"the whole log: {places.log}",
        engine=places.name,
        log=str(places.log),
        cause=said,
    )


def cause(log: str) -> str:
    """The last line of an engine's log that tells why it failed; its last line if none does."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    fatal = [line for line in lines if _FATAL.search(line)]
    return (fatal or lines or [""])[-1][:600]
