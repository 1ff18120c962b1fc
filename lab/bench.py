"""``make bench``: merge and tag beside crane, regctl, oras and buildx: whole processes, one registry.

Nothing here is a test: figures of a busy machine differ. Of all these programs only anyarch reads every
image's config, compares it with the record and reads the published index back.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.errors import AnyarchError
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Repository
from anyarch.registry.store import RegistryStore
from anyarch.release.record import record_from_store

from lab import go_tools
from lab.slow_proxy import SlowProxy, Traffic
from tests.builders import upload
from tests.releases import a_build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.builders import BuiltImage

CASES: Final = ((3, 1), (3, 5), (3, 20), (20, 5))
DELAY_SECONDS: Final = 0.015
REPEATS: Final = 3
BENCH_SECONDS: Final = 150.0
_RUN_SECONDS: Final = 30.0
_NAMES: Final = (  # noqa: SIM905  one line each would be twenty
    "linux/amd64 linux/arm64 linux/386 linux/arm/v5 linux/arm/v6 linux/arm/v7 linux/ppc64le linux/s390x "
    "linux/riscv64 linux/loong64 linux/mips linux/mipsle linux/mips64 linux/mips64le linux/ppc64 "
    "linux/amd64/v2 linux/amd64/v3 linux/amd64/v4 freebsd/amd64 freebsd/arm64"
).split()
_numbers = count()


@dataclass(frozen=True)
class Job:
    """What is to be merged: a repository's images by digest, and the tags to write."""

    host: str
    repository: str
    images: Sequence[BuiltImage]
    tags: Sequence[str]
    records: Path

    @property
    def references(self) -> list[str]:
        """The images, each by digest."""
        return [f"{self.repository}@{image.digest}" for image in self.images]


@dataclass(frozen=True)
class Measured:
    """One run: all of a tool's processes together."""

    seconds: float
    memory_kib: int


def anyarch(job: Job) -> list[list[str]]:
    """What it takes with anyarch: one process."""
    program = [str(Path(sys.executable).with_name("anyarch")), "merge", "--records", str(job.records)]
    return [[*program, "--to", job.repository, *(f"--tag={tag}" for tag in job.tags)]]


def crane(job: Job) -> list[list[str]]:
    """What it takes with crane: a process for the index, one for each further tag."""
    first = f"{job.repository}:{job.tags[0]}"
    index = ["crane", "index", "append", "-t", first, *(f"-m={each}" for each in job.references)]
    return [index, *(["crane", "tag", first, tag] for tag in job.tags[1:])]


def regctl(job: Job) -> list[list[str]]:
    """What it takes with regctl: a process for the index, one for each further tag."""
    first = f"{job.repository}:{job.tags[0]}"
    program = ["regctl", f"--host=reg={job.host},tls=disabled"]
    index = [*program, "index", "create", first, *(f"--ref={each}" for each in job.references)]
    return [index, *([*program, "image", "copy", first, f"{job.repository}:{tag}"] for tag in job.tags[1:])]


def oras(job: Job) -> list[list[str]]:
    """What it takes with oras: one process."""
    target = f"{job.repository}:{','.join(job.tags)}"
    digests = [str(image.digest) for image in job.images]
    return [["oras", "manifest", "index", "create", "--plain-http", target, *digests]]


def buildx(job: Job) -> list[list[str]]:
    """What it takes with buildx: one process."""
    tags = [f"--tag={job.repository}:{tag}" for tag in job.tags]
    return [["buildx", "imagetools", "create", *tags, *job.references]]


TOOLS: Final[Mapping[str, Callable[[Job], list[list[str]]]]] = {
    each.__name__: each for each in (anyarch, crane, regctl, oras, buildx)
}


def measure(commands: Sequence[Sequence[str]], environ: Mapping[str, str]) -> Measured:
    """Run the commands one after another.

    Raises:
        AnyarchError: one failed; the message holds its last words.
    """
    began, memory = time.monotonic(), 0
    for command in commands:
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                ["/usr/bin/timeout", f"{_RUN_SECONDS:g}", *command],
                env=dict(environ),
                stdout=said,
                stderr=said,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                said.seek(0)
                raise AnyarchError(f"{' '.join(command[:3])} failed: {said.read().decode()[-600:]}")
        memory = max(memory, usage.ru_maxrss)
    return Measured(time.monotonic() - began, memory)


async def prepare(server: str, host: str, shape: tuple[int, int], folder: Path) -> Job:
    """A fresh repository with images, so that every run has everything to do."""
    number = next(_numbers)
    path = f"bench/run{number}"
    images = [a_build(str(Platform.parse(name))) for name in _NAMES[: shape[0]]]
    records = folder / f"records{number}"
    records.mkdir()
    async with RegistryStore(Repository(server, path)) as store:
        await upload(store, *images)
        for image in images:
            record = await record_from_store(store, image.digest, platform=image.platform)
            document = json.loads(record.to_json()) | {"repository": f"{host}/{path}"}
            (records / f"{image.platform.slug}.json").write_text(json.dumps(document))
    return Job(host, f"{host}/{path}", images, [f"v{each}" for each in range(shape[1])], records)


async def compare(server: str, environ: Mapping[str, str], folder: Path) -> None:
    """Print a table for each shape, the loopback as it is and with the delay."""
    ends_at = time.monotonic() + BENCH_SECONDS
    for shape in CASES:
        print(f"\n{shape[0]} platforms, {shape[1]} tags; median of {REPEATS}; ratio to anyarch")
        print(f"{'':9}{'plain':>15}{'+15 ms each way':>18}{'rounds':>8}{'KiB':>6}{'MiB mem':>9}  requests")
        base: tuple[float, float] | None = None
        for name, commands in TOOLS.items():
            plain: list[Measured] = []
            slow: list[Measured] = []
            traffic = Traffic()
            for _ in range(REPEATS):
                if time.monotonic() > ends_at and slow:
                    break
                job = await prepare(server, server, shape, folder)
                plain.append(await asyncio.to_thread(measure, commands(job), environ))
                async with SlowProxy(server, DELAY_SECONDS) as proxy:
                    job = await prepare(server, proxy.host, shape, folder)
                    slow.append(await asyncio.to_thread(measure, commands(job), environ))
                    traffic = proxy.traffic
            medians = (_median(plain), _median(slow))
            base = base or medians
            memory = max(each.memory_kib for each in plain) / 1024
            cells = "".join(
                f"{own:9.2f} s {own / ours:4.1f}x" for own, ours in zip(medians, base, strict=True)
            )
            methods = " ".join(f"{word} {number}" for word, number in sorted(traffic.methods.items()))
            total = sum(traffic.methods.values())
            counted = f"{traffic.rounds:8}{traffic.bytes / 1024:6.0f}{memory:9.0f}  {total}: {methods}"
            print(f"{name:9}{cells}{counted}", flush=True)


def _median(runs: Sequence[Measured]) -> float:
    return statistics.median(each.seconds for each in runs)


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
            await compare(host, environ, folder)
        finally:
            registry.terminate()
            await registry.wait()
    print(
        "\nanyarch reads every manifest and config, holds them to the records and reads the index back;"
        " no other"
        "\nprogram here knows what should be in the index. Rounds: most requests that followed one another."
        "\nA ratio above 1: anyarch is faster. Memory: the largest process, never below this one's own."
        "\ncrane and regctl need a process for each further tag, which counts."
        f"\n{time.monotonic() - began:.0f} s."
    )


if __name__ == "__main__":
    asyncio.run(main())
