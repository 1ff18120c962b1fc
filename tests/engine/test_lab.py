"""The ground that other engine tests stand on."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from anyarch.engine.native.places import RUNTIME
from anyarch.oci.manifest import Index
from anyarch.oci.reference import Tag
from anyarch.registry.stores import open_store

from lab import base_images, registry

if TYPE_CHECKING:
    from pathlib import Path

    from anyarch.oci.manifest import Manifest

    from lab.stack import Stack


def test_the_mirror_has_the_base_image_for_every_platform(one_engine: Stack) -> None:
    repository = f"{one_engine.registry}/{base_images.NAME}"

    async def read() -> Manifest:
        async with open_store(repository, insecure=[one_engine.registry]) as store:
            return await store.get(Tag(base_images.TAG))

    index = anyio.run(read)
    assert isinstance(index, Index)
    assert [child.platform for child in index.images] == list(base_images.PLATFORMS)


def test_registries_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    with registry.real_registry(storage=tmp_path / "a") as one, registry.real_registry(auth=True) as other:
        assert one != other
        assert httpx2.get(f"http://{one}/v2/").status_code == 200
        assert httpx2.get(f"http://{other}/v2/").status_code == 401
        known = (registry.USERNAME, registry.PASSWORD)
        assert httpx2.get(f"http://{other}/v2/", auth=known).status_code == 200
        assert httpx2.get(f"http://{other}/v2/", auth=(known[0], "guessed")).status_code == 401


def test_a_registry_leaves_nothing_on_the_host() -> None:
    with registry.real_registry() as host:
        assert _traces(host)
    assert _traces(host) == []


def test_a_registry_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="Not a directory"), registry.real_registry(storage=tmp_path / "file/x"):
        pass
    left = [path.name for path in RUNTIME.glob("*.registry") if path.name.startswith(f"{os.getpid()}-")]
    assert len(left) <= 2  # those of the session's fixtures


def _traces(host: str) -> list[str]:
    """What of a registry's network the host still has: links and their addresses, rules, the lease."""
    number = host.split(".")[2]
    addresses = subprocess.run(["ip", "-o", "address"], check=True, capture_output=True, text=True).stdout
    tables = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
    lines = [*addresses.splitlines(), *tables.splitlines()]
    found = [line for line in lines if f"10.87.{number}." in line or line.endswith(f" anyarch_{number}")]
    leases = RUNTIME / "networks"
    return found + [str(path) for path in leases.glob(f"{number}.json")]
