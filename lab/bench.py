"""``make bench``: merge and tag beside crane, regctl, oras, buildx and buildah, as whole processes.

Nothing here is a test: figures of a busy machine differ. Of all these programs only anyarch reads every
image's config, compares it with the record and reads the published index back. docs/bench.md reads the
table.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.errors import AnyarchError
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Repository
from anyarch.registry.store import RegistryStore
from anyarch.release.record import record_from_store

from lab import go_tools
from lab.bench_peers import ONE_PROCESS, TOOLS, Job
from lab.slow_proxy import SlowProxy, Traffic
from tests.builders import upload
from tests.releases import a_build

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CASES: Final = ((3, 1), (3, 5), (3, 20), (20, 5), (20, 200))
LARGE_TAGS: Final = 100  # from so many on a case runs once, and only programs that take all tags at once
DELAY_SECONDS: Final = 0.015
REPEATS: Final = 3
BENCH_SECONDS: Final = 120.0  # nothing is repeated after that
LONG_SECONDS: Final = 5.0  # nor what took so long
PLAIN_TARGET_SECONDS: Final = 0.2
MEMORY_TARGET_MIB: Final = 100
_RUN_SECONDS: Final = 60
_STOPWATCH: Final = Path(__file__).with_name("stopwatch.py")
_NAMES: Final = (  # noqa: SIM905  one line each would be twenty
    "linux/amd64 linux/arm64 linux/386 linux/arm/v5 linux/arm/v6 linux/arm/v7 linux/ppc64le linux/s390x "
    "linux/riscv64 linux/loong64 linux/mips linux/mipsle linux/mips64 linux/mips64le linux/ppc64 "
    "linux/amd64/v2 linux/amd64/v3 linux/amd64/v4 freebsd/amd64 freebsd/arm64"
).split()
_numbers = count()


@dataclass
class Figures:
    """What one program did in one case; ``memory_mib`` is the peak of its largest process."""

    plain: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)
    memory_mib: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def best(self) -> tuple[float, float]:
        """Seconds, on the loopback and with the delay: what the machine's other work disturbed least."""
        return min(self.plain), min(self.slow)

    @property
    def requests(self) -> int:
        """How many with the delay; without it they are the same."""
        return sum(self.traffic.methods.values())


def measure(commands: Iterable[Sequence[str]], environ: Mapping[str, str]) -> tuple[float, float]:
    """Run the commands one after another; the seconds of all, and the peak MiB of the largest.

    Raises:
        AnyarchError: one failed; the message holds its last words.
    """
    seconds, memory = 0.0, 0
    for command in commands:
        with tempfile.NamedTemporaryFile() as result, tempfile.TemporaryFile() as said:
            words = [sys.executable, "-S", "-I", str(_STOPWATCH), result.name, str(_RUN_SECONDS), *command]
            subprocess.run(words, env=dict(environ), stdout=said, stderr=said, check=False)
            took, kib, status = (result.read().decode().split() or ["0", "0", "127"])[:3]
            if int(status) != 0:
                said.seek(0)
                raise AnyarchError(f"{' '.join(command[:3])} failed: {said.read().decode()[-600:]}")
        seconds, memory = seconds + float(took), max(memory, int(kib))
    return seconds, memory / 1024


async def prepare(server: str, host: str, shape: tuple[int, int], folder: Path) -> Job:
    """A fresh repository with images, so that every run has everything to do."""
    number = next(_numbers)
    path = f"bench/run{number}"
    images = [a_build(str(Platform.parse(name))) for name in _NAMES[: shape[0]]]
    records, scratch = folder / f"records{number}", folder / f"scratch{number}"
    records.mkdir()
    scratch.mkdir()
    async with RegistryStore(Repository(server, path)) as store:
        await upload(store, *images)
        for image in images:
            record = await record_from_store(store, image.digest, platform=image.platform)
            document = json.loads(record.to_json()) | {"repository": f"{host}/{path}"}
            (records / f"{image.platform.slug}.json").write_text(json.dumps(document))
    return Job(host, f"{host}/{path}", images, [f"v{each}" for each in range(shape[1])], records, scratch)


async def run(
    name: str, server: str, shape: tuple[int, int], environ: Mapping[str, str], ends_at: float
) -> Figures:
    """One program in one case, as often as time allows: at least once."""
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="anyarch-bench-") as folder:
        for _ in range(1 if shape[1] >= LARGE_TAGS else REPEATS):
            if figures.slow and (time.monotonic() > ends_at or figures.slow[-1] > LONG_SECONDS):
                break
            job = await prepare(server, server, shape, Path(folder))
            seconds, memory = await asyncio.to_thread(measure, TOOLS[name](job), environ)
            figures.plain.append(seconds)
            figures.memory_mib = max(figures.memory_mib, memory)
            async with SlowProxy(server, DELAY_SECONDS) as proxy:
                job = await prepare(server, proxy.host, shape, Path(folder))
                figures.slow.append((await asyncio.to_thread(measure, TOOLS[name](job), environ))[0])
                figures.traffic = proxy.traffic
    return figures


async def compare(server: str, environ: Mapping[str, str]) -> None:
    """Print a table for each shape, the loopback as it is and with the delay, and then the targets."""
    ends_at = time.monotonic() + BENCH_SECONDS
    found: dict[tuple[int, int], dict[str, Figures]] = {}
    for shape in CASES:
        print(f"\n{shape[0]} platforms, {shape[1]} tags; ratio to anyarch")
        print(
            f"{'':9}{'plain':>15}{'+15 ms each way':>18}{'rounds':>8}{'conns':>7}{'KiB':>7}{'MiB mem':>9}"
            "  requests"
        )
        found[shape] = {}
        for name in ONE_PROCESS if shape[1] >= LARGE_TAGS else TOOLS:
            found[shape][name] = await run(name, server, shape, environ, ends_at)
            print(_line(name, found[shape][name], found[shape]["anyarch"]), flush=True)
    print(f"\n{_targets(found)}")


def _line(name: str, figures: Figures, base: Figures) -> str:
    pairs = zip(figures.best, base.best, strict=True)
    cells = "".join(f"{own:9.2f} s {own / ours:4.1f}x" for own, ours in pairs)
    methods = " ".join(f"{word} {number}" for word, number in sorted(figures.traffic.methods.items()))
    traffic = figures.traffic
    counted = f"{traffic.rounds:8}{traffic.connections:7}{traffic.bytes / 1024:7.0f}{figures.memory_mib:9.0f}"
    return f"{name:9}{cells}{counted}  {figures.requests}: {methods}"


def _targets(found: Mapping[tuple[int, int], Mapping[str, Figures]]) -> str:
    """How anyarch stands to what it is meant to reach."""
    usual = found[3, 5]
    plain, slow = usual["anyarch"].best
    faster = Counter(
        name
        for peers in found.values()
        for name, each in peers.items()
        if each.best[1] < peers["anyarch"].best[1]
    )
    few, many = found[20, 5]["anyarch"].requests, found[20, 200]["anyarch"].requests
    of_three = (found[3, 20]["anyarch"].requests - usual["anyarch"].requests) / 15
    memory = max(peers["anyarch"].memory_mib for peers in found.values())
    return "\n".join(
        [
            f"3 x 5 plain: {plain:.2f} s (target {PLAIN_TARGET_SECONDS} s); with the delay: {slow:.2f} s",
            "faster than anyarch with the delay, in how many cases: "
            + (", ".join(f"{name} {times}" for name, times in faster.items()) or "nobody"),
            f"requests for each further tag: {(many - few) / 195:.2f} of 20 platforms, {of_three:.2f} of 3",
            f"largest peak of memory: {memory:.0f} MiB (target {MEMORY_TARGET_MIB} MiB)",
        ]
    )


async def main() -> None:
    """Compile the peers, start a registry, compare."""
    began = time.monotonic()
    peers = await go_tools.compiled(go_tools.PEERS, on_event=print)
    buildx_folder = await go_tools.compiled(go_tools.BUILDX, on_event=print)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="anyarch-bench-") as name:
        folder = Path(name)
        config = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"inmemory": {}},
            "http": {"addr": host},
        }
        (folder / "config.yml").write_text(json.dumps(config))
        environ = {"PATH": f"{peers}:{buildx_folder}:/usr/bin:/bin", "HOME": name}
        registry = await asyncio.create_subprocess_exec(
            peers / "registry",
            "serve",
            folder / "config.yml",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await asyncio.sleep(1.0)
            await compare(host, environ)
        finally:
            registry.terminate()
            await registry.wait()
    print(
        "\nanyarch reads every manifest and config, holds them to the records and reads the index back;"
        " no other"
        "\nprogram here knows what should be in the index. Rounds: most requests that followed one another."
        "\nConns: connections opened, each a round trip before its first request."
        "\nA ratio above 1: anyarch is faster. Memory: peak of the largest process. crane, regctl and buildah"
        "\nneed a process for each further tag, which counts; docs/bench.md tells how to read this."
        f"\n{os.cpu_count()} cores, {time.monotonic() - began:.0f} s."
    )


if __name__ == "__main__":
    asyncio.run(main())
