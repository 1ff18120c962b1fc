"""The Python SDK image: what lets ``"sdk": "python"`` run on the native engine with no network.

A Dagger engine finds its built-in Python SDK as an OCI image: the manifest's digest is in the environment
variable ``DAGGER_PYTHON_SDK_MANIFEST_DIGEST``, the blobs are files under ``content/blobs/sha256/`` of its
prefix. Ours holds ``/runtime``, a small module in Dang that the engine runs by itself, and ``/rootfs``,
the host distribution's own Python with the module's locked dependencies. The library is not part of it:
``dagger.json`` brings it along, so editing the library needs no new image.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.engine.native.locks import locked
from anyarch.engine.native.pack import manifest_digest, pack, run_step
from anyarch.engine.native.places import cache_folder
from anyarch.errors import EngineStartError, MissingToolError
from anyarch.oci.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anyarch.oci.digest import Digest

MANIFEST_DIGEST_VARIABLE: Final = "DAGGER_PYTHON_SDK_MANIFEST_DIGEST"

_FORMAT: Final = 1  # raise it when the code below builds another image from the same inputs
_PACKAGES: Final = ("base-files", "ca-certificates", "python3")
# What the module and the library import, by name in the lock; what these need in turn comes with them.
REQUIREMENTS: Final = ("anyio", "boto3", "dagger-io", "httpx2", "msgspec", "packaging", "semver")
_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_TOOLS: Final = ("mmdebstrap", "chroot", "tar", "zstd")
_DEADLINE_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class SdkImage:
    """A built image.

    ``content_dir`` is an OCI layout (``blobs/sha256/``, ``index.json``): bind it, or link it, to the
    engine's ``<prefix>/content``. It lies in the cache and is never changed once it exists.
    """

    manifest_digest: Digest
    content_dir: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What the engine's environment needs to find the image."""
        return {MANIFEST_DIGEST_VARIABLE: str(self.manifest_digest)}


async def python_sdk(
    cache: Path | None = None,
    *,
    deadline_seconds: float = _DEADLINE_SECONDS,
    on_event: Callable[[str], None] = lambda _: None,
) -> SdkImage:
    """The image for this host, from the cache or built now (about 15 s).

    Args:
        cache: Where to keep it; the user's cache folder of anyarch if None.
        deadline_seconds: For the build; waiting for another process that builds the same comes on top.
        on_event: Told when a build begins.

    Raises:
        EngineStartError: the image cannot be built here, or not in time; the message has the cause.
        MissingToolError: a program it is built with is not installed.
    """
    host = _Host.read()
    lock = _sdk_text("requirements.lock")
    runtime = {name: _sdk_text(name) for name in ("dagger.json", "main.dang")}
    key = _hash(_FORMAT, host, _PACKAGES, REQUIREMENTS, lock, runtime, _CERTIFICATES.read_bytes())[:16]
    content = (cache or cache_folder()) / "engine" / f"sdk-{key}"
    if not content.exists():
        _require_tools()
        async with locked(content.with_name(f"{content.name}.lock"), deadline_seconds=deadline_seconds):
            if not content.exists():
                on_event("making the image for modules in Python")
                await _build_within(deadline_seconds, _Build(host, lock, runtime, content))
    return SdkImage(manifest_digest(content), content)


async def _build_within(seconds: float, build: _Build) -> None:
    try:
        with anyio.fail_after(seconds):
            await build.run()
    except TimeoutError as error:
        raise EngineStartError(
            f"the Python SDK image was not ready within {seconds:.0f} s", path=str(build.content)
        ) from error


@dataclass(frozen=True, slots=True)
class _Host:
    """The distribution whose packages the image is made of."""

    name: str  # debian, ubuntu …
    codename: str
    machine: str  # as uname says it: x86_64

    @classmethod
    def read(cls) -> _Host:
        release = platform.freedesktop_os_release()
        codename = release.get("VERSION_CODENAME", "")
        if not codename or shutil.which("apt-get") is None:
            raise EngineStartError(
                f"the Python SDK image is made from Debian or Ubuntu packages; this is {release['NAME']}",
                hint="use Docker, or an engine elsewhere: --engine PLATFORM=URL",
            )
        return cls(release["ID"], codename, platform.machine())


@dataclass(frozen=True, slots=True)
class _Build:
    host: _Host
    lock: str
    runtime: Mapping[str, str]
    content: Path

    async def run(self) -> None:
        """Make the layout beside its final place and rename it: it is there whole or not at all."""
        work = self.content.with_name(f"{self.content.name}.{os.getpid()}.tmp")
        remove_leftovers(self.content)
        (work / "tree" / "runtime").mkdir(parents=True)
        try:
            await self._root_file_system(work)
            await self._dependencies(work)
            for name, text in self.runtime.items():
                (work / "tree" / "runtime" / name).write_text(text)
            layout = work / "layout"
            machine = Platform.parse(f"linux/{self.host.machine}")
            await pack(work / "tree", layout, platform=machine)
            layout.rename(self.content)
        except OSError as error:
            raise EngineStartError(f"the Python SDK image cannot be written: {error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    async def _root_file_system(self, work: Path) -> None:
        """Unpack Python and what it needs; nothing is configured, so no maintainer script runs."""
        sources = work / "sources.list"
        sources.write_text(text := await _apt_sources(self.host))
        # Releases before the merged /usr unpack into /lib; the links must be there first.
        links = 'for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d"; done'
        trim = 'cd "$1" && rm -rf usr/share/doc usr/share/man usr/share/locale var/cache var/lib/apt'
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", f"--setup-hook={links}"]
        command += [f"--include={','.join(_PACKAGES)}", '--aptopt=Acquire::Languages "none"']
        command += [f"--customize-hook={trim}", self.host.codename, str(work / "tree/rootfs")]
        command += [str(sources)] if text else []
        await run_step(command, what="unpacking Python from the distribution's packages")
        # The module trusts whom its host trusts, a company's own authority included.
        bundle = work / "tree/rootfs" / _CERTIFICATES.relative_to("/")
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_bytes(_CERTIFICATES.read_bytes())

    async def _dependencies(self, work: Path) -> None:
        """Install what the lock pins, hashes checked, and compile everything once for all calls."""
        root = work / "tree/rootfs"
        (work / "requirements.txt").write_text(pinned(self.lock, REQUIREMENTS))
        (work / "constraints.txt").write_text(self.lock)
        version = await _python_version(root)
        command = [_uv(), "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:"]
        command += [
            "--system-certs",
            "--link-mode=copy",
            f"--python-version={version}",
            f"--target={root / 'opt/module'}",
        ]
        command += ["-r", str(work / "requirements.txt"), "-c", str(work / "constraints.txt")]
        await run_step(command, what="installing the module's locked dependencies")
        # unchecked: neither unpacking a layer nor a mount's odd times may make Python compile again.
        compile_all = ["python3", "-m", "compileall", "-q", "-j0", "--invalidation-mode=unchecked-hash"]
        # -o1: the byte code that `python3 -O` reads, as sdk/main.dang starts it.
        command = ["chroot", str(root), *compile_all, "-o1", f"/usr/lib/python{version}", "/opt/module"]
        await run_step(command, what="compiling Python's byte code")


def _require_tools() -> None:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join("coreutils" if tool == "chroot" else tool for tool in missing)
        raise MissingToolError(
            f"not installed: {', '.join(missing)}", hint=f"apt-get install {packages}", tools=missing
        )


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if found is None:
        raise MissingToolError("not installed: uv", hint="pip install uv", tools=["uv"])
    return found


def _sdk_text(name: str) -> str:
    return resources.files(__package__).joinpath("sdk", name).read_text()


def pinned(lock: str, names: Sequence[str]) -> str:
    """The lock's entries of these requirements, with their hashes.

    Raises:
        EngineStartError: the lock lacks one.
    """
    entries = {entry.partition("==")[0]: entry for entry in re.split(r"(?m)^(?=[a-z0-9])", lock)}
    if lost := [name for name in names if name not in entries]:
        raise EngineStartError(f"not in requirements.lock: {', '.join(lost)}")
    return "".join(entries[name] for name in names)


async def _apt_sources(host: _Host) -> str:
    """The host's own package sources: they are reachable from here and trusted already."""
    fields = "deb [signed-by=$(SIGNED_BY)] $(REPO_URI) $(RELEASE) $(COMPONENT)|$(ARCHITECTURE)"
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    listed = await run_step(command, what="asking apt for the package sources")
    return parse_sources(listed, codename=host.codename)


def parse_sources(listed: str, *, codename: str) -> str:
    """The lines of a sources.list for the distribution itself, out of what ``apt-get indextargets`` says.

    Empty where apt names none, which lets mmdebstrap use the distribution's default.
    """
    suites = {codename + suffix for suffix in ("", "-updates", "-security")}
    lines = []
    for line in listed.splitlines():
        source = line.partition("|")[0]
        words = source.split()
        if words[-1] == "main" and words[-2].partition("/")[0] in suites:
            # apt leaves the name of a field in place where there is no value.
            lines.append(re.sub(r"\[signed-by=(\$\(SIGNED_BY\))?\] ", "", source))
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


async def _python_version(root: Path) -> str:
    """The unpacked Python's ``major.minor``."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = ["chroot", str(root), "python3", "-c", program]
    return (await run_step(command, what="starting the unpacked Python")).strip()


def remove_leftovers(content: Path) -> None:
    """What a killed build left; the lock is held, so nobody else is building this image."""
    for leftover in content.parent.glob(f"{content.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _hash(*inputs: object) -> str:
    return hashlib.sha256(repr(inputs).encode()).hexdigest()
