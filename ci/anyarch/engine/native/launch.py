"""Start one program inside namespaces of its own; run as a file, with nothing but the standard library.

The parent writes a plan (one line of JSON) to standard input. This program joins the engine's control
groups, leaves for new mount, network, process and control-group namespaces, and forks: the child is process 1
in there, prepares what the program will see, and says ``ready``; the parent connects the network from outside
and says ``go``; then the child becomes the program. Nothing stays in between, and when process 1 ends,
however it ends, the kernel ends every process and unmounts everything in there.

Each answer is one line of JSON on standard output: ``{"pid": …}``, ``{"ready": …}``, ``{"started": …}``, or
``{"error": "…"}``, after which there is no more.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MNT_DETACH: Final = 0x2
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
CGROUPS: Final = Path("/sys/fs/cgroup")
_NETWORK_SECONDS: Final = 10
_EMPTY_CGROUP_SECONDS: Final = 5.0

_libc = ctypes.CDLL(None, use_errno=True)

type_plan = dict[str, Any]


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library that returns something else than 0 when it fails."""
    words = [word.encode() if isinstance(word, str) else word for word in arguments]
    if getattr(_libc, name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str | None = None) -> None:
    """Attach a file system, or a part of one.

    Raises:
        OSError: with the call's arguments in its text.
    """
    call("mount", source, target, kind, ctypes.c_ulong(flags), options)


def say(**answer: object) -> None:
    """Answer the parent."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the plan, leave for the namespaces, fork."""
    if sys.argv[1:2] == ["forget"]:
        forget_emulators(sys.argv[2:])
        return
    plan = json.loads(sys.stdin.readline())
    try:
        for group in plan["cgroups"]:
            (Path(group["path"]) / "cgroup.procs").write_text(str(os.getpid()))
        call("unshare", CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP)
        told, tell = os.pipe()
        child = os.fork()
        if child:
            say(pid=child)
            os._exit(0)
        os.close(tell)
        os.read(told, 1)  # returns when the parent has ended: on a busy machine our answer would overtake its
        os.close(told)
        os.setsid()
        become(plan)
    except (OSError, subprocess.SubprocessError) as error:
        say(error=explain(error))
        os._exit(1)


def explain(error: Exception) -> str:
    """The error as one line, a failed program's own words included."""
    said = getattr(error, "stderr", None)
    return f"{error}: {said.decode(errors='replace').strip()}" if said else str(error)


def become(plan: type_plan) -> NoReturn:
    """Prepare the namespaces and turn into the program, as process 1."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    hide_files(plan)
    registered = register_emulators(plan["binfmt"])
    mount_cgroups(plan["cgroups"])
    say(ready=True, registered=registered)
    if sys.stdin.readline().strip() != "go":
        os._exit(1)  # the parent is gone: end, and everything here with it
    for command in plan["network"]:
        subprocess.run(command, check=True, capture_output=True, timeout=_NETWORK_SECONDS)
    delegate_cgroups(plan["cgroups"])
    log = os.open(plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    say(started=True)
    os.chdir("/")
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execve(plan["command"][0], plan["command"], plan["environment"])  # noqa: S606  that is its purpose


def hide_files(plan: type_plan) -> None:
    """Give the program writable copies of folders that it changes, a /run of its own, and our files."""
    kept = [(path, os.open(path, os.O_PATH | os.O_DIRECTORY)) for path in plan["keep"]]
    scratch = plan["scratch"]
    mount("anyarch", scratch, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700")
    hidden = [*plan["overlays"], "/run"]
    for number, folder in enumerate(plan["overlays"]):
        upper, work = f"{scratch}/{number}/upper", f"{scratch}/{number}/work"
        Path(upper).mkdir(parents=True)
        Path(work).mkdir()
        Path(upper).chmod(Path(folder).stat().st_mode & 0o7777)
        mount("anyarch", folder, "overlay", 0, f"lowerdir={folder},upperdir={upper},workdir={work}")
    mount("anyarch", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for path, descriptor in kept:
        if any(Path(path).is_relative_to(folder) for folder in hidden):
            Path(path).mkdir(parents=True, exist_ok=True)
            mount(f"/proc/self/fd/{descriptor}", path, "", MS_BIND)
        os.close(descriptor)
    for source, target in plan["binds"]:
        mount(source, target, "", MS_BIND)
    for name, text in plan["files"].items():
        Path(name).unlink(missing_ok=True)  # it may be a link to a file that is not ours to change
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    for name, target in plan["links"].items():
        if not Path(name).exists():
            Path(name).symlink_to(target)


def register_emulators(wanted: dict[str, str]) -> list[str]:
    """Tell the kernel which program runs other machines' programs; return the entries that were missing.

    The mount is in here only. Since Linux 6.7 the entries end with the last mount; before, they stay
    until ``anyarch engine down`` removes them.
    """
    if not wanted:
        return []
    mount_binfmt()
    missing = []
    entries = [path.read_text() for path in BINFMT.iterdir() if path.name not in {"register", "status"}]
    for name, line in wanted.items():
        if any(serves(entry, line) for entry in entries):
            continue
        (BINFMT / "register").write_bytes(line.encode("latin-1"))
        missing.append(name)
    return missing


def serves(entry: str, line: str) -> bool:
    """Whether an entry, as the kernel shows it, already does what ``line`` would register."""
    words = dict(part.partition(" ")[::2] for part in entry.replace("flags:", "flags").splitlines())
    magic = bytes.fromhex(words.get("magic", ""))
    wanted = bytes.fromhex(line.split(":")[4].replace("\\x", ""))
    same_machine = magic[4:6] == wanted[4:6] and magic[18:20] == wanted[18:20]
    return "enabled" in words and "F" in words.get("flags", "") and same_machine


def forget_emulators(names: list[str]) -> None:
    """Remove entries, seen through a mount of our own; the kernel forgets them all with its last mount."""
    call("unshare", CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount_binfmt()
    for name in names:
        if (BINFMT / name).exists():
            (BINFMT / name).write_text("-1")


def mount_binfmt() -> None:
    """Show the kernel's list of emulators here, unless it is shown already."""
    try:
        mount("binfmt_misc", str(BINFMT), "binfmt_misc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise


def mount_cgroups(groups: list[dict[str, str]]) -> None:
    """Show only the engine's own control groups, as every hierarchy's root.

    A control-group namespace alone is not enough: what is mounted still shows the host's whole tree.
    """
    links = {entry.name: entry.readlink() for entry in CGROUPS.iterdir() if entry.is_symlink()}
    call("umount2", str(CGROUPS), MNT_DETACH)  # the same hierarchy cannot be mounted over itself
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    if not any(group["at"] == str(CGROUPS) for group in groups):
        mount("anyarch", str(CGROUPS), "tmpfs", flags, "mode=755")
        for name, target in links.items():
            (CGROUPS / name).symlink_to(target)
    for group in groups:
        Path(group["at"]).mkdir(exist_ok=True)
        mount(group["type"], group["at"], group["type"], flags, group["options"] or None)


def delegate_cgroups(groups: list[dict[str, str]]) -> None:
    """Let runc make groups with controllers below ours, which in version 2 must hold no process itself."""
    for group in groups:
        controllers = Path(group["at"]) / "cgroup.controllers"
        if group["type"] != "cgroup2" or not controllers.exists():
            continue
        own = Path(group["at"]) / "init"
        own.mkdir(exist_ok=True)
        (own / "cgroup.procs").write_text("0")
        words = " ".join(f"+{word}" for word in controllers.read_text().split())
        deadline = time.monotonic() + _EMPTY_CGROUP_SECONDS
        while words:
            try:
                (Path(group["at"]) / "cgroup.subtree_control").write_text(words)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)  # the process that forked us has not ended yet
            else:
                break


if __name__ == "__main__":
    main()
