"""What goes wrong at Amazon ECR in mid-run: expiry at any moment, throttling anywhere, two accounts."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.errors import RegistryUnavailableError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry import ecr as api
from anyarch.registry.client import Options
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote

from tests.builders import an_image, an_index, upload
from tests.fake_ecr import HOST, SECRET_KEY, FakeEcr
from tests.fake_registry import Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fake_repositories import Reply, Seen

IMAGE, OTHER = an_image("linux/amd64"), an_image("linux/arm64")
INDEX = an_index(IMAGE, OTHER)
LATEST, V1 = Tag("latest"), Tag("v1")


class Expiring(FakeEcr):
    """Every password expires just before one request to a repository."""

    at = -1
    counted = 0

    def reply(self, seen: Seen) -> Reply:
        if seen.path.startswith("/v2/"):
            self.counted += 1
            if self.counted == self.at:
                self.expire_tokens()
        return super().reply(seen)


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Expiring]:
    with Expiring(tmp_path, "shop/api") as started:
        started.use(monkeypatch)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.chdir(tmp_path)
        yield started


def a_store(clock: FakeClock, path: str = "shop/api") -> RegistryStore:
    return RegistryStore(Repository(HOST, path), Options(clock=clock.clock))


async def a_release(clock: FakeClock, path: str) -> None:
    """Images, an index, two tags with their histories: everything that writes."""
    async with a_store(clock, path) as store:
        await upload(store, IMAGE, OTHER)
        await store.put(INDEX.digest, INDEX)
        await promote(store, INDEX.digest, [V1, LATEST], mover=Mover())


@pytest.mark.anyio
async def test_a_password_may_expire_before_any_request(ecr: Expiring) -> None:
    ecr.create("clean")
    await a_release(FakeClock(wall=time.time()), "clean")
    requests, clean = ecr.counted, ecr.registries[HOST]["clean"]
    assert requests > 20
    for at in range(1, requests + 1):
        path = f"expiring-{at}"
        repository = ecr.create(path)
        ecr.counted, ecr.at = 0, at
        before = ecr.operations("GetAuthorizationToken")
        await a_release(FakeClock(wall=time.time()), path)
        assert repository.tags[str(V1)] == repository.tags[str(LATEST)] == str(INDEX.digest), at
        assert repository.tags.keys() == clean.tags.keys(), at
        assert ecr.operations("GetAuthorizationToken") == before + 1, at


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        pytest.param("POST", "upload", id="an upload's begin"),
        pytest.param("PUT", "upload", id="an upload's end"),
        pytest.param("HEAD", "blob", id="a layer's check"),
        pytest.param("GET", "manifest", id="a manifest"),
        pytest.param("PUT", "manifest", id="a tag"),
        pytest.param("GET", "blob", id="a config"),
    ],
)
async def test_throttling_is_waited_out_wherever_it_hits(ecr: Expiring, method: str, kind: str) -> None:
    ecr.faults.append(Fault("status", 429, method=method, kind=kind, times=3, code="TOOMANYREQUESTS"))
    clock = FakeClock(wall=time.time())
    await a_release(clock, "shop/api")
    assert ecr.registries[HOST]["shop/api"].tags[str(LATEST)] == str(INDEX.digest)
    assert not [fault for fault in ecr.faults if fault.times]
    assert clock.slept


@pytest.mark.anyio
async def test_throttling_without_end_is_an_error_with_a_name(ecr: Expiring) -> None:
    ecr.faults.append(Fault("status", 429, times=999, code="TOOMANYREQUESTS"))
    async with a_store(FakeClock(wall=time.time())) as store:
        with pytest.raises(RegistryUnavailableError, match=r"TOOMANYREQUESTS|429"):
            await store.get(V1)


@pytest.mark.anyio
@pytest.mark.parametrize("times", [2, 99])
async def test_the_api_is_asked_again_when_it_throttles(
    ecr: Expiring, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    ecr.api_faults = ["ThrottlingException"] * times
    where = EcrHost.parse(HOST)
    assert where is not None
    if times == 2:
        assert (await api.Account(where).credential()).password in ecr.issued
        return
    with pytest.raises(RegistryUnavailableError, match="ThrottlingException to ecr:GetAuthorizationToken"):
        await api.Account(where).credential()
    assert ecr.operations("GetAuthorizationToken") == 4


def test_two_accounts_in_one_merge_each_have_their_own_session(
    ecr: Expiring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the profiles of anyarch.toml, with a third set of keys in the environment."""
    theirs = HOST.replace("123456789012", "999999999999")
    ecr.create("shop/api", theirs)
    ecr.principals["AKIASECOND"].account = "999999999999"
    ecr.principals["AKIATHIRD"] = type(ecr.principals["AKIASECOND"])("AKIATHIRD")
    ecr.use(monkeypatch, "AKIATHIRD")
    profiles = tmp_path / "credentials"
    profiles.write_text(
        "".join(
            f"[{name}]\naws_access_key_id={key}\naws_secret_access_key={SECRET_KEY}\n"
            for name, key in (("ours", "AKIAFIRST"), ("theirs", "AKIASECOND"))
        )
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    (tmp_path / "anyarch.toml").write_text(
        f'[registries."{HOST}"]\naws-profile = "ours"\n[registries."{theirs}"]\naws-profile = "theirs"\n'
    )

    async def fill() -> None:
        async with LayoutStore(tmp_path / "stage") as store:
            await upload(store, IMAGE, OTHER)
            await store.put(V1, INDEX)

    anyio.run(fill)
    assert run(["merge", "oci:stage:v1", "--to", f"{theirs}/shop/api", "--tag", "v1"]) == 0
    assert run(["merge", f"{theirs}/shop/api:v1", "--to", f"{HOST}/shop/api", "--tag", "v1"]) == 0
    shown: dict[str, set[str]] = {}
    for seen in ecr.seen:
        if seen.path.startswith("/v2/") and seen.authorization:
            pair = base64.b64decode(seen.authorization.partition(" ")[2]).decode()
            who, _, _ = ecr.issued[pair.partition(":")[2]]
            shown.setdefault(seen.headers.get("Host", ""), set()).add(who.key)
    assert shown == {HOST: {"AKIAFIRST"}, theirs: {"AKIASECOND"}}


def test_promote_works_where_nobody_brought_what_a_history_names(
    ecr: Expiring, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images of other tools, and a role that may not upload: the tag moves, and what is lost is said."""

    async def push() -> None:
        async with a_store(FakeClock(wall=time.time())) as store:
            await upload(store, IMAGE, OTHER)
            await store.put(V1, INDEX)

    anyio.run(push)
    ecr.deny("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload")
    assert run(["promote", f"{HOST}/shop/api:v1", "--tag", "stable"]) == 0
    assert ecr.registries[HOST]["shop/api"].tags["stable"] == str(INDEX.digest)
    assert "not in the history of stable" in (shown := capsys.readouterr().out)
    assert "each build brings that, or whoever may upload" in shown
