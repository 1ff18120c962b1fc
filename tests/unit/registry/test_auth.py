from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import anyio
import anyio.lowlevel
import pytest
from anyarch.errors import (
    AuthenticationError,
    DeniedError,
    RegistryProtocolError,
    RegistryUnavailableError,
    UsageError,
)
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.challenge import Challenge
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.retry import REQUESTS_AT_ONCE_MAX
from anyarch.registry.store import RegistryStore
from anyarch.registry.token_hosts import trusted_token_hosts
from anyarch.registry.token_server import token_request
from anyarch.registry.urls import Url

from tests.builders import an_image, upload
from tests.fake_registry import IDENTITY_TOKEN, PASSWORD, USERNAME, FakeRegistry, Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

ROBOT = Credential(USERNAME, PASSWORD)
IMAGE = an_image()


def store_in(
    registry: FakeRegistry, credential: Credential | None = ROBOT, clock: FakeClock | None = None
) -> RegistryStore:
    options = Options(credential=credential, clock=(clock or FakeClock()).clock)
    return RegistryStore(Repository(registry.host, "team/app"), options)


@pytest.mark.parametrize(
    ("auth", "credential"),
    [
        pytest.param("basic", ROBOT, id="Basic"),
        pytest.param("bearer", ROBOT, id="Bearer for a password"),
        pytest.param(
            "bearer", Credential("", identity_token=IDENTITY_TOKEN), id="Bearer for an identity token"
        ),
    ],
)
async def test_each_kind_of_credential_pushes_and_pulls(auth: str, credential: Credential) -> None:
    with FakeRegistry(auth=auth) as registry:
        async with store_in(registry, credential) as store:
            await upload(store, IMAGE)
            assert (await store.get(IMAGE.digest)).raw == IMAGE.manifest.raw


async def test_one_challenge_and_one_token_for_each_purpose() -> None:
    with FakeRegistry(auth="bearer") as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            await store.get(IMAGE.digest)
        assert sum(seen.kind == "token" for seen in registry.seen) == 2, "pull, then pull and push"
        assert sum(not seen.authorization for seen in registry.seen if seen.path.startswith("/v2/")) == 1


async def test_many_requests_at_once_buy_one_token() -> None:
    with FakeRegistry(auth="bearer") as registry:
        async with store_in(registry) as store, anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(store.head, Tag(f"v{number}"))
        assert sum(seen.kind == "token" for seen in registry.seen) == 1


async def test_only_so_many_requests_are_on_their_way() -> None:
    with FakeRegistry() as registry:
        registry.faults.append(Fault("slow", times=1000))
        async with store_in(registry) as store, anyio.create_task_group() as group:
            for number in range(REQUESTS_AT_ONCE_MAX + 5):
                group.start_soon(store.head, Tag(f"v{number}"))
            with anyio.fail_after(20):
                while len(registry.seen) < REQUESTS_AT_ONCE_MAX:  # noqa: ASYNC110  another thread
                    await anyio.sleep(0.01)
            await anyio.sleep(0.1)  # for one more, if there were no bound
            assert len(registry.seen) == REQUESTS_AT_ONCE_MAX
            group.cancel_scope.cancel()


async def test_a_token_is_renewed_shortly_before_it_expires() -> None:
    clock = FakeClock()
    with FakeRegistry(auth="bearer", token_seconds=60) as registry:
        async with store_in(registry, clock=clock) as store:
            await store.head(Tag("v1"))
            clock.pass_by(45)
            await store.head(Tag("v1"))
            assert sum(seen.kind == "token" for seen in registry.seen) == 1
            clock.pass_by(10)
            await store.head(Tag("v1"))
        assert sum(seen.kind == "token" for seen in registry.seen) == 2
        assert sum(not seen.authorization for seen in registry.seen if seen.path.startswith("/v2/")) == 1


@pytest.mark.parametrize(
    ("body", "lives"),
    [
        pytest.param('{"token": "{token}"}', 55, id="no life: 60 s, as the protocol says"),
        pytest.param('{"access_token": "{token}", "expires_in": null}', 55, id="null, by the other name"),
        pytest.param('{"token": "{token}", "expires_in": 0}', 55, id="none"),
        pytest.param('{"token": "{token}", "expires_in": -3600}', 55, id="a negative life"),
        pytest.param('{"token": "{token}", "expires_in": NaN}', 55, id="no number"),
        pytest.param('{"token": "{token}", "expires_in": "90"}', 85, id="a number in quotes"),
        pytest.param('{"token": "{token}", "expires_in": 1e300}', 86_395, id="for ever is a day"),
        pytest.param(
            '{"token": "{token}", "expires_in": 90, "issued_at": "1999-01-01T00:00:00Z"}',
            85,
            id="a server whose clock is decades slow",
        ),
        pytest.param(
            '{"token": "{token}", "expires_in": 90, "issued_at": "2099-01-01T00:00:00Z"}',
            85,
            id="a server whose clock is decades fast",
        ),
    ],
)
async def test_how_long_a_token_is_shown_is_counted_on_our_own_clock(body: str, lives: int) -> None:
    clock = FakeClock()
    with FakeRegistry(auth="bearer", token_body=body) as registry:
        async with store_in(registry, clock=clock) as store:
            await store.head(Tag("v1"))
            clock.pass_by(lives - 10)
            await store.head(Tag("v1"))
            assert sum(seen.kind == "token" for seen in registry.seen) == 1
            clock.pass_by(10)
            await store.head(Tag("v1"))
        assert sum(seen.kind == "token" for seen in registry.seen) == 2


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param("<html>", id="a page for people"),
        pytest.param("[]", id="a list"),
        pytest.param('{"token": 7}', id="a number for a token"),
        pytest.param('{"expires_in": 60}', id="no token"),
        pytest.param('{"token": "{token}", "expires_in": 1' + "0" * 400 + "}", id="a life beyond all floats"),
        pytest.param('{"token": "{token}", "expires_in": [1]}', id="a list for a life"),
        pytest.param('{"a":' + "[" * 30_000, id="nested without end"),
        pytest.param('{"token": "' + "x" * 70_000 + '"}', id="longer than any token"),
    ],
)
async def test_what_is_no_token_is_one_clear_error(body: str) -> None:
    with FakeRegistry(auth="bearer", token_body=body or " ") as registry:
        async with store_in(registry) as store:
            with pytest.raises(RegistryProtocolError, match="token server"):
                await store.head(Tag("v1"))


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize(
    ("credential", "words"),
    [
        pytest.param(
            Credential(USERNAME, "wrong"),
            f"does not accept the credentials of {USERNAME}.*\\s.*ANYARCH_REGISTRY_PASSWORD or --password",
            id="wrong",
        ),
        pytest.param(None, r"wants credentials.*\s.*log in: docker login 127\.0\.0\.1:", id="none"),
    ],
)
async def test_bad_credentials_are_final_and_say_what_to_do(
    auth: str, credential: Credential | None, words: str
) -> None:
    clock = FakeClock()
    with FakeRegistry(auth=auth) as registry:
        async with store_in(registry, credential, clock) as store:
            with pytest.raises(AuthenticationError, match=words) as refused:
                await store.head(Tag("v1"))
        assert refused.value.exit_code == 21
        assert len(registry.seen) <= 2
    assert clock.slept == []


async def test_a_password_that_was_changed_meanwhile_is_not_shown_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeRegistry(auth="basic") as registry:
        async with store_in(registry) as store:
            await store.head(Tag("v1"))
            before = len(registry.seen)
            monkeypatch.setattr("tests.fake_registry._is_credential", lambda _value: False)
            with pytest.raises(AuthenticationError):
                await store.head(Tag("v1"))
        assert len(registry.seen) == before + 1


@pytest.mark.parametrize("given", [False, True], ids=["found", "given"])
@pytest.mark.parametrize(
    "host",
    [
        pytest.param("123456789012.dkr.ecr.eu-west-1.amazonaws.com", id="private"),
        pytest.param("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", id="FIPS"),
        pytest.param("123456789012.dkr-ecr.eu-west-1.on.aws", id="dual-stack"),
        pytest.param("public.ecr.aws", id="public"),
        pytest.param("registry.example.com", id="none of Amazon's"),
    ],
)
async def test_the_hint_is_what_would_count_next(host: str, given: bool) -> None:
    from anyarch.registry.auth import Authenticator
    from anyarch.registry.urls import Origin
    from anyarch.registry.wire import Wire

    clock = FakeClock().clock
    wire = Wire(lambda _request, _status: None)

    async def nothing(_: Credential | None) -> Credential | None:
        await anyio.lowlevel.checkpoint()
        return None

    origin = Origin("https", host, 443)
    error = Authenticator(host, origin, nothing, wire.open, clock, given=given).refused()
    amazons = host != "registry.example.com"
    if given:
        assert "ANYARCH_REGISTRY_PASSWORD" in error.hint
        assert ("AWS is asked" in error.hint) is amazons
        assert "log in" not in error.hint
    else:
        assert error.hint == f"log in: {'anyarch' if amazons else 'docker'} login {host}"


async def test_a_token_refused_right_after_it_was_bought_is_final() -> None:
    with FakeRegistry(auth="bearer") as registry:
        registry.faults.append(Fault("expired token", at=1))
        async with store_in(registry) as store:
            with pytest.raises(AuthenticationError):
                await store.head(Tag("v1"))
        assert len(registry.seen) == 3


async def test_a_wave_of_writes_outlives_a_registry_that_forgets_every_token() -> None:
    """Tokens of mounts from two repositories allow to write as well: neither answers the other's refusal."""
    blobs = IMAGE.manifest.layers[0], IMAGE.manifest.config
    with FakeRegistry(auth="bearer") as registry:
        async with store_in(registry) as store:
            for path, blob in zip(("team/one", "team/two"), blobs, strict=True):
                options = Options(credential=ROBOT, clock=FakeClock().clock)
                async with RegistryStore(Repository(registry.host, path), options) as source:
                    await upload(source, IMAGE)
                    await store.copy_blob(blob, source)
            registry.tokens.clear()
            async with anyio.create_task_group() as group:
                for number in range(4):
                    group.start_soon(store.put, Tag(f"v{number}"), IMAGE.manifest)
        assert len(registry.repositories.by_name["team/app"].tags) == 4


async def test_a_refused_action_is_denied_in_the_registrys_words() -> None:
    with FakeRegistry(head_denied=True) as registry:
        async with store_in(registry) as store:
            with pytest.raises(DeniedError, match="not authorized to perform ecr:BatchGetImage") as denied:
                await store.head(Tag("v1"))
    assert denied.value.exit_code == 22
    assert denied.value.facts["status"] == 403


async def test_a_token_server_in_trouble_is_tried_again() -> None:
    with FakeRegistry() as tokens, FakeRegistry(auth="bearer") as registry:
        tokens.unhandled.clear()
        registry.switches.realm = f"{tokens.origin}/v2/broken"
        tokens.faults.append(Fault("status", 503, times=100))
        async with store_in(registry) as store:
            with pytest.raises(RegistryUnavailableError, match="503"):
                await store.head(Tag("v1"))
        assert len(tokens.seen) == 6


async def test_a_token_server_that_is_not_found_is_not_a_missing_tag() -> None:
    with FakeRegistry() as tokens, FakeRegistry(auth="bearer") as registry:
        registry.switches.realm = f"{tokens.origin}/v2/broken"
        tokens.faults.append(Fault("status", 404, code="NAME_UNKNOWN"))
        async with store_in(registry) as store:
            with pytest.raises(AuthenticationError):
                await store.head(Tag("v1"))


@pytest.mark.parametrize(
    ("challenge", "error"),
    [
        pytest.param('Bearer realm="broken', RegistryProtocolError, id="malformed"),
        pytest.param("Negotiate", AuthenticationError, id="a scheme that we do not know"),
        pytest.param('Bearer service="x"', AuthenticationError, id="no realm"),
        pytest.param('Bearer realm="ftp://x/"', RegistryProtocolError, id="no http"),
        pytest.param(
            'Bearer realm="http://evil.example/t"', RegistryProtocolError, id="plain http elsewhere"
        ),
        pytest.param('Bearer realm="https://evil.example/t"', RegistryProtocolError, id="a stranger"),
    ],
)
async def test_challenges_that_are_not_followed(challenge: str, error: type[Exception]) -> None:
    with FakeRegistry(auth="bearer", challenge=challenge) as registry:
        async with store_in(registry) as store:
            with pytest.raises(error):
                await store.head(Tag("v1"))
        assert len(registry.seen) == 1


async def test_a_token_server_that_the_user_calls_insecure_is_refused_for_another_reason_if_at_all() -> None:
    with FakeRegistry(auth="bearer", challenge='Bearer realm="http://evil.example/t"') as registry:
        options = Options(credential=ROBOT, insecure=("evil.example",), clock=FakeClock().clock)
        async with RegistryStore(Repository(registry.host, "team/app"), options) as store:
            with pytest.raises(RegistryProtocolError, match="a host it has nothing to do with"):
                await store.head(Tag("v1"))


async def test_dockers_configuration_is_read_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("not json")
    with FakeRegistry() as registry:
        async with store_in(registry, None) as store:
            assert await store.head(Tag("v1")) is None
        registry.switches.auth = "basic"
        async with store_in(registry, None) as store:
            with pytest.raises(AuthenticationError, match="not valid JSON"):
                await store.head(Tag("v1"))


TRUSTED = "ANYARCH_TOKEN_HOSTS"


@pytest.mark.parametrize(
    ("value", "trusted"),
    [
        pytest.param("r.example.com=sso.example.net", {"sso.example.net"}, id="one"),
        pytest.param(
            "x.example=y.example, R.EXAMPLE.COM=A.example r.example.com=b.example",
            {"a.example", "b.example"},
            id="several",
        ),
        pytest.param("x.example=y.example", set(), id="another registry's"),
        pytest.param("r.example.com:5000=y.example", set(), id="another port is another registry"),
        pytest.param("", set(), id="none"),
    ],
)
def test_token_servers_are_trusted_for_one_registry_each(value: str, trusted: set[str]) -> None:
    assert trusted_token_hosts("r.example.com", {TRUSTED: value}) == trusted


@pytest.mark.parametrize("value", ["sso.example.net", "a=b=c", "=x", "a=https://x/", "*=x", "a=*"])
def test_words_that_trust_nobody_are_refused(value: str) -> None:
    with pytest.raises(UsageError, match=TRUSTED):
        trusted_token_hosts("a", {TRUSTED: value})


async def test_a_trusted_token_server_is_asked_with_the_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names of one machine; without trust, the second is refused before anything is sent."""
    with FakeRegistry(auth="bearer") as tokens, FakeRegistry(auth="bearer") as registry:
        registry.tokens = tokens.tokens
        other = tokens.origin.replace("127.0.0.1", "localhost")
        registry.switches.realm = f"{other}/token"
        async with store_in(registry) as store:
            with pytest.raises(RegistryProtocolError) as refused:
                await store.head(Tag("v1"))
        assert tokens.seen == []
        assert f"{TRUSTED}={registry.host}=localhost" in refused.value.hint
        monkeypatch.setenv(TRUSTED, refused.value.hint.rpartition(f"{TRUSTED}=")[2])
        async with store_in(registry) as store:
            assert await store.head(Tag("v1")) is None
        assert [seen.kind for seen in tokens.seen] == ["token"]


async def test_a_scope_of_the_registrys_own_is_asked_for_as_it_is() -> None:
    """ECR Public asks for "aws", which is no resource."""
    challenge = Challenge("bearer", {"realm": "https://r.example.com/token/", "scope": "aws"})
    scopes = frozenset({"repository:a:pull", "repository:a:push"})
    asked = token_request(Url.parse("https://r.example.com/token/"), challenge, scopes, None)
    assert parse_qs(asked.url.target.partition("?")[2])["scope"] == ["aws", "repository:a:pull,push"]


@pytest.mark.parametrize("renewed", [True, False])
async def test_a_credential_that_the_token_server_refuses_is_asked_for_once_more(renewed: bool) -> None:
    """A password may have expired between two tokens that it bought."""
    asked: list[Credential | None] = []

    async def source(refused: Credential | None) -> Credential:
        asked.append(refused)
        return ROBOT if renewed and refused is not None else Credential(USERNAME, "expired")

    with FakeRegistry(auth="bearer") as registry:
        options = Options(credential=source, clock=FakeClock().clock)
        async with RegistryStore(Repository(registry.host, "team/app"), options) as store:
            if renewed:
                assert await store.head(Tag("v1")) is None
            else:
                with pytest.raises(AuthenticationError):
                    await store.head(Tag("v1"))
        assert asked == [None, Credential(USERNAME, "expired")]
        assert registry.asked("GET", "token") == (2 if renewed else 1)
