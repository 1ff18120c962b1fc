"""A real engine builds once; two registries and a directory get the same index."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyarch.oci.reference import Tag
from anyarch.registry.stores import open_store

from lab import registry

if TYPE_CHECKING:
    from pathlib import Path

    from lab.stack import Stack

RUN_SECONDS: Final = 500
PLATFORMS: Final = ("linux/amd64", "linux/386")


def test_a_run_builds_once_for_two_registries_and_a_directory(one_engine: Stack, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    engine = next(iter(one_engine.engines.values()))
    with registry.real_registry() as far:
        names = [f"{one_engine.registry}/test/several", f"{far}/test/copies", f"oci:{tmp_path / 'dist'}"]
        insecure = [one_engine.registry, far]
        words = ["run", str(app), "--tag=1.0.0 latest", *(f"--to={name}" for name in names)]
        words += [f"--platform={' '.join(PLATFORMS)}", *(f"--insecure-registry={host}" for host in insecure)]
        words += [f"--engine={platform}={engine.url}" for platform in PLATFORMS]
        first, again = told(words), told(words)

        async def tagged() -> list[bytes]:
            found = []
            for name in names:
                async with open_store(name, insecure=insecure) as store:
                    found += [(await store.get(Tag(tag))).raw for tag in ("1.0.0", "latest")]
            return found

        (raw,) = set(anyio.run(tagged))
    assert [each["repository"] for each in first["destinations"]] == names
    assert raw.decode() == first["index"] == again["index"]
    assert [each["platform"] for each in first["platforms"]] == sorted(PLATFORMS)
    assert first["writes"] != []
    assert again["writes"] == []


def told(words: list[str]) -> dict[str, Any]:
    """What a run says of its release."""
    done = subprocess.run(
        [sys.executable, "-m", "anyarch", *words, "--format=json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found
