"""When the engine asks for a password that the client is to look up: after the build, not only before it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.engine.test_module import Client

if TYPE_CHECKING:
    from pathlib import Path

    from lab.stack import Stack


@pytest.fixture(scope="module")
def client(one_engine: Stack) -> Client:
    engine = next(iter(one_engine.engines.values()))
    return Client(engine.dagger, engine.url, one_engine.registry)


def test_a_password_is_looked_up_again_after_the_build(client: Client, tmp_path: Path) -> None:
    """So ``image.yml`` hands over the password of Amazon ECR, whose sessions are shorter than some builds.

    This registry wants no password, so what is asked for is what the push is given; and as it refuses none,
    the source of another, as ``anyarch run`` names it, is not asked at all.
    """
    app, asked, record = tmp_path / "app", tmp_path / "asked", tmp_path / "record.json"
    another = tmp_path / "another"
    app.mkdir()
    dockerfile = "FROM debian:bookworm-slim\nCOPY . /app\nRUN sleep 3 && date +%s >/built\n"
    (app / "Dockerfile").write_text(dockerfile)
    (app / "unique").write_text(str(tmp_path))
    words = ["build", f"--source={app}", "--platform=linux/amd64", "publish", "--insecure"]
    words += [f"--repository={client.registry}/late", "--username=robot"]
    words += [f"--password=cmd:date +%s >>{asked}; echo secret-of-the-moment"]
    words += [f"--another-password=cmd:date >{another}; echo another-secret?cacheKey=another"]
    client.call(*words, "export", f"--path={record}")
    assert not another.exists()
    told = json.loads(record.read_text())
    built = datetime.fromisoformat(told["started"]).timestamp() + told["seconds"]["build"]
    assert int(asked.read_text().splitlines()[-1]) >= built - 1
