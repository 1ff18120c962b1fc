"""A whole ``anyarch run`` to Amazon ECR on a native engine, played in mounts of its own.

The engine, the function in it and we ourselves must trust the fake's authority: for this process and its
children it is among the machine's own. Everything that can tell of a secret is kept and looked through:
telemetry, the engine's log, what is printed and what stays on disk. Prints what came of it as JSON.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyarch.engine.native.build import installation
from anyarch.engine.native.image import python_sdk
from anyarch.engine.native.places import Places, cache_folder

from lab import base_images
from tests.fake_ecr import HOST, SECRET_KEY, SESSION_TOKEN, SIGNATURE, FakeEcr
from tests.fake_github_tokens import BEARER, job_environment
from tests.fake_github_tokens import SIGNATURE as SIGNATURE_OF_TOKEN
from tests.otlp_collector import Collector, unfolded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fake_repositories import Reply, Seen

ADDRESS: Final = "10.87.255.254"  # of the lab's range, and no engine's: those are handed out from the front
BUNDLE: Final = Path("/etc/ssl/certs/ca-certificates.crt")
NAME: Final = "test-ecr"
BASE_HOST: Final = HOST.replace("eu-west-1", "eu-central-1")  # another password opens it
BUILD_ROLE: Final = "arn:aws:iam::123456789012:role/shop-api-build"
MERGE_ROLE: Final = "arn:aws:iam::123456789012:role/shop-api-release"
ROOT: Final = Path(__file__).parents[2]
BUILD_SECRET: Final = "canary-build-secret-2f7d"
ARGUMENT: Final = "canary-argument-that-is-public"
_ENGINE: Final = f"unix:///run/anyarch/{NAME}/engine.sock"
# In this order: none of them lets anything in that the next one would not have to send.
DENIED: Final = ("BatchCheckLayerAvailability", "InitiateLayerUpload", "CompleteLayerUpload", "PutImage")
_SECONDS: Final = 240
_LINKS: Final = ("X-Amz-Signature=canary", SIGNATURE, "X-Amz-Security-Token=canary")
_DOCKERFILE: Final = f"""FROM {BASE_HOST}/base:1
ARG SHOWN
RUN --mount=type=secret,id=token echo "$SHOWN: it is $(cat /run/secrets/token)"
"""


class Expiring(FakeEcr):
    """Every password expires when an engine begins its next push, if that is wanted."""

    wanted = False

    def reply(self, seen: Seen) -> Reply:
        pushing = seen.method == "HEAD" and seen.path.startswith("/v2/shop/api/")
        if self.wanted and pushing and seen.headers.get("User-Agent", "").startswith("containerd"):
            self.wanted = False
            self.expire_tokens()
        return super().reply(seen)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="anyarch-ecr-"))
    try:
        with _address(), Collector() as collector, Expiring(folder, "shop/api", address=ADDRESS) as ecr:
            told = _play(ecr, collector, folder)
            ecr.unhandled.clear()  # the engine asks Dagger's own registry, too
        json.dump(told, sys.stdout)
    finally:
        shutil.rmtree(folder)


def _play(ecr: Expiring, collector: Collector, folder: Path) -> dict[str, object]:
    bundle = folder / "bundle.pem"
    bundle.write_bytes(BUNDLE.read_bytes() + ecr.authority.path.read_bytes())
    subprocess.run(["mount", "--bind", bundle, BUNDLE], check=True)
    before = set((cache_folder() / "engine").glob("sdk-*"))
    anyio.run(python_sdk)  # before the proxy counts: it needs packages
    _serve_base(ecr)
    environ = {
        **os.environ,
        **ecr.environment(),
        **collector.environment,
        "DOCKER_CONFIG": str(folder / "docker"),
        "SSL_CERT_FILE": str(bundle),
        "BUILD_TOKEN": BUILD_SECRET,
    }
    try:
        _anyarch(environ, "engine", "up", "--name", NAME)
        return _run_twice(ecr, collector, folder, environ)
    finally:
        _anyarch(environ, "engine", "down", "--name", NAME)
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


def _run_twice(
    ecr: Expiring, collector: Collector, folder: Path, environ: dict[str, str]
) -> dict[str, object]:
    """A release, the same again after its password has expired, and a look at what it is like to run it."""
    app = folder / "app"
    app.mkdir()
    (app / "Dockerfile").write_text(_DOCKERFILE)
    (app / "anyarch.toml").write_text(
        f'[build]\nargs = {{ SHOWN = "{ARGUMENT}" }}\n[build.secrets]\ntoken = "env:BUILD_TOKEN"\n'
    )
    words = ["run", str(app), "--platform=linux/amd64", f"--engine=linux/amd64={_ENGINE}", "--format=json"]
    words += [f"--to={HOST}/shop/api", "--tag=1.0", "--tag=latest"]
    said: list[str] = []
    first = json.loads(_anyarch(environ, *words, said=said))
    ecr.expire_tokens()
    again = json.loads(_anyarch(environ, *words, said=said))
    ecr.wanted = True
    (app / "Dockerfile").write_text(f"{_DOCKERFILE}RUN echo more >/more\n")
    late = json.loads(_anyarch(environ, *words[:-2], "--tag=late", said=said))
    (app / "Dockerfile").write_text(f"{_DOCKERFILE}RUN echo denied >/denied\n")
    denied = {action: _denied(ecr, action, environ, words, said) for action in DENIED}
    trial = ["verify", f"{HOST}/shop/api:1.0", "--run", "echo it runs", f"--engine=linux/amd64={_ENGINE}"]
    ran = _anyarch(environ, *trial, said=said)
    # For a dagger call by hand, whose client shows the engine what docker login left.
    _anyarch(environ, "login", BASE_HOST, said=said)
    roles = _by_roles(ecr, folder, environ, said)
    places = [app / ".anyarch", cache_folder() / "journal"]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    kept = "\n".join([*said, *(path.read_text() for path in files), Places.of(NAME).log.read_text()])
    known = set(unfolded(kept.encode(), 1))
    secrets = [*ecr.issued, BEARER, SIGNATURE_OF_TOKEN, SECRET_KEY, SESSION_TOKEN, BUILD_SECRET, *_LINKS]
    agents = {seen.headers.get("User-Agent", "") for seen in ecr.writes if seen.path.startswith("/v2/")}
    return {
        "first": first,
        "again": again,
        "late": late["digest"],
        "expired": not ecr.wanted,
        "denied": denied,
        "manifests": sorted(ecr.registries[HOST]["shop/api"].manifests),
        "tags": ecr.registries[HOST]["shop/api"].tags,
        "leaked": [each for each in secrets if any(each.encode() in text for text in known)],
        "leaked_in_telemetry": collector.holding(secrets),
        "seen_in_telemetry": collector.holding([ARGUMENT, "env://ANYARCH", "Container.publish", "it runs"]),
        "telemetry": {kind: len(bodies) for kind, bodies in collector.received.items()},
        "links_followed": sum(SIGNATURE in seen.query for seen in ecr.seen),
        "mixed": _mixed(ecr),
        "writers": sorted(agent.partition("/")[0] for agent in agents),
        "ran": "it runs" in ran,
        "roles": roles,
    }


def _denied(ecr: FakeEcr, action: str, environ: dict[str, str], words: list[str], said: list[str]) -> bool:
    """Whether a run says what to allow, when an engine's push may not do one thing."""
    ecr.deny(f"ecr:{action}")
    command = [sys.executable, "-m", "anyarch", *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=_SECONDS)
    said += [done.stdout, done.stderr]
    ecr.principals["AKIAFIRST"].denied.clear()
    return done.returncode == 22 and f"allow ecr:{action} on arn:aws:ecr:eu-west-1:" in done.stderr


def _by_roles(ecr: FakeEcr, folder: Path, environ: dict[str, str], said: list[str]) -> list[str]:
    """What the jobs of ``image.yml`` do: no keys, two roles, and the build's password by a command.

    Returns whose key each of the two asked for its password with.
    """
    uploads = {f"ecr:{name}LayerUpload" for name in ("Initiate", "Complete")} | {"ecr:UploadLayerPart"}
    ecr.let_in(BUILD_ROLE, "ASIABUILD")
    ecr.let_in(MERGE_ROLE, "ASIAMERGE", *uploads)
    keyless = {name: value for name, value in environ.items() if not name.startswith("AWS_ACCESS_KEY")}
    told = set(ecr.issued)
    build = [str(installation().dagger), "call", "--progress=plain", "-m", str(ROOT), "build"]
    build += [f"--source={folder / 'app'}", "--platform=linux/amd64", f"--build-arg=SHOWN={ARGUMENT}"]
    build += ["--secret=env:BUILD_TOKEN", "--secret-id=token", "publish", f"--repository={HOST}/shop/api"]
    build += ["--username=AWS", f"--password=cmd:{sys.executable} -m anyarch login {HOST} --print"]
    build += ["export", f"--path={folder / 'records' / 'one.json'}"]
    quiet = {"DAGGER_NO_NAG": "1", "DO_NOT_TRACK": "1", "_EXPERIMENTAL_DAGGER_RUNNER_HOST": _ENGINE}
    _said({**keyless, **job_environment(BUILD_ROLE), **quiet}, *build, said=said)
    merge = ["merge", f"--records={folder / 'records'}", f"--to={HOST}/shop/api", "--tag=by-roles"]
    _anyarch({**keyless, **job_environment(MERGE_ROLE)}, *merge, said=said)
    return sorted({ecr.issued[password][0].key for password in set(ecr.issued) - told})


def _mixed(ecr: FakeEcr) -> list[str]:
    """Hosts that were shown the password of another."""
    found = []
    for password, (_, region, _) in ecr.issued.items():
        basic = base64.b64encode(f"AWS:{password}".encode()).decode()
        hosts: set[Any] = {seen.headers.get("Host") for seen in ecr.seen if basic in seen.authorization}
        found += [f"{host} saw the password for {region}" for host in hosts if f".{region}." not in host]
    return found


def _anyarch(environ: dict[str, str], *words: str, said: list[str] | None = None) -> str:
    return _said(environ, sys.executable, "-m", "anyarch", *words, said=said)


def _said(environ: dict[str, str], *command: str, said: list[str] | None) -> str:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    if said is not None:
        said += [done.stdout, done.stderr]
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
