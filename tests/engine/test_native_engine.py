"""The native engine for real: starting, stopping and recovering, in a machine of its own.

Every test runs ``anyarch engine`` inside a network and a mount namespace of its own, with its own ``/run``:
to the command that is the host, and what it changes there can be compared exactly, whatever else runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from anyarch.engine.native.build import install, installation
from anyarch.engine.native.image import python_sdk
from anyarch.engine.native.process import Process
from anyarch.errors import EngineDiskFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.engine

_PROGRAM: Final = (sys.executable, "-c", "from anyarch.cli.main import main; main()", "engine")
_PLAIN: Final = ("--emulate", "none")
_COMMAND_SECONDS: Final = 60
_MACHINE: Final = """
mount -t tmpfs -o mode=755 host /run
ip link set lo up
echo 0 >/proc/sys/net/ipv4/ip_forward
echo ready
exec sleep 600
"""
# What a host has that an engine could change.
_SNAPSHOT: Final = """
ip -oneline link; ip -oneline address; ip route; ip netns
nft list ruleset
cat /proc/sys/net/ipv4/ip_forward
cut -d' ' -f4- /proc/self/mountinfo
find /run /usr/bin /usr/sbin /opt /usr/local /etc -xdev \\( -type d -printf '%p %m\\n' \\) -o \\
  -printf '%p %l %s %m %T@\\n' | sort
ls /var/lib
find /sys/fs/cgroup -name 'anyarch-'"$1"'*'
"""


@dataclass
class Host:
    """One test's machine: its namespaces are those of the process ``pid``."""

    pid: int
    cache: Path
    prefix: str

    def name(self, letter: str = "a") -> str:
        return f"{self.prefix}{letter}"

    def inside(self, *command: str) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--", *command]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "ANYARCH_CACHE": str(self.cache)}

    def anyarch(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.inside(*_PROGRAM, *words),
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
            env=self.environment(),
        )

    def up(self, letter: str = "a", *words: str) -> dict[str, Any]:
        done = self.anyarch("up", "--name", self.name(letter), "--format", "json", *(words or _PLAIN))
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def down(self, letter: str = "a") -> str:
        done = self.anyarch("down", "--name", self.name(letter))
        assert done.returncode == 0, done.stderr
        return done.stderr

    def status(self, letter: str = "a") -> tuple[int, dict[str, Any]]:
        done = self.anyarch("status", "--name", self.name(letter), "--format", "json")
        answer: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, answer

    def snapshot(self) -> list[str]:
        command = self.inside("bash", "-c", _SNAPSHOT, "snapshot", self.prefix)
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_COMMAND_SECONDS)
        return done.stdout.splitlines()

    def runtime(self, letter: str = "a") -> Path:
        """The runtime folder, seen from outside."""
        return Path(f"/proc/{self.pid}/root/run/anyarch") / self.name(letter)

    def state(self, letter: str = "a") -> Path:
        return self.cache / "engine" / "state" / self.name(letter)

    def replace_engine(self, script: str) -> None:
        """Put a program of the test where the engine should be."""
        engine = installation(self.cache).engine
        installed = engine.parent.parent
        installed.unlink(missing_ok=True)
        engine.parent.mkdir(parents=True)
        (installed / "content").mkdir()
        engine.write_text(f"#!/bin/sh\n{script}\n")
        engine.chmod(0o755)


@pytest.fixture(scope="session")
def programs(say: Callable[[str], None]) -> tuple[Path, Path]:
    """The compiled engine and the SDK image of the user's cache; made now if they are not there."""

    async def make() -> tuple[Path, Path]:
        image = await python_sdk(on_event=say)
        return (await install(on_event=say)).prefix, image.content_dir

    return anyio.run(make)


@pytest.fixture
def host(programs: tuple[Path, Path], tmp_path: Path) -> Iterator[Host]:
    cache = tmp_path / "cache"
    (cache / "engine").mkdir(parents=True)
    for made in programs:
        (cache / "engine" / made.name).symlink_to(made)
    machine = ["unshare", "--net", "--mount", "--propagation=private", "sh", "-c", _MACHINE]
    with subprocess.Popen(machine, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        made_host = Host(process.pid, cache, f"n{process.pid}")
        try:
            yield made_host
        finally:
            for runtime in made_host.runtime("").parent.glob(f"{made_host.prefix}*"):
                made_host.anyarch("down", "--name", runtime.name)
            process.kill()


def test_up_down_up_and_a_host_that_is_as_before(host: Host) -> None:
    before = host.snapshot()
    first = host.up()
    assert first["url"] == f"unix:///run/anyarch/{host.name()}/engine.sock"
    assert first["started"] is True
    again = host.up()
    assert (again["pid"], again["started"]) == (first["pid"], False)
    code, known = host.status()
    assert (code, known["state"], known["version"]) == (0, "up", "v0.21.8")
    assert known["native"][0].startswith("linux/")
    assert host.snapshot() != before
    assert "is down" in host.down()
    assert host.snapshot() == before
    code, known = host.status()
    assert (code, known["state"], known["pid"]) == (10, "down", None)
    assert known["state_bytes"] > 0  # the cache is kept
    assert "was not running" in host.down()
    assert host.up()["pid"] != first["pid"]


def test_three_at_once_and_one_is_killed(host: Host) -> None:
    before = host.snapshot()
    with ThreadPoolExecutor() as pool:
        engines = dict(zip("abc", pool.map(host.up, "abc"), strict=True))
    assert len({engine["url"] for engine in engines.values()}) == 3
    os.kill(engines["b"]["pid"], signal.SIGKILL)
    assert host.status("b")[0] == 10
    assert [host.status(letter)[0] for letter in "ac"] == [0, 0]
    recovered = host.up("b")
    assert recovered["started"] is True
    assert host.status("b")[1]["pid"] == recovered["pid"]
    os.kill(engines["c"]["pid"], signal.SIGKILL)
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(host.down, "abc"))
    assert ["was not running" in words for words in said] == [False, False, True]
    assert host.snapshot() == before


def test_two_who_start_the_same_engine_get_the_same(host: Host) -> None:
    with ThreadPoolExecutor() as pool:
        one, other = pool.map(host.up, "aa")
    assert one["pid"] == other["pid"]
    assert sorted([one["started"], other["started"]]) == [False, True]


def test_other_options_restart_it_on_its_kept_state(host: Host) -> None:
    first = host.up()
    kept = host.state() / "root" / "kept"
    kept.write_text("")
    second = host.up("a", *_PLAIN, "--insecure-registry", "registry.example.com:5000")
    assert second["pid"] != first["pid"]
    assert kept.exists()
    engine_json = Path(f"/proc/{second['pid']}/root/etc/dagger/engine.json")
    assert json.loads(engine_json.read_text())["registries"] == {"registry.example.com:5000": {"http": True}}


def test_version_2_of_control_groups(host: Host) -> None:
    script = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup"
    subprocess.run(host.inside("sh", "-c", script), check=True, timeout=_COMMAND_SECONDS)
    before = host.snapshot()
    pid = host.up()["pid"]
    group = Path(f"/proc/{host.pid}/root/sys/fs/cgroup/anyarch-{host.name()}")
    assert str(pid) in (group / "init" / "cgroup.procs").read_text().split()
    controllers = (group / "cgroup.controllers").read_text().split()
    assert (group / "cgroup.subtree_control").read_text().split() == controllers
    seen_inside = Path(f"/proc/{pid}/root/sys/fs/cgroup")
    assert (seen_inside / "init").exists()
    assert not list(seen_inside.glob("anyarch-*"))  # the engine sees its own groups only
    host.down()
    assert host.snapshot() == before


def test_an_emulated_platform_is_known_while_the_engine_runs(host: Host) -> None:
    def entries(pid: int) -> set[str]:
        script = "mount -t binfmt_misc b /proc/sys/fs/binfmt_misc 2>/dev/null; ls /proc/sys/fs/binfmt_misc"
        command = ["nsenter", f"--target={pid}", "--mount", "unshare", "--mount", "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_COMMAND_SECONDS)
        return set(done.stdout.split())

    before = entries(os.getpid())
    engine = host.up("a", "--emulate", "linux/riscv64")
    assert host.status()[1]["emulated"] == engine["emulated"] == ["linux/riscv64"]
    assert "anyarch-qemu-riscv64" in entries(engine["pid"])
    host.down()
    assert entries(os.getpid()) == before


def test_what_a_reboot_left_behind_is_no_obstacle(host: Host) -> None:
    before = host.snapshot()
    host.up()
    record = json.loads((host.runtime() / "engine.json").read_text())
    networks = host.runtime().parent / "networks"
    lease = (networks / "0.json").read_text()
    host.down()
    with subprocess.Popen(["sleep", "60"]) as innocent:
        try:
            # As a machine finds it that lost its power: the process's number is somebody else's now.
            host.runtime().mkdir(parents=True)
            networks.mkdir()
            stale = {**record, "pid": innocent.pid, "boot": "another-boot"}
            (host.runtime() / "engine.json").write_text(json.dumps(stale))
            (host.runtime() / "engine.sock").write_text("")
            (networks / "0.json").write_text(lease)
            (networks / "boot").write_text("another-boot")
            (networks / "forwarding.before").write_text("1")
            assert host.up()["started"] is True
            host.down()
            assert innocent.poll() is None
        finally:
            innocent.kill()
    assert host.snapshot() == before


def test_a_lost_record_is_no_obstacle(host: Host) -> None:
    first = host.up()
    (host.runtime() / "engine.json").unlink()
    second = host.up()
    assert second["pid"] != first["pid"]
    assert Process.read(first["pid"]) is None


def test_a_start_that_fails_tells_the_cause_from_the_log(host: Host) -> None:
    (host.state() / "root" / "dagger-engine.lock").mkdir(parents=True)
    before = host.snapshot()
    done = host.anyarch("up", "--name", host.name(), *_PLAIN)
    assert done.returncode == 11
    assert "dagger-engine: could not lock" in done.stderr
    assert "is a directory" in done.stderr
    assert host.snapshot() == before


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param("trap 'exit 0' TERM; sleep 60 & wait", "did not answer within 1 s", id="silent"),
        pytest.param("echo first; echo 'panic: no luck'; exit 1", "panic: no luck", id="ends"),
    ],
)
def test_an_engine_that_never_answers_is_an_error_in_time(host: Host, script: str, said: str) -> None:
    host.replace_engine(script)
    before = host.snapshot()
    began = time.monotonic()
    done = host.anyarch("up", "--name", host.name(), *_PLAIN, "--deadline", "1")
    assert done.returncode == 11
    assert said in done.stderr
    assert time.monotonic() - began < 15
    assert host.snapshot() == before


def test_ctrl_c_while_it_starts_leaves_nothing(host: Host) -> None:
    host.replace_engine("trap 'exit 0' TERM; sleep 60 & wait")
    before = host.snapshot()
    command = host.inside(*_PROGRAM, "up", "--name", host.name(), *_PLAIN)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=host.environment()) as process:
        record = host.runtime() / "engine.json"
        while not record.exists():
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert host.snapshot() == before


def test_a_killed_up_is_recovered_by_the_next(host: Host) -> None:
    before = host.snapshot()
    command = host.inside(*_PROGRAM, "up", "--name", host.name(), *_PLAIN)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=host.environment()) as process:
        while not (host.runtime() / "engine.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert host.up()["url"]
    host.down()
    assert host.snapshot() == before


def copy_programs(root: Path) -> None:
    """This machine's own sh and dd: this test's machine reaches no registry that has a base image."""
    programs = ("/bin/sh", "/bin/dd")
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True, timeout=10)
    for path in {*programs, *re.findall(r"(/\S+) \(0x", done.stdout)}:
        copy = root / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


@pytest.mark.parametrize(
    ("megabytes", "instruction"),
    [
        pytest.param(100, "COPY Dockerfile /", id="before the build"),
        pytest.param(420, "RUN dd if=/dev/zero of=/x bs=1M count=600 || :", id="by a command, which is lost"),
    ],
)
def test_a_full_disk_on_the_engine_is_one_clear_error(
    host: Host, tmp_path: Path, megabytes: int, instruction: str
) -> None:
    state = host.state()
    state.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(state)]
    subprocess.run(host.inside(*mount), check=True, timeout=_COMMAND_SECONDS)
    engine = host.up()
    application = tmp_path / "application"
    copy_programs(application / "root")
    (application / "Dockerfile").write_text(f"FROM scratch\nCOPY root /\n{instruction}\n")
    program = (sys.executable, "-c", "from anyarch.cli.main import main; main()")
    words = ("--platform=linux/amd64", f"--engine=linux/amd64={engine['url']}", f"--to=oci:{tmp_path}/dist")
    done = subprocess.run(
        host.inside(*program, "run", str(application), *words),
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMMAND_SECONDS,
        env=host.environment(),
    )
    assert done.returncode == EngineDiskFullError.exit_code, done.stderr
    assert "has no room left" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "dist" / "index.json").exists()
