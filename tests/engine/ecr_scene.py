"""A whole ``anyarch run`` to Amazon ECR on a native engine, played in mounts of its own.

The engine, the function in it and we ourselves must trust the fake's authority: for this process and its
children it is among the machine's own. Prints what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyarch.engine.native.image import python_sdk
from anyarch.engine.native.places import cache_folder

from tests.fake_ecr import HOST, FakeEcr

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS: Final = "10.87.255.254"  # of the lab's range, and no engine's: those are handed out from the front
BUNDLE: Final = Path("/etc/ssl/certs/ca-certificates.crt")
NAME: Final = "test-ecr"
_ENGINE: Final = f"unix:///run/anyarch/{NAME}/engine.sock"
_SECONDS: Final = 240


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="anyarch-ecr-"))
    try:
        with _address(), FakeEcr(folder, "shop/api", address=ADDRESS) as ecr:
            told = _play(ecr, folder)
            ecr.unhandled.clear()  # the engine asks Dagger's own registry, too
        json.dump(told, sys.stdout)
    finally:
        shutil.rmtree(folder)


def _play(ecr: FakeEcr, folder: Path) -> dict[str, object]:
    bundle = folder / "bundle.pem"
    bundle.write_bytes(BUNDLE.read_bytes() + ecr.authority.path.read_bytes())
    subprocess.run(["mount", "--bind", bundle, BUNDLE], check=True)
    before = set((cache_folder() / "engine").glob("sdk-*"))
    anyio.run(python_sdk)  # before the proxy counts: it needs packages
    environ = {
        **os.environ,
        **ecr.environment(),
        "DOCKER_CONFIG": str(folder / "docker"),
        "SSL_CERT_FILE": str(bundle),
    }
    try:
        _anyarch(environ, "engine", "up", "--name", NAME)
        return _run_twice(ecr, folder, environ)
    finally:
        _anyarch(environ, "engine", "down", "--name", NAME)
        for made in set((cache_folder() / "engine").glob("sdk-*")) - before:
            shutil.rmtree(made) if made.is_dir() else made.unlink()


def _run_twice(ecr: FakeEcr, folder: Path, environ: dict[str, str]) -> dict[str, object]:
    """A release, and the same again after its password has expired."""
    app = folder / "app"
    app.mkdir()
    (app / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    words = ["run", str(app), "--platform=linux/amd64", f"--engine=linux/amd64={_ENGINE}", "--format=json"]
    words += [f"--to={HOST}/shop/api", "--tag=1.0", "--tag=latest"]
    first = json.loads(_anyarch(environ, *words))
    ecr.expire_tokens()
    again = json.loads(_anyarch(environ, *words))
    logs = "".join(path.read_text() for path in (app / ".anyarch").rglob("*") if path.is_file())
    agents = {seen.headers.get("User-Agent", "") for seen in ecr.writes if seen.path.startswith("/v2/")}
    return {
        "first": first,
        "again": again,
        "tags": ecr.registries[HOST]["shop/api"].tags,
        "leaked": [password for password in ecr.issued if password in logs],
        "writers": sorted(agent.partition("/")[0] for agent in agents),
    }


def _anyarch(environ: dict[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "anyarch", *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def _address() -> Iterator[None]:
    """An address of this machine that an engine's network reaches."""
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "address", "delete", f"{ADDRESS}/32", "dev", "lo"], check=True)


if __name__ == "__main__":
    main()
