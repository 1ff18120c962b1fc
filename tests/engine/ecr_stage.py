"""Where the scenes with Amazon ECR are played: mounts of their own, the fake behind TLS, one native engine.

The engine, the function in it and we ourselves must trust the fake's authority: for this process and its
children it is among the machine's own. Everything that is printed is kept, to be looked through for secrets.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyarch.engine.native.image import python_sdk
from anyarch.engine.native.places import Places, cache_folder

from lab import base_images
from tests.fake_ecr import HOST, FakeEcr, Principal
from tests.fake_github_tokens import job_environment
from tests.otlp_collector import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ADDRESS: Final = "10.87.255.254"  # of the lab's range, and no engine's: those are handed out from the front
ROOT: Final = Path(__file__).parents[2]
BUNDLE: Final = Path("/etc/ssl/certs/ca-certificates.crt")
NAME: Final = "test-ecr"
ENGINE: Final = f"unix:///run/anyarch/{NAME}/engine.sock"
BASE_HOST: Final = HOST.replace("eu-west-1", "eu-central-1")  # another password opens it
BUILD_SECRET: Final = "canary-build-secret-2f7d"
ARGUMENT: Final = "canary-argument-that-is-public"
_SECONDS: Final = 240
_DOCKERFILE: Final = f"""FROM {BASE_HOST}/base:1
ARG SHOWN
RUN --mount=type=secret,id=token echo "$SHOWN: it is $(cat /run/secrets/token)"
"""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    command: str
    exit: int
    out: str
    err: str

    def good(self) -> str:
        """What it printed. A failure ends the scene."""
        if self.exit:
            sys.exit(f"{self.command}: {self.exit}\n{self.out}{self.err}")
        return self.out

    def document(self) -> dict[str, Any]:
        """What it printed with ``--format=json``: its result, or its error; and its exit status."""
        return {**json.loads(self.out), "exit": self.exit, "err": self.err}


@dataclass
class Stage:
    """The fake, the engine, an application, and what was said."""

    ecr: FakeEcr
    collector: Collector
    folder: Path
    environ: dict[str, str]
    said: list[str] = field(default_factory=list)

    def app(self, name: str = "api", argument: str = ARGUMENT) -> Path:
        """An application, whose image is the same for the same argument."""
        app = self.folder / "apps" / name
        app.mkdir(parents=True, exist_ok=True)
        (app / "Dockerfile").write_text(_DOCKERFILE)
        (app / "anyarch.toml").write_text(
            f'[build]\nargs = {{ SHOWN = "{argument}" }}\n[build.secrets]\ntoken = "env:BUILD_TOKEN"\n'
        )
        return app

    def release(
        self, app: Path, name: str, *tags: str, environ: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """``anyarch run`` of an application to one repository: its result or its error, and ``exit``."""
        words = ["run", str(app), "--platform=linux/amd64", f"--engine=linux/amd64={ENGINE}"]
        words += [f"--to={HOST}/{name}", *(f"--tag={tag}" for tag in tags), "--format=json"]
        return self.anyarch(*words, environ=environ).document()

    def anyarch(self, *words: str, environ: Mapping[str, str] | None = None) -> Done:
        """One of our commands, however it ends."""
        return self.command(sys.executable, "-m", "anyarch", *words, environ=environ)

    def command(self, *words: str, environ: Mapping[str, str] | None = None) -> Done:
        """Run something to its end."""
        told = self.environ if environ is None else environ
        done = subprocess.run(words, env=told, capture_output=True, text=True, check=False, timeout=_SECONDS)
        self.said += [done.stdout, done.stderr]
        return Done(" ".join(words), done.returncode, done.stdout, done.stderr)

    def in_a_job(self, role: str) -> dict[str, str]:
        """The environment of a job of GitHub Actions that may take a role, and has no keys."""
        kept = {name: value for name, value in self.environ.items() if not name.startswith("AWS_ACCESS_KEY")}
        return {**kept, **job_environment(role)}

    def as_somebody(self, *denied: str) -> dict[str, str]:
        """The environment of somebody who may do all but what is ``denied``."""
        key = "AKIA" + "".join(denied).replace(":", "").upper()
        self.ecr.principals[key] = Principal(key, denied=set(denied))
        return {**self.environ, "AWS_ACCESS_KEY_ID": key}


@contextmanager
def stage() -> Iterator[Stage]:
    """Everything that is needed, for as long as the scene lasts."""
    folder = Path(tempfile.mkdtemp(prefix="anyarch-ecr-"))
    try:
        with _address(), Collector() as collector, FakeEcr(folder, "shop/api", address=ADDRESS) as ecr:
            with _engine(ecr, folder) as bundle:
                environ = {
                    **os.environ,
                    **ecr.environment(),
                    **collector.environment,
                    "DOCKER_CONFIG": str(folder / "docker"),
                    "SSL_CERT_FILE": str(bundle),
                    "BUILD_TOKEN": BUILD_SECRET,
                }
                made = Stage(ecr, collector, folder, environ)
                try:
                    made.anyarch("engine", "up", "--name", NAME).good()
                    yield made
                finally:
                    made.anyarch("engine", "down", "--name", NAME).good()
            ecr.unhandled.clear()  # the engine asks Dagger's own registry, too
    finally:
        shutil.rmtree(folder)


@contextmanager
def _engine(ecr: FakeEcr, folder: Path) -> Iterator[Path]:
    """What an engine needs to come up here, and nothing left of it; yields the authorities to trust."""
    bundle = folder / "bundle.pem"
    bundle.write_bytes(BUNDLE.read_bytes() + ecr.authority.path.read_bytes())
    subprocess.run(["mount", "--bind", bundle, BUNDLE], check=True)
    before = set((cache_folder() / "engine").glob("sdk-*"))
    anyio.run(python_sdk)  # before the proxy counts: it needs packages
    _serve_base(ecr)
    try:
        yield bundle
    finally:
        shutil.rmtree(Places.of(NAME).state, ignore_errors=True)
        for made in set((cache_folder() / "engine").glob("sdk-*")) - before:
            shutil.rmtree(made) if made.is_dir() else made.unlink()


def _serve_base(ecr: FakeEcr) -> None:
    """A base image in a registry of its own, for the engine to pull by signed links."""
    layout = anyio.run(lambda: base_images.ensure(cache_folder(), on_line=lambda _: None))

    def blob(digest: str) -> bytes:
        return (layout / "blobs" / Path(*digest.split(":"))).read_bytes()

    repository = ecr.create("base", BASE_HOST)
    index = json.loads((layout / "index.json").read_text())["manifests"][0]
    images = json.loads(blob(index["digest"]))["manifests"]
    (image,) = (each for each in images if each["platform"]["architecture"] == "amd64")
    manifest = json.loads(blob(image["digest"]))
    repository.manifests[image["digest"]] = (image["mediaType"], blob(image["digest"]))
    repository.tags["1"] = image["digest"]
    for part in (manifest["config"], *manifest["layers"]):
        repository.blobs[part["digest"]] = blob(part["digest"])


@contextmanager
def _address() -> Iterator[None]:
    """An address of this machine that an engine's network reaches."""
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "address", "delete", f"{ADDRESS}/32", "dev", "lo"], check=True)
