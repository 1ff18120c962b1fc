"""``anyarch verify --run`` as its users have it: on a native engine, out of registries and a layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from anyarch.oci.manifest import Index
from anyarch.oci.reference import Tag
from anyarch.registry.copy import copy_image
from anyarch.registry.credential import Credential
from anyarch.registry.stores import open_store

from lab import base_images, registry

if TYPE_CHECKING:
    from lab.stack import Stack

ROOT: Final = Path(__file__).parents[2]
RUN_SECONDS: Final = 500
BASE: Final = f"{base_images.NAME}:{base_images.TAG}"


def verify(stack: Stack, ref: str, *words: str, **environ: str) -> tuple[int, str, dict[str, dict[str, Any]]]:
    """Exit status, stderr, and the trials by platform."""
    (engine,) = stack.engines.values()
    given = {
        "ANYARCH_DAGGER": str(engine.dagger),
        "ANYARCH_INSECURE_REGISTRIES": f"{stack.registry} {stack.private}",
        "_EXPERIMENTAL_DAGGER_RUNNER_HOST": engine.url,
    }
    done = subprocess.run(
        [sys.executable, "-m", "anyarch", "verify", ref, "--format", "json", *words],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **given, **environ},
        timeout=RUN_SECONDS,
    )
    document = json.loads(done.stdout)
    assert "platforms" in document, done.stderr[-4000:]
    return done.returncode, done.stderr, {each["platform"]: each["trial"] for each in document["platforms"]}


def test_each_platforms_image_runs_out_of_the_tag_and_what_cannot_is_told(one_engine: Stack) -> None:
    command = "sh -c 'dpkg --print-architecture; cat /proc/sys/kernel/random/uuid >&2; exit 139'"
    status, said, first = verify(one_engine, f"{one_engine.registry}/{BASE}", "--run", command)
    assert status == 38
    assert (first["linux/amd64"]["stdout"], first["linux/386"]["stdout"]) == ("amd64", "i386")
    assert {first[each]["exit_code"] for each in ("linux/amd64", "linux/386")} == {139}
    assert first["linux/386"]["execution"] == "native"
    foreign = first["linux/arm64"]
    if foreign["error"] is None:  # emulated by the entry that another engine on this machine has made
        assert (foreign["execution"], foreign["exit_code"]) == ("emulated", 139)
    else:
        assert foreign["error"] == "CannotRunError"
        assert "has no emulator for linux/arm64" in said
    _, _, again = verify(one_engine, f"{one_engine.registry}/{BASE}", "--run", command)
    assert again["linux/386"]["output"] != first["linux/386"]["output"]  # run, not remembered


@pytest.mark.anyio
async def test_credentials_reach_the_engine_and_a_layout_needs_none(
    one_engine: Stack, tmp_path: Path
) -> None:
    assert one_engine.private
    private, credential = f"{one_engine.private}/trial", Credential(registry.USERNAME, registry.PASSWORD)
    places = (
        open_store(f"{one_engine.registry}/{base_images.NAME}", insecure=[one_engine.registry]),
        open_store(private, insecure=[one_engine.private], credential=credential),
        open_store(f"oci:{tmp_path}/dist"),
    )
    async with places[0] as source, places[1] as behind, places[2] as layout:
        index = await source.get(Tag(base_images.TAG))
        assert isinstance(index, Index)
        image = next(each for each in index.manifests if str(each.platform) == "linux/386")
        for store in (behind, layout):
            await store.put(Tag("1"), await copy_image(source, store, image.digest))
    account = {
        "ANYARCH_REGISTRY_USERNAME": credential.username,
        "ANYARCH_REGISTRY_PASSWORD": credential.password,
    }
    for ref, environ in ((f"{private}:1", account), (f"oci:{tmp_path}/dist:1", {})):
        words = ["--entrypoint=/usr/bin/dpkg", "--run=--print-architecture"]
        status, said, trials = verify(one_engine, ref, *words, **environ)
        assert (status, trials["linux/386"]["output"]) == (0, "i386\n"), said
        assert credential.password not in said
