"""The pure parts of the native engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.engine.native import cgroups, emulation, launch, network, tools
from anyarch.engine.native.build import installation
from anyarch.engine.native.locks import locked
from anyarch.engine.native.network import Network
from anyarch.engine.native.options import UpOptions, digest, engine_config, inherited_environment
from anyarch.engine.native.places import Places
from anyarch.engine.native.process import Process, parse_stat
from anyarch.engine.native.record import Record, read, write
from anyarch.engine.native.start import cause, reachable_servers, resolv_conf
from anyarch.engine.native.status import native_platforms
from anyarch.engine.native.toolchain import good_enough, parse_go_version
from anyarch.errors import EngineStartError, MissingToolError, UsageError
from anyarch.oci.platforms import Platform
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

AMD64 = Platform.parse("linux/amd64")
ARM64 = Platform.parse("linux/arm64")


# Names and places


@pytest.mark.parametrize("name", ["default", "arm64-a", "a" * 32, "7"])
def test_an_engine_has_a_folder_and_an_url_of_its_name(name: str) -> None:
    places = Places(name, Path("/cache"))
    assert places.url == f"unix:///run/anyarch/{name}/engine.sock"
    assert places.state == Path("/cache/engine/state") / name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("../etc", id="a path"),
        pytest.param("a/b", id="two folders"),
        pytest.param("A", id="capital"),
        pytest.param("a-", id="ends with a hyphen"),
        pytest.param("a.registry", id="a dot, as the lab's registries have"),
        pytest.param("a\n", id="line break"),
        pytest.param("a" * 33, id="too long"),
        pytest.param("networks", id="a folder of ours"),
    ],
)
def test_a_name_that_cannot_be_part_of_a_path_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be an engine's name"):
        Places(name, Path("/cache"))


def test_the_programs_folder_has_the_version_in_its_name(tmp_path: Path) -> None:
    prefix = installation(tmp_path).prefix
    assert prefix.parent == tmp_path / "engine"
    assert prefix.name.startswith("v0.21.8-")


# Network


def test_a_networks_rules_are_one_table_of_its_own() -> None:
    rules = Network(7).ruleset()
    assert rules.startswith("table ip anyarch_7 {")
    assert 'ip saddr 10.87.7.0/30 oifname != "anyarch-7" masquerade' in rules


@given(st.integers(0, 255))
def test_addresses_and_names_fit(number: int) -> None:
    leased = Network(number)
    assert len(leased.link) <= 15  # what the kernel allows for an interface
    assert (leased.host_address, leased.address) == (f"10.87.{number}.1", f"10.87.{number}.2")
    assert ["route", "add", "default", "via", leased.host_address] == leased.inside()[-1][1:]


def exists(path: Path) -> bool:
    return path.exists()


@pytest.fixture
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of leases on a machine where nothing else has addresses like ours but number 1."""

    async def addresses() -> str:
        return "3: elsewhere    inet 10.87.1.1/30 scope global elsewhere\n"

    async def attempt(command: Sequence[str], **_: object) -> tuple[int, str]:
        commands.append(" ".join(command))
        return 0, ""

    commands: list[str] = []
    folder = tmp_path / "networks"
    monkeypatch.setattr(network, "_LEASES", folder)
    monkeypatch.setattr(network, "_FORWARD", tmp_path / "ip_forward")
    monkeypatch.setattr(network, "_addresses", addresses)
    monkeypatch.setattr(network, "attempt", attempt)
    (tmp_path / "ip_forward").write_text("1")
    return folder


@pytest.mark.anyio
async def test_numbers_go_to_one_owner_each_and_come_back(leases: Path) -> None:
    assert (await network.lease("a")).number == 0
    assert (await network.lease("b")).number == 2  # 1 is somebody else's
    assert (await network.lease("a")).number == 0
    await network.disconnect("a")
    assert (await network.lease("c")).number == 0
    await network.disconnect("c")
    await network.disconnect("b")
    assert not exists(leases)


@pytest.mark.anyio
async def test_forwarding_is_put_back_by_the_last_owner_only(leases: Path) -> None:
    forward = leases.parent / "ip_forward"
    await network.lease("a")
    await network.lease("b")
    (leases / "forwarding.before").write_text("0")
    await network.disconnect("a")
    assert forward.read_text() == "1"
    await network.disconnect("b")
    assert forward.read_text() == "0"


@pytest.mark.anyio
async def test_leases_of_an_earlier_boot_count_for_nothing(leases: Path) -> None:
    await network.lease("a")
    (leases / "forwarding.before").write_text("0")
    (leases / "boot").write_text("another-boot")
    assert (await network.lease("b")).number == 0
    await network.disconnect("b")
    assert (leases.parent / "ip_forward").read_text() == "1"  # not put back to what another boot had


@pytest.mark.anyio
async def test_a_lease_cut_short_is_free_again(leases: Path) -> None:
    await network.lease("a")
    (leases / "0.json").write_text('{"owner": "a", "ru')
    assert (await network.lease("b")).number == 0


# Control groups

_VERSION_1 = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
50 1 0:38 / /mnt/copy rw - cgroup2 cgroup2 rw
"""
_VERSION_2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_both_versions_of_control_groups_are_found() -> None:
    found = [(str(tree.at), tree.type, tree.options) for tree in cgroups.parse(_VERSION_1)]
    assert found == [
        ("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"),
        ("/sys/fs/cgroup/systemd", "cgroup", "none,name=systemd"),
        ("/sys/fs/cgroup/unified", "cgroup2", ""),
    ]
    (only,) = cgroups.parse(_VERSION_2)
    assert (only.type, only.group("a")) == ("cgroup2", Path("/sys/fs/cgroup/anyarch-a"))


# Emulation

# What QEMU's own scripts/qemu-binfmt-conf.sh registers.
_AARCH64 = (
    r":anyarch-qemu-aarch64:M:0:"
    r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:"
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:"
)
_S390X = r"\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:"
_SHOWN = """\
enabled
interpreter /usr/bin/qemu-aarch64
flags: {flags}
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


def test_entries_are_what_qemu_registers() -> None:
    lines = emulation.entries([ARM64, Platform.parse("linux/s390x")])
    assert lines["anyarch-qemu-aarch64"].startswith(_AARCH64)
    assert lines["anyarch-qemu-aarch64"].endswith("qemu-aarch64-static:F")
    assert _S390X in lines["anyarch-qemu-s390x"]


@pytest.mark.parametrize(
    ("entry", "serves"),
    [
        pytest.param(_SHOWN.format(flags="OCF"), True, id="somebody else's, with F"),
        pytest.param(_SHOWN.format(flags="OC"), False, id="no F: containers would not find the emulator"),
        pytest.param(_SHOWN.format(flags="F").replace("enabled", "disabled"), False, id="disabled"),
        pytest.param(_SHOWN.format(flags="F").replace("b700", "f300"), False, id="another machine"),
        pytest.param("enabled\ninterpreter /usr/bin/jexec\nflags: F\nextension .jar\n", False, id="no magic"),
    ],
)
def test_an_entry_that_serves_already_is_used(entry: str, serves: bool) -> None:
    line = emulation.entries([ARM64])["anyarch-qemu-aarch64"]
    assert launch.serves(entry, line) is serves


def test_only_what_the_machine_cannot_run_is_emulated() -> None:
    wanted = [AMD64, Platform.parse("linux/386"), ARM64, Platform.parse("linux/arm64/v8")]
    assert emulation.to_emulate(wanted, AMD64) == (ARM64,)
    assert emulation.to_emulate(wanted, ARM64) == (Platform.parse("linux/386"), AMD64)


@pytest.mark.parametrize("text", ["windows/amd64", "linux/mips64le", "darwin/arm64"])
def test_what_cannot_be_emulated_is_said_at_once(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be emulated"):
        emulation.to_emulate([Platform.parse(text)], AMD64)


def test_the_machine_itself_is_native() -> None:
    assert str(emulation.host_platform()) == native_platforms()[0]
    assert not any(emulation.host_platform().runs(other) for other in emulation.default_emulation())


# Options


def test_registries_and_mirrors_reach_the_engines_configuration() -> None:
    options = UpOptions(
        insecure_registries=("10.87.1.2:5000",),
        mirrors={"docker.io": "http://mirror.example.com:5000", "ghcr.io": "https://cache.example.com"},
    )
    assert json.loads(engine_config(options))["gc"]["minFreeSpace"] == "5%"  # Dagger's 20 % empties the cache
    assert json.loads(engine_config(options))["registries"] == {
        "10.87.1.2:5000": {"http": True},
        "mirror.example.com:5000": {"http": True},
        "docker.io": {"mirrors": ["http://mirror.example.com:5000"]},
        "ghcr.io": {"mirrors": ["https://cache.example.com"]},
    }


@pytest.mark.parametrize("mirror", [{"docker.io": "10.87.1.2:5000"}, {"": "http://a"}, {"docker.io": ""}])
def test_a_mirror_that_is_none_is_refused(mirror: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is not a mirror"):
        UpOptions(mirrors=mirror)


def test_the_order_of_registries_is_no_other_option() -> None:
    one, other = (
        engine_config(UpOptions(insecure_registries=pair)) for pair in (("a:1", "b:2"), ("b:2", "a:1"))
    )
    assert digest(config=one) == digest(config=other) != digest(config=engine_config(UpOptions()))


def test_a_token_of_the_caller_does_not_reach_the_engine() -> None:
    environ = {"GITHUB_TOKEN": "t0ken", "HTTPS_PROXY": "http://proxy.example.com", "no_proxy": ""}
    assert inherited_environment(environ) == {"HTTPS_PROXY": "http://proxy.example.com"}


# Names of hosts


def test_a_stub_on_the_loopback_is_replaced_by_the_servers_behind_it(tmp_path: Path) -> None:
    usual, uplink = tmp_path / "usual", tmp_path / "uplink"
    usual.write_text("nameserver 127.0.0.53\noptions edns0\n")
    assert resolv_conf(usual, uplink) == "nameserver 127.0.0.53\noptions edns0\n"  # nothing better known
    uplink.write_text("nameserver 192.0.2.53\n")
    assert resolv_conf(usual, uplink) == "nameserver 192.0.2.53\n"
    usual.write_text("search example.com\nnameserver 192.0.2.1\n")
    assert resolv_conf(usual, uplink) == "search example.com\nnameserver 192.0.2.1\n"
    assert resolv_conf(tmp_path / "none", tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver ::1\nnameserver 127.1.2.3\n", []),
        ("# nameserver 192.0.2.1\nnameserver\n", []),
        ("nameserver 192.0.2.1\nnameserver 127.0.0.1", ["192.0.2.1"]),
    ],
)
def test_loopback_servers_are_not_reachable(text: str, servers: list[str]) -> None:
    assert reachable_servers(text) == servers


# The log's cause


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("one\ntwo\n\n", "two", id="the last line"),
        pytest.param(
            "level=info msg=a\ndagger-engine: could not lock\nshutting down telemetry...\n",
            "dagger-engine: could not lock",
            id="what ended it, not what came after",
        ),
        pytest.param(
            'time=x level=error msg="no room"\ngoodbye', 'time=x level=error msg="no room"', id="an error"
        ),
        pytest.param(
            "panic: x\n\ngoroutine 1 [running]:\n\tmain.go:1", "panic: x", id="a panic, not its stack"
        ),
    ],
)
def test_the_cause_is_found_in_the_log(log: str, expected: str) -> None:
    assert cause(log) == expected


# Processes


@given(st.text(alphabet=st.characters(exclude_characters="\x00"), max_size=16))
def test_a_programs_name_cannot_confuse_its_start_time(name: str) -> None:
    fields = " ".join(str(number) for number in range(4, 53))
    assert parse_stat(f"7 ({name}) S {fields}") == ("S", 22)


@pytest.mark.anyio
async def test_a_process_is_stopped_and_a_reused_number_is_not() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:  # noqa: ASYNC220  starts at once
        known = Process.read(child.pid)
        assert known is not None
        later = Process(known.pid, known.ticks + 1, known.boot)
        assert await later.stop(((signal.SIGKILL, 5.0),))
        assert child.poll() is None  # it was another process that was meant
        assert await known.stop(((signal.SIGTERM, 5.0),))
        assert not known.alive  # a zombie is not alive
        assert child.wait(5) == -signal.SIGTERM
    assert Process.read(child.pid) is None


@pytest.mark.anyio
async def test_the_second_signal_follows_the_first_in_vain() -> None:
    deaf = ["sh", "-c", "trap '' TERM; echo; sleep 60"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE) as child:  # noqa: ASYNC220  starts at once
        assert child.stdout is not None
        child.stdout.readline()
        known = Process.read(child.pid)
        assert known is not None
        assert await known.stop(((signal.SIGTERM, 0.1), (signal.SIGKILL, 5.0)))
        assert child.wait(5) == -signal.SIGKILL


# Records


def _record() -> Record:
    return Record(
        name="a",
        url="unix:///run/anyarch/a/engine.sock",
        version="v0.21.8",
        pid=os.getpid(),
        ticks=1,
        boot="b",
        started=1.5,
        options="digest",
        prefix="/p",
        state="/s",
        native=("linux/amd64",),
        emulated=(),
        entries=(),
    )


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "engine.json", _record())
    assert read(tmp_path / "engine.json") == _record()
    assert [path.name for path in tmp_path.iterdir()] == ["engine.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "a"}', '{"pid": "1"}'])
def test_a_record_cut_short_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "engine.json").write_text(text)
    assert read(tmp_path / "engine.json") is None
    assert read(tmp_path / "nothing" / "engine.json") is None


# Locks


@pytest.mark.anyio
async def test_a_lock_is_held_by_one_and_may_be_deleted_by_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "lock"
    order = []

    async def second() -> None:
        async with locked(path, deadline_seconds=5):
            order.append("second")
            assert path.exists()

    async with anyio.create_task_group() as tasks, locked(path, deadline_seconds=1):
        tasks.start_soon(second)
        await anyio.sleep(0.15)
        order.append("first")
        path.unlink()
    assert order == ["first", "second"]


@pytest.mark.anyio
async def test_a_lock_that_is_never_free_is_an_error(tmp_path: Path) -> None:
    async with locked(tmp_path / "lock", deadline_seconds=1):
        with pytest.raises(EngineStartError, match="has held"):
            async with locked(tmp_path / "lock", deadline_seconds=0.15):
                pass


# Tools


def test_everything_that_is_missing_is_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        tools, "find", lambda program: None if program in {"rg", "nft", "q"} else "/usr/bin/x"
    )
    with pytest.raises(MissingToolError) as caught:
        tools.require(["q"])
    assert caught.value.hint == "apt-get install nftables qemu-user-static ripgrep"


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingToolError, match="needs root"):
        tools.require()


@pytest.mark.parametrize(
    ("said", "enough"),
    [
        ("go version go1.26.8 linux/amd64", True),
        ("go version go1.26.1 linux/arm64", True),
        ("go version go1.27 linux/amd64", True),
        ("go version go1.26.6 linux/amd64", False),  # ends sessions after 30 s
        ("go version go1.26.0 linux/amd64", False),
        ("go version go1.26rc2 linux/amd64", False),
        ("go version go1.9.7 linux/amd64", False),
        ("go version devel +a1b2c3", False),
        ("bash: go: command not found", False),
    ],
)
def test_a_go_is_new_enough_or_not(said: str, enough: bool) -> None:
    assert good_enough(parse_go_version(said)) is enough
