"""A commit's tags and labels on real images: the same from a laptop's clone as from a workflow's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from anyarch.oci.manifest import CONFIG_MAX_BYTES, Image, Index
from anyarch.oci.reference import Tag
from anyarch.registry.stores import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from lab.stack import Stack

RUN_SECONDS: Final = 500
PREFIX: Final = "org.opencontainers.image."
CONFIG: Final = """
[platforms."linux/amd64"]
[platforms."linux/386"]
[build]
labels = { "com.example.commit" = "{{sha}}, {{tag}}" }
[tags]
rules = ["type=semver,pattern={{version}}", "type=semver,pattern={{major}}", "type=ref,event=branch"]
"""


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    environ = {"PATH": os.environ["PATH"], "GIT_COMMITTER_DATE": "2020-01-10T00:30:00Z"}
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environ,
    )
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with one commit and one tag."""
    folder = tmp_path / "origin"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY anyarch.toml /\n")
    (folder / "anyarch.toml").write_text(CONFIG)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    git(folder, "tag", "v1.2.3")
    return folder


def released(origin: Path, name: str, stack: Stack, **environ: str) -> dict[str, Any]:
    """Clone and run; what the run says of its release."""
    clone = origin.parent / name
    git(origin.parent, "clone", "-q", "--branch", "v1.2.3", str(origin), str(clone))
    git(clone, "remote", "set-url", "origin", "https://github.com/octocat/Hello-World.git")
    engine = next(iter(stack.engines.values()))
    words = [f"--engine={platform}={engine.url}" for platform in ("linux/amd64", "linux/386")]
    words += [f"--to={stack.registry}/test/described", f"--insecure-registry={stack.registry}"]
    done = subprocess.run(
        [sys.executable, "-m", "anyarch", "run", str(clone), *words, "--format=json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        env={**os.environ, **environ, "ANYARCH_DAGGER": str(engine.dagger)},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.anyio
async def test_the_same_commit_is_the_same_index_wherever_it_is_released(
    one_engine: Stack, origin: Path
) -> None:
    sha = git(origin, "rev-parse", "HEAD")
    first = released(origin, "laptop", one_engine)
    event = {"ACTIONS": "true", "EVENT_NAME": "push", "REF": "refs/tags/v1.2.3", "SHA": sha}
    where = {"SERVER_URL": "https://github.com", "REPOSITORY": "octocat/Hello-World"}
    run = {"RUN_ID": "1", "RUN_ATTEMPT": "1"}
    workflow = {f"GITHUB_{name}": value for name, value in {**event, **where, **run}.items()}
    again = released(origin, "workflow", one_engine, **workflow)
    assert again["digest"] == first["digest"]
    known = {
        f"{PREFIX}created": "2020-01-10T00:30:00Z",
        f"{PREFIX}revision": sha,
        f"{PREFIX}source": "https://github.com/octocat/Hello-World",
        f"{PREFIX}title": "Hello-World",
        f"{PREFIX}url": "https://github.com/octocat/Hello-World",
        f"{PREFIX}version": "1.2.3",
    }
    repository = f"{one_engine.registry}/test/described"
    async with open_store(repository, insecure=[one_engine.registry]) as store:
        index = await store.get(Tag("1.2.3"))
        assert isinstance(index, Index)
        assert index == await store.get(Tag("1")) == await store.get(Tag("latest"))
        assert await store.head(Tag("main")) is None
        assert known.items() <= index.annotations.items()
        for child in index.manifests:
            image = await store.get(child.digest)
            assert isinstance(image, Image)
            assert known.items() <= image.annotations.items()
            config = json.loads(await store.get_blob(image.config, max_bytes=CONFIG_MAX_BYTES))
            assert config["config"]["Labels"] == known | {"com.example.commit": f"{sha[:7]}, v1.2.3"}
