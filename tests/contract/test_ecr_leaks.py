"""No command prints, or leaves on disk, a secret of AWS's: keys, session tokens, passwords, signed links."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli import main
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, an_index, upload
from tests.fake_ecr import HOST, PASSWORD_PREFIX, SECRET_KEY, SESSION_TOKEN, SIGNATURE, FakeEcr
from tests.fake_registry import Fault
from tests.otlp_collector import unfolded
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

REPOSITORY = f"{HOST}/shop/api"
IMAGE, OTHER = an_image("linux/amd64"), an_image("linux/arm64")
INDEX = an_index(IMAGE, OTHER)
SECRETS = (SECRET_KEY, SESSION_TOKEN, PASSWORD_PREFIX, SIGNATURE)
WORDS = [
    pytest.param(["verify", f"{REPOSITORY}:v1"], id="verify"),
    pytest.param(["diff", f"{REPOSITORY}:v1", f"{REPOSITORY}:v2"], id="diff"),
    pytest.param(["promote", f"{REPOSITORY}:v1", "--tag", "x"], id="promote"),
    pytest.param(["rollback", f"{REPOSITORY}:v1", "--to", str(INDEX.digest)], id="rollback"),
    pytest.param(["history", f"{REPOSITORY}:v1"], id="history"),
    pytest.param(["merge", "oci:stage:v1", "--to", REPOSITORY, "--tag", "y"], id="merge"),
    pytest.param(["prune", REPOSITORY, "--older-than", "1h"], id="prune"),
    pytest.param(["doctor", "registry", REPOSITORY], id="doctor registry"),
    pytest.param(["doctor", "aws", REPOSITORY], id="doctor aws"),
]


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    work = tmp_path / "work"
    work.mkdir()
    with FakeEcr(tmp_path, "shop/api") as started:
        started.use(monkeypatch)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.setenv("ANYARCH_CACHE", str(work / "cache"))
        monkeypatch.setenv(main.TRACEBACK_VARIABLE, "1")
        monkeypatch.chdir(work)

        async def fill() -> None:
            options = Options(clock=FakeClock(wall=time.time()).clock)
            async with RegistryStore(Repository.parse(REPOSITORY), options) as store:
                await upload(store, IMAGE, OTHER)
                for tag in ("v1", "v2"):
                    await store.put(Tag(tag), INDEX)
            async with LayoutStore(work / "stage") as stage:
                await upload(stage, IMAGE, OTHER)
                await stage.put(Tag("v1"), INDEX)

        anyio.run(fill)
        yield started
        started.unhandled.clear()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(None, id="nothing"),
        pytest.param(Fault("echo", 400, times=999, code="UNSUPPORTED"), id="400 that repeats it all"),
        pytest.param(Fault("echo", 403, times=999, code="DENIED"), id="403 that repeats it all"),
        pytest.param(
            Fault("echo", 307, {"Location": "https://x.example.com/{sent}?X-Amz-Signature=canary-signature"}),
            id="a signed redirect",
        ),
        pytest.param(Fault("truncated", kind="manifest"), id="an answer that ends early"),
    ],
)
@pytest.mark.parametrize("words", WORDS)
def test_no_command_tells(
    ecr: FakeEcr,
    words: Sequence[str],
    fault: Fault | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if fault is not None:
        ecr.faults.append(replace(fault))
    main.run([*words, "--format", "json"])
    shown = capsys.readouterr()
    kept = [path.read_bytes() for path in (tmp_path / "work").rglob("*") if path.is_file()]
    known = {text for each in (shown.out.encode(), shown.err.encode(), *kept) for text in unfolded(each, 1)}
    assert [secret for secret in SECRETS if any(secret.encode() in text for text in known)] == []
    assert shown.out + shown.err
    assert ecr.issued, "there was a password to tell of"
