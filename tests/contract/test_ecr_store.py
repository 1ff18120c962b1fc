"""An ECR registry as a ``Store``: tokens, permissions, immutable tags, and what it never sees twice."""

from __future__ import annotations

import base64
import json
import time
import traceback
from typing import TYPE_CHECKING, cast

import anyio
import pytest
from anyarch.errors import (
    AnyarchError,
    AuthenticationError,
    DeniedError,
    ImmutableTagError,
    NotFoundError,
)
from anyarch.oci.reference import Repository, Tag
from anyarch.registry import ecr as api
from anyarch.registry.client import Options
from anyarch.registry.copy import copy_image
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.store import RegistryStore
from anyarch.registry.stores import open_store

from tests.builders import an_image, an_index, upload
from tests.fake_ecr import HOST, PASSWORD_PREFIX, SECRET_KEY, SESSION_TOKEN, SIGNATURE, FakeEcr
from tests.fake_registry import Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from anyarch.registry.credential import Credential
    from anyarch.registry.requests import Request

    DockerLogin = Callable[[str, Credential], None]

pytestmark = pytest.mark.anyio

IMAGE, OTHER = an_image("linux/amd64"), an_image("linux/arm64")
V1 = Tag("v1")
PRIVATE = cast("EcrHost", EcrHost.parse(HOST))


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    with FakeEcr(tmp_path, "shop/api") as started:
        started.use(monkeypatch)
        yield started


@pytest.fixture
def docker_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DockerLogin:
    """Leaves what ``docker login`` leaves."""

    def login(host: str, credential: Credential) -> None:
        auth = credential.basic.partition(" ")[2]
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    return login


def store_in(_: FakeEcr, path: str = "shop/api", host: str = HOST) -> RegistryStore:
    return RegistryStore(Repository(host, path), Options(clock=FakeClock(wall=time.time()).clock))


def tokens(ecr: FakeEcr) -> int:
    return ecr.operations("GetAuthorizationToken")


def passwords_shown(ecr: FakeEcr, host: str) -> set[str]:
    seen = [each for each in ecr.seen if each.headers.get("Host") == host and each.authorization]
    pairs = [base64.b64decode(each.authorization.partition(" ")[2]).decode() for each in seen]
    return {pair.partition(":")[2] for pair in pairs}


async def test_an_image_is_pushed_and_read_back_with_aws_credentials_alone(ecr: FakeEcr) -> None:
    async with store_in(ecr) as store:
        await upload(store, IMAGE)
        await store.put(V1, IMAGE.manifest)
        assert (await store.get(V1)).raw == IMAGE.manifest.raw
        config = IMAGE.manifest.config
        assert await store.get_blob(config, max_bytes=10_000) == IMAGE.blobs[config.digest]
    assert ecr.asked_of_api == [("api.ecr.eu-west-1.amazonaws.com", "GetAuthorizationToken")]
    at_home = [each for each in ecr.seen if each.path.startswith("/v2/")]
    assert all(each.authorization for each in at_home), "it need not be asked for a password first"


async def test_stores_of_one_registry_share_a_token(ecr: FakeEcr) -> None:
    ecr.create("shop/web")
    async with store_in(ecr) as one, store_in(ecr, "shop/web") as two:
        await upload(one, IMAGE)
        await copy_image(one, two, IMAGE.digest)
    assert tokens(ecr) == 1


@pytest.mark.parametrize("fresh", [False, True], ids=["asked before", "not asked yet"])
async def test_a_token_that_expires_in_mid_run_is_renewed(ecr: FakeEcr, fresh: bool) -> None:
    async with store_in(ecr) as store:
        await upload(store, IMAGE)
        ecr.expire_tokens()
        if fresh:
            assert await store.head(IMAGE.digest) is not None
        await upload(store, OTHER)
        await store.put(V1, OTHER.manifest)
    assert tokens(ecr) == 2


async def test_tasks_that_all_meet_an_expired_token_ask_for_one(ecr: FakeEcr) -> None:
    async with store_in(ecr) as store:
        await upload(store, IMAGE)
        ecr.expire_tokens()
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(store.head, Tag(f"v{number}"))
    assert tokens(ecr) == 2


async def test_a_token_is_renewed_before_it_expires(ecr: FakeEcr) -> None:
    clock = FakeClock(wall=time.time())
    account = api.Account(PRIVATE, wall=lambda: clock.wall)
    options = Options(clock=clock.clock, credential=account.credential)

    def pass_by(seconds: float) -> None:
        clock.wall += seconds
        ecr.passed += seconds

    async with RegistryStore(Repository(HOST, "shop/api"), options) as store:
        await upload(store, IMAGE)
        pass_by(api.TOKEN_SECONDS - api.EXPIRY_MARGIN_SECONDS - 60)
        assert await store.head(IMAGE.digest) is not None
        assert tokens(ecr) == 1
        pass_by(120)
        assert await store.head(IMAGE.digest) is not None
        assert await store.head(IMAGE.digest) is not None
    assert tokens(ecr) == 2
    assert len(passwords_shown(ecr, HOST)) == 2


async def test_whoever_asks_after_the_end_gets_another_token(ecr: FakeEcr) -> None:
    clock = FakeClock(wall=time.time())
    account = api.Account(PRIVATE, wall=lambda: clock.wall)
    first = await account.credential()
    assert await account.credential() == first
    clock.wall += api.TOKEN_SECONDS
    ecr.passed += api.TOKEN_SECONDS
    assert await account.credential() != first


async def test_with_a_profile_only_aws_counts(
    ecr: FakeEcr, docker_login: DockerLogin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = await api.Account(PRIVATE).credential()
    docker_login(HOST, left)
    profiles = tmp_path / "credentials"
    profiles.write_text(f"[two]\naws_access_key_id=AKIASECOND\naws_secret_access_key={SECRET_KEY}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    async with open_store(f"{HOST}/shop/api", aws_profile="two") as store:
        await upload(store, IMAGE)
    (shown,) = passwords_shown(ecr, HOST)
    assert shown != left.password
    assert ecr.issued[shown][0].key == "AKIASECOND"


async def test_a_given_password_that_has_expired_is_an_error_at_once(ecr: FakeEcr) -> None:
    given = await api.Account(PRIVATE).credential()
    ecr.expire_tokens()
    clock = FakeClock(wall=time.time())
    options = Options(clock=clock.clock, credential=given)
    async with RegistryStore(Repository(HOST, "shop/api"), options) as store:
        with pytest.raises(AuthenticationError, match="expired"):
            await store.get(V1)
    assert len(clock.slept) <= 1


async def test_two_sets_of_credentials_never_mix(ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store_in(ecr) as store:
        await upload(store, IMAGE)
    ecr.use(monkeypatch, "AKIASECOND")
    async with store_in(ecr) as store:
        assert await store.head(IMAGE.digest) is not None
    assert [who.key for who, _, _ in ecr.issued.values()] == ["AKIAFIRST", "AKIASECOND"]


async def test_each_profile_and_region_has_a_token_of_its_own(
    ecr: FakeEcr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = HOST.replace("eu-west-1", "us-gov-west-1")
    ecr.create("shop/api", far)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    profiles = tmp_path / "credentials"
    profiles.write_text(
        "".join(
            f"[{name}]\naws_access_key_id={key}\naws_secret_access_key={SECRET_KEY}\n"
            for name, key in (("one", "AKIAFIRST"), ("two", "AKIASECOND"))
        )
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    async with (
        open_store(f"{HOST}/shop/api", aws_profile="one") as near,
        open_store(f"{far}/shop/api", aws_profile="two") as distant,
    ):
        await upload(near, IMAGE)
        await copy_image(near, distant, IMAGE.digest)
    assert {(who.key, region) for who, region, _ in ecr.issued.values()} == {
        ("AKIAFIRST", "eu-west-1"),
        ("AKIASECOND", "us-gov-west-1"),
    }
    assert len(passwords_shown(ecr, HOST)) == len(passwords_shown(ecr, far)) == 1
    assert not passwords_shown(ecr, HOST) & passwords_shown(ecr, far)


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        pytest.param(HOST, "api.ecr.eu-west-1.amazonaws.com", id="private"),
        pytest.param(
            "123456789012.dkr.ecr.us-gov-east-1.amazonaws.com",
            "api.ecr.us-gov-east-1.amazonaws.com",
            id="GovCloud",
        ),
        pytest.param(
            "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
            "api.ecr-fips.us-east-1.amazonaws.com",
            id="FIPS",
        ),
        pytest.param(
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "api.ecr.cn-north-1.amazonaws.com.cn",
            id="China",
        ),
        pytest.param("123456789012.dkr-ecr.eu-west-1.on.aws", "ecr.eu-west-1.api.aws", id="dual-stack"),
        pytest.param(
            "123456789012.dkr-ecr-fips.us-west-2.on.aws", "ecr-fips.us-west-2.api.aws", id="FIPS, dual-stack"
        ),
        pytest.param(
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            "api.ecr-fips.us-gov-west-1.amazonaws.com",
            id="GovCloud, FIPS",
        ),
        pytest.param(
            "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
            "ecr.cn-north-1.api.amazonwebservices.com.cn",
            id="China, dual-stack",
        ),
        pytest.param("public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com", id="public"),
        pytest.param("ecr-public.aws.com", "ecr-public.us-east-1.api.aws", id="public, dual-stack"),
    ],
)
async def test_each_kind_of_registry_is_asked_at_its_own_endpoint(
    ecr: FakeEcr, host: str, endpoint: str
) -> None:
    ecr.create("shop/api", host)
    async with store_in(ecr, host=host) as store:
        await upload(store, IMAGE)
        assert (await store.get(IMAGE.digest)).raw == IMAGE.manifest.raw
    assert ecr.asked_of_api == [(endpoint, "GetAuthorizationToken")]


async def test_a_missing_repository_comes_with_the_command_that_creates_it(ecr: FakeEcr) -> None:
    async with store_in(ecr, "shop/typo") as store:
        for ask in (
            lambda: store.get(V1),
            lambda: store.put(V1, IMAGE.manifest),
            lambda: upload(store, IMAGE),
        ):
            with pytest.raises(NotFoundError, match=f"^there is no repository {HOST}/shop/typo; ") as missing:
                await ask()
            command = "aws ecr create-repository --region eu-west-1 --registry-id 123456789012"
            assert f"{command} --repository-name shop/typo;" in missing.value.hint


@pytest.mark.parametrize(
    ("action", "ask"),
    [
        pytest.param("ecr:BatchGetImage", lambda store: store.head(V1), id="ask for a tag"),
        pytest.param("ecr:PutImage", lambda store: store.put(V1, IMAGE.manifest), id="write a tag"),
        pytest.param("ecr:InitiateLayerUpload", lambda store: upload(store, OTHER), id="begin an upload"),
        pytest.param("ecr:UploadLayerPart", lambda store: upload(store, OTHER), id="upload"),
        pytest.param("ecr:CompleteLayerUpload", lambda store: upload(store, OTHER), id="end an upload"),
        pytest.param("ecr:ListImages", lambda store: store.tags(), id="list tags"),
        pytest.param(
            "ecr:GetDownloadUrlForLayer",
            lambda store: store.get_blob(IMAGE.manifest.config, max_bytes=10_000),
            id="read a config",
        ),
    ],
)
async def test_a_denial_names_the_action_and_the_repository(
    ecr: FakeEcr, action: str, ask: Callable[[RegistryStore], Awaitable[object]]
) -> None:
    async with store_in(ecr) as store:
        await upload(store, IMAGE)
        ecr.deny(action)
        with pytest.raises(DeniedError) as denied:
            await ask(store)
    arn = "arn:aws:ecr:eu-west-1:123456789012:repository/shop/api"
    assert f"allow {action} on {arn}" in denied.value.hint


async def test_layers_are_found_without_the_permission_to_ask_for_them(ecr: FakeEcr) -> None:
    """A merge role may read layers and need not be able to check them for a push."""
    async with store_in(ecr) as store:
        await upload(store, IMAGE)
        ecr.deny("ecr:BatchCheckLayerAvailability")
        assert await store.has_blob(IMAGE.manifest.layers[0])


async def test_an_immutable_tag_is_success_when_equal_and_its_own_error_when_not(ecr: FakeEcr) -> None:
    ecr.create(
        "shop/fixed",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "latest*"}],
    )
    clock = FakeClock(wall=time.time())
    async with RegistryStore(Repository(HOST, "shop/fixed"), Options(clock=clock.clock)) as store:
        await upload(store, IMAGE, OTHER)
        for tag in (V1, Tag("latest")):
            await store.put(tag, IMAGE.manifest)
            await store.put(tag, IMAGE.manifest)
        await store.put(Tag("latest"), OTHER.manifest)
        before = len(ecr.writes)
        with pytest.raises(ImmutableTagError) as refused:
            await store.put(V1, OTHER.manifest)
        assert len(ecr.writes) == before + 1, "never a retry"
    assert refused.value.exit_code == 24
    assert clock.slept == []
    assert ecr.registries[HOST]["shop/fixed"].tags[str(V1)] == str(IMAGE.digest)


async def test_an_index_needs_its_children_in_the_same_repository(ecr: FakeEcr) -> None:
    ecr.create("shop/web")
    index = an_index(IMAGE)
    async with store_in(ecr) as store, store_in(ecr, "shop/web") as other:
        await upload(store, IMAGE)
        with pytest.raises(NotFoundError, match="Images with digests"):
            await other.put(index.digest, index)
        await copy_image(store, other, IMAGE.digest)  # no mount: the bytes travel
        await other.put(index.digest, index)


async def test_throttling_is_waited_out(ecr: FakeEcr) -> None:
    clock = FakeClock(wall=time.time())
    async with RegistryStore(Repository(HOST, "shop/api"), Options(clock=clock.clock)) as store:
        await upload(store, IMAGE)
        ecr.faults.append(Fault("status", 429, method="PUT", times=3, code="TOOMANYREQUESTS"))
        await store.put(V1, IMAGE.manifest)
    assert len(clock.slept) == 3


async def test_nothing_of_aws_is_in_any_failure(ecr: FakeEcr, caplog: pytest.LogCaptureFixture) -> None:
    """Keys, tokens and signed links: neither in messages, facts and tracebacks nor in logs of any level."""
    said: list[str] = []
    caplog.set_level("DEBUG", logger="anyarch")

    def observe(request: Request, status: int) -> None:
        said.append(f"{request} {request!r} {status}")

    async def failing(fault: Fault | None, ask: Callable[[RegistryStore], Awaitable[object]]) -> None:
        options = Options(clock=FakeClock(wall=time.time()).clock, observer=observe)
        async with RegistryStore(Repository(HOST, "shop/api"), options) as store:
            await store.tags()
            ecr.faults[:] = [fault] if fault else []
            try:
                await ask(store)
            except AnyarchError as error:
                said.extend([repr(error), str(dict(error.facts)), *traceback.format_exception(error)])
            ecr.faults.clear()
            said.append(repr(vars(store.client)))

    async with store_in(ecr) as store:
        await upload(store, IMAGE)
    layer = IMAGE.manifest.layers[0]
    for action in ("echo", "reset after", "truncated"):
        for ask in (
            lambda store: store.get(V1),
            lambda store: store.get_blob(layer, max_bytes=10_000),
            lambda store: upload(store, OTHER),
        ):
            await failing(Fault(action, 400, times=99, code="UNSUPPORTED"), ask)
    ecr.deny("ecr:GetAuthorizationToken")
    for account in api._accounts.values():  # noqa: SLF001  as if they had expired
        said.append(repr(account))
        account._token = None  # noqa: SLF001
    async with store_in(ecr) as store:
        with pytest.raises(DeniedError) as denied:
            await store.get(V1)
    said += [repr(denied.value), *traceback.format_exception(denied.value)]
    assert len(said) > 50
    shown = "\n".join([*said, caplog.text])
    secret = [SECRET_KEY, SESSION_TOKEN, PASSWORD_PREFIX, SIGNATURE]
    secret += [base64.b64encode(f"AWS:{password}".encode()).decode() for password in ecr.issued]
    assert [each for each in secret if each in shown] == []


async def test_no_token_and_no_key_reaches_the_layer_store(ecr: FakeEcr) -> None:
    async with store_in(ecr) as store:
        await upload(store, IMAGE)
        await store.get_blob(IMAGE.manifest.config, max_bytes=10_000)
    away = [each for each in ecr.seen if ".s3." in each.headers.get("Host", "")]
    assert away
    told = "\n".join(f"{each.headers} {each.body!r}" for each in away)
    assert [each for each in (SECRET_KEY, PASSWORD_PREFIX, "Authorization") if each in told] == []
