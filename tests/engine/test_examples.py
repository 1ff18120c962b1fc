"""The examples' Dockerfiles are ordinary ones: another builder than ours makes an image of them, too."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lab.stack import Stack

ROOT: Final = Path(__file__).parents[2]
_BUILD_SECONDS: Final = 300
# Docker and newer versions of buildah give these by themselves.
_BUILDER: Final = ("--build-arg=BUILDPLATFORM=linux/amd64", "--build-arg=BUILDARCH=amd64")


def test_buildah_builds_an_example(one_engine: Stack, tmp_path: Path) -> None:
    mirror = tmp_path / "registries.conf"
    mirror.write_text(
        f'[[registry]]\nprefix = "docker.io"\nlocation = "{one_engine.registry}"\ninsecure = true\n'
    )
    storage = [f"--root={tmp_path}/root", f"--runroot={tmp_path}/run", "--storage-driver=vfs"]
    options = ["--isolation=chroot", *_BUILDER, "--platform=linux/amd64", f"--iidfile={tmp_path}/id"]
    done = subprocess.run(
        ["buildah", *storage, f"--registries-conf={mirror}", "bud", *options, ROOT / "examples" / "static"],
        check=False,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "id").read_text().startswith("sha256:")
