"""Emulated platforms: the kernel's ``binfmt_misc`` entries that hand other machines' programs to QEMU.

Debian's QEMU, registered before the engine starts, which looks once. The flag ``F`` opens the emulator at
registration, so containers need no copy of it. An entry that somebody else made is used and never removed.
"""

from __future__ import annotations

import platform as host
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from anyarch.engine.native.tools import attempt, find
from anyarch.errors import UsageError
from anyarch.oci.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX: Final = "anyarch-qemu-"
_LAUNCH: Final = Path(__file__).with_name("launch.py")
_LITTLE: Final = 1
_BIG: Final = 2


class _Machine(NamedTuple):
    """How the kernel tells a machine's programs by their first bytes: https://refspecs.linuxfoundation.org/elf."""

    qemu: str
    elf_class: int  # 1: 32 bits, 2: 64 bits
    order: int
    number: int


_MACHINES: Final = {
    "386": _Machine("i386", 1, _LITTLE, 0x03),
    "amd64": _Machine("x86_64", 2, _LITTLE, 0x3E),
    "arm": _Machine("arm", 1, _LITTLE, 0x28),
    "arm64": _Machine("aarch64", 2, _LITTLE, 0xB7),
    "loong64": _Machine("loongarch64", 2, _LITTLE, 0x102),
    "ppc64le": _Machine("ppc64le", 2, _LITTLE, 0x15),
    "riscv64": _Machine("riscv64", 2, _LITTLE, 0xF3),
    "s390x": _Machine("s390x", 2, _BIG, 0x16),
}


def host_platform() -> Platform:
    """What this machine is."""
    return Platform.parse(f"linux/{host.machine()}")


def default_emulation() -> tuple[Platform, ...]:
    """The other one of the two architectures that nearly every release has."""
    other = {"amd64": "arm64", "arm64": "amd64"}.get(host_platform().architecture)
    return (Platform("linux", other),) if other else ()


def to_emulate(platforms: Iterable[Platform], machine: Platform) -> tuple[Platform, ...]:
    """Those of the platforms that ``machine`` cannot run by itself, one per architecture, in order.

    Raises:
        UsageError: one that QEMU does not do for us.
    """
    chosen: dict[str, Platform] = {}
    for platform in platforms:
        if machine.runs(platform):
            continue
        if platform.os != "linux" or platform.architecture not in _MACHINES:
            known = ", ".join(f"linux/{name}" for name in sorted(_MACHINES))
            raise UsageError(f"{platform} cannot be emulated", hint=f"can be: {known}")
        chosen.setdefault(platform.architecture, platform)
    return tuple(sorted(chosen.values(), key=str))


def emulator(platform: Platform) -> str:
    """The name of QEMU's program for a platform."""
    return f"qemu-{_MACHINES[platform.architecture].qemu}-static"


def entries(platforms: Iterable[Platform]) -> dict[str, str]:
    """The kernel's entries: name → what to register (characters stand for bytes)."""
    lines = {}
    for platform in platforms:
        machine = _MACHINES[platform.architecture]
        name = _PREFIX + machine.qemu
        program = find(emulator(platform)) or emulator(platform)
        lines[name] = f":{name}:M:0:{_escaped(_magic(machine))}:{_escaped(_mask(machine))}:{program}:F"
    return lines


def _magic(machine: _Machine) -> bytes:
    """The first 20 bytes of an executable ELF file."""
    order: Literal["little", "big"] = "little" if machine.order == _LITTLE else "big"
    identification = b"\x7fELF" + bytes((machine.elf_class, machine.order, 1)) + bytes(9)
    executable = 2
    return identification + executable.to_bytes(2, order) + machine.number.to_bytes(2, order)


def _mask(machine: _Machine) -> bytes:
    """Which bits count: any ABI (byte 7), and a position-independent program (type 3) as well as type 2."""
    kind = b"\xfe\xff" if machine.order == _LITTLE else b"\xff\xfe"
    return b"\xff" * 7 + b"\x00" + b"\xff" * 8 + kind + b"\xff\xff"


def _escaped(raw: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in raw)


async def forget(names: Iterable[str]) -> None:
    """Remove entries of ours from the kernel; those that are not there are no matter."""
    ours = [name for name in names if name.startswith(_PREFIX)]
    if ours:
        await attempt([sys.executable, "-I", str(_LAUNCH), "forget", *ours])
