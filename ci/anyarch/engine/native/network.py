"""An engine's network: a pair of linked interfaces, addresses, masquerading, forwarding; and undoing it all.

A **lease** is a number ``n``: the network is ``10.87.n.0/30``, the host has ``.1``, the namespace ``.2``. The
namespace is the one of a process, so the pair vanishes when that process ends. What stays after a crash (a
table of rules, the lease, forwarding) is removed by the next ``disconnect`` of the same owner.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.engine.native.locks import locked
from anyarch.engine.native.places import RUNTIME
from anyarch.engine.native.process import boot_id
from anyarch.engine.native.tools import attempt, find, run
from anyarch.errors import EngineStartError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEASES: Final = RUNTIME / "networks"
_FORWARD: Final = Path("/proc/sys/net/ipv4/ip_forward")
_BEFORE: Final = "forwarding.before"
_LOCK_SECONDS: Final = 30.0
_NUMBERS: Final = range(256)


@dataclass(frozen=True, slots=True)
class Network:
    """One leased network."""

    number: int
    rules: tuple[tuple[str, ...], ...] = field(default=())  # iptables commands to undo, without -I or -D

    @property
    def link(self) -> str:
        """The host's interface."""
        return f"anyarch-{self.number}"

    @property
    def subnet(self) -> str:
        """Both addresses."""
        return f"10.87.{self.number}.0/30"

    @property
    def host_address(self) -> str:
        """The host's address: the namespace's gateway."""
        return f"10.87.{self.number}.1"

    @property
    def address(self) -> str:
        """The namespace's address."""
        return f"10.87.{self.number}.2"

    @property
    def table(self) -> str:
        """The nftables table that holds all our rules of this network."""
        return f"anyarch_{self.number}"

    def inside(self) -> list[list[str]]:
        """The commands that finish the network inside the namespace."""
        ip = find("ip") or "ip"
        return [
            [ip, "link", "set", "lo", "up"],
            [ip, "address", "add", f"{self.address}/30", "dev", "eth0"],
            [ip, "link", "set", "eth0", "up"],
            [ip, "route", "add", "default", "via", self.host_address],
        ]

    def ruleset(self) -> str:
        """The rules as ``nft -f`` reads them: one table, so that deleting it leaves nothing."""
        return (
            f"table ip {self.table} {{\n"
            f"  chain postrouting {{\n"
            f"    type nat hook postrouting priority srcnat; policy accept;\n"
            f'    ip saddr {self.subnet} oifname != "{self.link}" masquerade\n'
            f"  }}\n"
            f"}}\n"
        )


async def lease(owner: str) -> Network:
    """The owner's network number, a free one if it has none yet.

    Raises:
        EngineStartError: all are taken.
    """
    async with locked(_LEASES / "lock", deadline_seconds=_LOCK_SECONDS):
        _forget_other_boots()
        leases = _leases()
        for number, (holder, network) in leases.items():
            if holder == owner:
                return network if number == network.number else Network(number)
        taken = await _addresses()
        for number in _NUMBERS:
            if number not in leases and f" 10.87.{number}." not in taken:
                _write(owner, Network(number))
                return Network(number)
    raise EngineStartError("all 256 networks 10.87.0.0/30 … 10.87.255.0/30 are in use")


async def connect(owner: str, network: Network, pid: int) -> None:
    """Link the network namespace of process ``pid`` to the host and let it out.

    Raises:
        EngineStartError: a command failed; its words are in the message.
    """
    mtu = str(_uplink_mtu())
    pair = ["link", "add", network.link, "mtu", mtu, "type", "veth", "peer", "name", "eth0"]
    await run(["ip", *pair, "mtu", mtu, "netns", str(pid)])
    await run(["ip", "address", "add", f"{network.host_address}/30", "dev", network.link])
    await run(["ip", "link", "set", network.link, "up"])
    await run(["nft", "-f", "-"], stdin=network.ruleset())
    async with locked(_LEASES / "lock", deadline_seconds=_LOCK_SECONDS):
        rules = await _pass_strict_firewalls(network)
        _write(owner, Network(network.number, rules))
        if _FORWARD.read_text().strip() == "0":
            (_LEASES / _BEFORE).write_text("0")
            _FORWARD.write_text("1")


async def disconnect(owner: str) -> None:
    """Undo whatever of the owner's network is left; the last one puts forwarding back."""
    if not _LEASES.exists():
        return
    async with locked(_LEASES / "lock", deadline_seconds=_LOCK_SECONDS):
        _forget_other_boots()
        for number, (holder, network) in _leases().items():
            if holder != owner:
                continue
            await attempt(["ip", "link", "delete", network.link])  # usually gone with its namespace
            await attempt(["nft", "delete", "table", "ip", network.table])
            for command, *rule in network.rules:
                await attempt([command, "-w", "-D", *rule])
            (_LEASES / f"{number}.json").unlink(missing_ok=True)
        if not _leases():
            _restore_forwarding()
            (_LEASES / "boot").unlink(missing_ok=True)
            (_LEASES / "lock").unlink(missing_ok=True)
            _LEASES.rmdir()


async def _pass_strict_firewalls(network: Network) -> tuple[tuple[str, ...], ...]:
    """Where iptables drops what it does not know (Docker and ufw see to that), let our packets pass."""
    rules = []
    comment = ("-m", "comment", "--comment", network.table, "-j", "ACCEPT")
    for command in await _dropping_iptables():
        for direction in ("-i", "-o"):
            rule = ("FORWARD", direction, network.link, *comment)
            await run([command, "-w", "-I", *rule])
            rules.append((command, *rule))
    return tuple(rules)


async def _dropping_iptables() -> Sequence[str]:
    """The iptables variants with a FORWARD chain that drops; asking one that has no table would make it."""
    variants = []
    status, chain = await attempt(["nft", "list", "chain", "ip", "filter", "FORWARD"])
    if status == 0 and "policy drop" in chain:
        variants.append("iptables-nft")
    if _legacy_filters():
        status, rules = await attempt(["iptables-legacy", "-w", "-S", "FORWARD"])
        if status == 0 and "-P FORWARD DROP" in rules:
            variants.append("iptables-legacy")
    return variants


def _legacy_filters() -> bool:
    names = Path("/proc/net/ip_tables_names")
    return names.exists() and "filter" in names.read_text().split()


async def _addresses() -> str:
    return await run(["ip", "-4", "-oneline", "address", "show"])


def _uplink_mtu() -> int:
    """The largest packet (bytes) that leaves by the default route; a larger one inside would get lost."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        words = line.split()
        if words[1] == "00000000":
            return int(Path(f"/sys/class/net/{words[0]}/mtu").read_text())
    return 1500


def _leases() -> dict[int, tuple[str, Network]]:
    found = {}
    for file in sorted(_LEASES.glob("*.json")):
        try:
            written = json.loads(file.read_text())
            rules = tuple(tuple(map(str, rule)) for rule in written["rules"])
            found[int(file.stem)] = (str(written["owner"]), Network(int(file.stem), rules))
        except (ValueError, KeyError, TypeError):
            file.unlink()  # cut short by a crash: nothing was set up with it
    return found


def _write(owner: str, network: Network) -> None:
    written = {"owner": owner, "rules": network.rules}
    (_LEASES / f"{network.number}.json").write_text(json.dumps(written))
    (_LEASES / "boot").write_text(boot_id())


def _forget_other_boots() -> None:
    """What was leased before the machine's last start exists no more."""
    boot = _LEASES / "boot"
    if boot.exists() and boot.read_text() != boot_id():
        for file in [*_LEASES.glob("*.json"), _LEASES / _BEFORE, boot]:
            file.unlink(missing_ok=True)


def _restore_forwarding() -> None:
    before = _LEASES / _BEFORE
    if before.exists():
        _FORWARD.write_text(before.read_text())
        before.unlink()
