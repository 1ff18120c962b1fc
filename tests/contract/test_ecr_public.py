"""ECR Public: anybody reads, and whoever has AWS credentials writes to what is theirs, by Bearer tokens."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.errors import DeniedError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, an_index, upload
from tests.fake_ecr import HOST, PASSWORD_PREFIX, SECRET_KEY, SESSION_TOKEN, EcrRepository, FakeEcr
from tests.fake_ecr_public import TOKEN_PREFIX
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PUBLIC = "public.ecr.aws"
REPOSITORY = f"{PUBLIC}/shop/api"
IMAGE, OTHER = an_image("linux/amd64"), an_image("linux/arm64")
INDEX = an_index(IMAGE, OTHER)
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    with FakeEcr(tmp_path) as started:
        started.use(monkeypatch)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.chdir(tmp_path)
        started.create("shop/api", PUBLIC)
        yield started


@pytest.fixture
def repository(ecr: FakeEcr) -> EcrRepository:
    return ecr.registries[PUBLIC]["shop/api"]


def a_store(path: str = "shop/api") -> RegistryStore:
    return RegistryStore(Repository(PUBLIC, path), Options(clock=FakeClock(wall=time.time()).clock))


def push_release() -> None:
    async def push() -> None:
        async with a_store() as store:
            await upload(store, IMAGE, OTHER)
            await store.put(Tag("v1"), INDEX)

    anyio.run(push)


def bearers(ecr: FakeEcr) -> set[str]:
    seen = [each for each in ecr.seen if each.path.startswith("/v2/") and each.authorization]
    return {each.authorization for each in seen}


def test_a_merge_goes_there_and_anybody_reads_it_back(
    ecr: FakeEcr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: EcrRepository
) -> None:
    async def fill() -> None:
        async with LayoutStore(tmp_path / "stage") as store:
            await upload(store, IMAGE, OTHER)
            await store.put(Tag("v1"), INDEX)

    anyio.run(fill)
    assert run(["merge", "oci:stage:v1", "--to", REPOSITORY, "--tag", "1.4.2", "--tag", "latest"]) == 0
    assert repository.tags["1.4.2"] == repository.tags["latest"] == str(INDEX.digest)
    assert all(each.startswith(f"Bearer {TOKEN_PREFIX}") for each in bearers(ecr)), "its password stays here"
    for name in KEYS:
        monkeypatch.delenv(name)
    asked = len(ecr.asked_of_api)
    assert run(["verify", f"{REPOSITORY}:1.4.2", "--platform", "linux/amd64,linux/arm64"]) == 0
    assert run(["merge", f"{REPOSITORY}:1.4.2", "--to", "oci:dist"]) == 0
    assert len(ecr.asked_of_api) == asked, "nobody in particular"


def test_login_is_checked_and_left_for_docker(
    ecr: FakeEcr, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["login", PUBLIC]) == 0
    written = json.loads((tmp_path / "docker" / "config.json").read_text())
    username, _, password = base64.b64decode(written["auths"][PUBLIC]["auth"]).decode().partition(":")
    assert (username, ecr.issued[password][1]) == ("AWS", "ecr-public")
    assert f"logged in to {PUBLIC} as AWS" in capsys.readouterr().out
    assert ecr.asked_of_api == [("api.ecr-public.us-east-1.amazonaws.com", "GetAuthorizationToken")]


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        pytest.param(
            "ecr-public:GetAuthorizationToken", "allow ecr-public:GetAuthorizationToken", id="token"
        ),
        pytest.param("sts:GetServiceBearerToken", "allow sts:GetServiceBearerToken", id="its second half"),
    ],
)
def test_login_says_which_permission_is_missing(
    ecr: FakeEcr, lacking: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.deny(lacking)
    assert run(["login", PUBLIC]) == 22
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("action", ["PutImage", "InitiateLayerUpload", "CompleteLayerUpload"])
def test_a_denial_while_pushing_names_the_action(ecr: FakeEcr, action: str) -> None:
    ecr.deny(f"ecr-public:{action}")
    with pytest.raises(DeniedError) as denied:
        push_release()
    arn = "arn:aws:ecr-public::*:repository/api"
    assert re.search(rf"allow ecr-public:{action} on {re.escape(arn)}", denied.value.hint)


def test_nobody_in_particular_cannot_push(monkeypatch: pytest.MonkeyPatch, ecr: FakeEcr) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(DeniedError) as denied:
        push_release()
    assert f"anyarch login {PUBLIC}" in denied.value.hint
    assert ecr.issued == {}


def test_a_password_that_expires_in_mid_run_is_renewed(ecr: FakeEcr, repository: EcrRepository) -> None:
    async def push() -> None:
        async with a_store() as store:
            await upload(store, IMAGE)
            ecr.expire_tokens()
            await upload(store, OTHER)
            await store.put(Tag("v1"), INDEX)

    anyio.run(push)
    assert repository.tags["v1"] == str(INDEX.digest)
    assert ecr.operations("GetAuthorizationToken") == 2


def test_an_expired_docker_login_is_no_obstacle(ecr: FakeEcr, repository: EcrRepository) -> None:
    assert run(["login", PUBLIC]) == 0
    ecr.expire_tokens()
    push_release()
    assert "v1" in repository.tags
    assert ecr.operations("GetAuthorizationToken") == 2


def test_an_expired_docker_login_and_nothing_else_is_said_so(
    ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    push_release()
    assert run(["login", PUBLIC]) == 0
    ecr.expire_tokens()
    for name in KEYS:
        monkeypatch.delenv(name)
    assert run(["verify", f"{REPOSITORY}:v1"]) == 21
    shown = capsys.readouterr().err
    assert f"{PUBLIC} no longer accepts what docker login left, and there are no AWS credentials" in shown
    assert f"anyarch login {PUBLIC}" in shown


def test_public_and_private_passwords_never_mix(ecr: FakeEcr) -> None:
    ecr.create("shop/api")
    assert run(["login", PUBLIC, "--print"]) == 0
    assert run(["login", HOST, "--print"]) == 0
    assert [of for _, of, _ in ecr.issued.values()] == ["ecr-public", "eu-west-1"]
    for password, (_, of, _) in ecr.issued.items():
        pair = base64.b64encode(f"AWS:{password}".encode()).decode()
        hosts = {seen.headers.get("Host", "") for seen in ecr.seen if pair in seen.authorization}
        assert hosts == {PUBLIC if of == "ecr-public" else HOST}


def test_a_missing_repository_is_made_without_its_alias(ecr: FakeEcr, tmp_path: Path) -> None:
    async def fill() -> None:
        async with LayoutStore(tmp_path / "stage") as store:
            await upload(store, IMAGE)
            await store.put(Tag("v1"), IMAGE.manifest)

    anyio.run(fill)
    (tmp_path / "anyarch.toml").write_text(f'[registries."{PUBLIC}".create]\n')
    assert run(["merge", "oci:stage:v1", "--to", f"{PUBLIC}/shop/team/new", "--tag", "v1"]) == 0
    assert ecr.registries[PUBLIC]["shop/team/new"].created_with["repositoryName"] == "shop/team/new"
    assert ecr.operations("CreateRepository") == 1


def test_prune_works_there(ecr: FakeEcr, repository: EcrRepository) -> None:
    push_release()
    repository.tags.clear()
    repository.pushed = dict.fromkeys(repository.manifests, time.time() - 90 * 86_400)
    repository.pulled.clear()
    assert run(["prune", REPOSITORY, "--older-than", "30d"]) == 0
    assert repository.manifests == {}
    assert {host for host, _ in ecr.asked_of_api} == {"api.ecr-public.us-east-1.amazonaws.com"}


def test_nothing_secret_is_said(ecr: FakeEcr, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    push_release()
    ecr.deny("ecr-public:PutImage")
    run(["promote", f"{REPOSITORY}:v1", "--tag", "stable", "--format", "json"])
    run(["verify", f"{REPOSITORY}:none"])
    ecr.expire_tokens()
    ecr.principals["AKIAFIRST"].expired = True
    run(["verify", f"{REPOSITORY}:v1"])
    shown = "".join([*capsys.readouterr(), *(each.read_text() for each in tmp_path.rglob("*.json*"))])
    secret = (SECRET_KEY, SESSION_TOKEN, PASSWORD_PREFIX, TOKEN_PREFIX)
    assert [each for each in secret if each in shown] == []
    assert shown
