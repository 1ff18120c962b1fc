"""Where this machine gets Debian packages from, so that images made here and builds in them do the same."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

SUITE: Final = "bookworm"
_TIMEOUT_SECONDS: Final = 30
# Settings that decide whether the archive can be reached at all. A proxy with a password stays out: it
# would end up in an image.
_KEPT_SETTINGS: Final = (
    "Acquire::http::Proxy",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::Retries",
)


def sources() -> list[str]:
    """The line of sources.list for Debian's main suite, with this machine's own mirror.

    Empty where the machine is no Debian, or reaches its archive in a way a container may not (https needs
    certificates that a slim image lacks): mmdebstrap then knows the public archive by itself. The updates
    and security suites stay out: mirrors fill them at their own pace, each architecture for itself, and
    one that lags fails every build of that architecture.
    """
    release_here = codename()
    for line in _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"):
        address, release, component = (*line.split(), "", "", "")[:3]
        usable = address.startswith("http://") and "@" not in address and "debian" in address
        if usable and (release, component) == (release_here, "main"):
            return [f"deb {address} {SUITE} main"]
    return []


def settings() -> list[str]:
    """This machine's apt settings that reaching the archive depends on, as lines of apt.conf."""
    kept = []
    for line in _run("apt-config", "dump", "--no-empty", "--format", "%F=%v%n", "Acquire"):
        name, _, value = line.partition("=")
        if name in _KEPT_SETTINGS and "@" not in value and '"' not in value:
            kept.append(f'{name} "{value}"')
    return sorted(kept)


def codename() -> str:
    """The release of the distribution that runs here, such as ``bookworm``."""
    lines = Path("/etc/os-release").read_text("utf-8").splitlines()
    fields = dict(line.partition("=")[::2] for line in lines)
    return fields.get("VERSION_CODENAME", "").strip('"')


def _run(*command: str) -> list[str]:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    return done.stdout.splitlines()
