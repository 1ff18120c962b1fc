"""No credential reaches a second origin, a message, a log or a ``repr``."""

from __future__ import annotations

import base64
import traceback
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import AnyarchError, RegistryProtocolError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.copy import copy_image
from anyarch.registry.credential import Credential
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, upload
from tests.fake_registry import IDENTITY_TOKEN, PASSWORD, TOKEN_PREFIX, USERNAME, FakeRegistry, Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from anyarch.registry.requests import Observer, Request

pytestmark = pytest.mark.anyio

IMAGE = an_image()
CANARIES = (
    PASSWORD,
    IDENTITY_TOKEN,
    TOKEN_PREFIX,
    base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode(),
    "canary-cookie",
)
IN_URLS = ("canary-signature", "canary-state")
CREDENTIALS = [
    pytest.param("basic", Credential(USERNAME, PASSWORD), id="Basic"),
    pytest.param("bearer", Credential(USERNAME, PASSWORD), id="Bearer"),
    pytest.param("bearer", Credential("", identity_token=IDENTITY_TOKEN), id="identity token"),
]


def store_in(
    registry: FakeRegistry, credential: Credential, path: str = "team/app", observer: Observer | None = None
) -> RegistryStore:
    options = Options(credential=credential, clock=FakeClock().clock, observer=observer)
    return RegistryStore(Repository(registry.host, path), options)


def assert_clean(text: str) -> None:
    assert [canary for canary in CANARIES if canary in text] == []


def assert_shows_nothing(text: str) -> None:
    assert_clean(text)
    assert [canary for canary in IN_URLS if canary in text] == []


def saw(registry: FakeRegistry) -> str:
    """Everything that a server was told."""
    return "\n".join(f"{seen.path}?{seen.query} {seen.headers} {seen.body!r}" for seen in registry.seen)


@pytest.mark.parametrize(("auth", "credential"), CREDENTIALS)
async def test_a_second_origin_never_sees_a_credential(auth: str, credential: Credential) -> None:
    with FakeRegistry(auth=auth) as registry, FakeRegistry(repositories=registry.repositories) as storage:
        registry.switches.upload_origin = storage.origin
        registry.switches.blob_redirect = storage.origin
        async with store_in(registry, credential) as store:
            await upload(store, IMAGE)
            config = await store.get_blob(IMAGE.manifest.config, max_bytes=10_000)
            assert config == IMAGE.blobs[IMAGE.manifest.config.digest]
            assert await store.has_blob(IMAGE.manifest.config)
        assert {seen.method for seen in storage.seen} == {"PUT", "GET", "HEAD"}
        assert "canary-cookie" not in saw(registry)
        told = saw(storage)
        assert "authorization" not in told.lower()
        assert "cookie" not in told.lower()
        assert_clean(told)


@pytest.mark.parametrize(("auth", "credential"), CREDENTIALS)
async def test_a_copy_shows_each_registry_only_its_own_credential(auth: str, credential: Credential) -> None:
    other = Credential("another", "another-password")
    with FakeRegistry(auth=auth) as source, FakeRegistry() as target:
        async with store_in(source, credential) as first, store_in(target, other) as second:
            await upload(first, IMAGE)
            await copy_image(first, second, IMAGE.digest)
        assert_clean(saw(target))
        assert "another" not in saw(source)


async def test_a_way_back_home_carries_no_credential() -> None:
    """A redirect to a stranger who redirects back must not make us show what the stranger may read."""
    credential = Credential(USERNAME, PASSWORD)
    with FakeRegistry(auth="basic") as registry, FakeRegistry() as stranger:
        registry.switches.blob_redirect = stranger.origin
        async with store_in(registry, credential) as store:
            registry.switches.upload_location = ""
            await upload(store, IMAGE)
            home = f"{registry.origin}/v2/team/app/manifests/v1"
            stranger.faults.append(Fault("status", 307, {"Location": home}))
            registry.switches.blob_redirect = f"{stranger.origin}/v2/team/app/blobs/x?"
            before = len(registry.seen)
            with pytest.raises(AnyarchError):
                await store.get_blob(IMAGE.manifest.config, max_bytes=10_000)
        back = [seen for seen in registry.seen[before:] if seen.path.endswith("/manifests/v1")]
        assert back
        assert [seen.authorization for seen in back] == [""] * len(back)


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("http://upload.example.com/x?canary-state", id="plain HTTP elsewhere"),
        pytest.param("http://robot:canary-state@127.0.0.1:1/x", id="user information"),
        pytest.param("file:///etc/passwd", id="no http"),
        pytest.param("http://169.254.169.254/latest", id="cloud metadata"),
    ],
)
async def test_upload_locations_that_are_not_followed(location: str) -> None:
    with FakeRegistry(upload_location=location) as registry:
        async with store_in(registry, Credential(USERNAME, PASSWORD)) as store:
            with pytest.raises(RegistryProtocolError) as refused:
                await upload(store, IMAGE)
        assert registry.asked("PUT", "upload") == 0
    assert_shows_nothing(str(refused.value))


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        pytest.param("http://storage.example.com", "which is not https", id="plain HTTP elsewhere"),
        pytest.param("http://169.254.169.254", "the link-local address", id="cloud metadata"),
    ],
)
async def test_redirects_that_are_not_followed(origin: str, said: str) -> None:
    with FakeRegistry() as registry:
        async with store_in(registry, Credential(USERNAME, PASSWORD)) as store:
            await upload(store, IMAGE)
            registry.switches.blob_redirect = origin
            with pytest.raises(RegistryProtocolError, match=said) as refused:
                await store.get_blob(IMAGE.manifest.config, max_bytes=10_000)
    assert_shows_nothing(str(refused.value))


@pytest.mark.parametrize(("auth", "credential"), CREDENTIALS)
async def test_no_failure_shows_a_secret(auth: str, credential: Credential) -> None:
    """Every message, fact, repr and traceback of every failing operation, searched for canaries."""
    said: list[str] = []

    def observe(request: Request, status: int) -> None:
        said.append(f"{request} {request!r} {status}")

    for fault in (
        Fault("echo", 400, times=99, code="UNSUPPORTED"),
        Fault("echo", 403, times=99, code="DENIED"),
        Fault("echo", 404, times=99, code="NAME_UNKNOWN"),
        Fault("echo", 500, times=99),
        Fault("reset after", times=99),
        Fault("truncated", times=99),
        Fault("status", 307, {"Location": "http://127.0.0.1:1/x?X-Amz-Signature=canary-signature"}, times=99),
    ):
        with FakeRegistry(auth=auth) as registry:
            async with store_in(registry, credential, observer=observe) as store:
                await store.tags()  # learns the challenge, and shows the credential from here on
                await upload(store, IMAGE)
                registry.faults.append(fault)
                for operation in (
                    lambda store=store: store.head(Tag("v1")),
                    lambda store=store: store.put(Tag("v1"), IMAGE.manifest),
                    lambda store=store: upload(store, an_image("linux/arm64")),
                    lambda store=store: store.tags(),
                ):
                    try:
                        await operation()
                    except AnyarchError as error:
                        said += [
                            str(error),
                            repr(error),
                            str(dict(error.facts)),
                            *traceback.format_exception(error),
                        ]
                said += [repr(store), repr(store.client), repr(vars(store.client)), repr(credential)]
    assert len(said) > 50
    assert_shows_nothing("\n".join(said))


# Each header that we read, with what the registry was shown in it.
ECHOES = {
    "a challenge that cannot be read": (401, {"WWW-Authenticate": 'Bearer realm="{sent}'}),
    "a scheme that nobody knows": (401, {"WWW-Authenticate": "{sent}"}),
    "a realm": (401, {"WWW-Authenticate": 'Bearer realm="https://x.example/{sent}"'}),
    "a scope": (401, {"WWW-Authenticate": 'Bearer realm="https://x.example/t",scope="{sent}"'}),
    "a redirect to plain HTTP": (307, {"Location": "http://x.example/{sent}"}),
    "a redirect to nowhere": (307, {"Location": "https://{sent}@x.example/"}),
    "a redirect to a private address": (307, {"Location": "http://10.0.0.1/{sent}?token={sent}"}),
    "a digest": (200, {"Docker-Content-Digest": "{sent}"}),
    "a content type": (200, {"Content-Type": "{sent}"}),
    "a range": (206, {"Content-Range": "{sent}"}),
    "a next page": (200, {"Link": '<https://x.example/{sent}>; rel="next"'}),
    "a link that cannot be read": (200, {"Link": "<{sent}"}),
    "an upload elsewhere": (202, {"Location": "http://x.example/{sent}"}),
    "a time to wait": (429, {"Retry-After": "{sent}"}),
    "a warning": (403, {"Warning": '299 - "{sent}"'}),
}


@pytest.mark.parametrize(("auth", "credential"), CREDENTIALS)
@pytest.mark.parametrize("name", ECHOES)
async def test_no_header_that_repeats_a_secret_gets_it_shown(
    auth: str, credential: Credential, name: str
) -> None:
    status, headers = ECHOES[name]
    said: list[str] = []
    with FakeRegistry(auth=auth) as registry:
        async with store_in(registry, credential) as store:
            await upload(store, IMAGE)
            await store.put(Tag("v1"), IMAGE.manifest)
            registry.faults.append(Fault("echo", status, headers, times=999))
            for operation in (
                lambda: store.head(Tag("v1")),
                lambda: store.get(Tag("v1")),
                lambda: store.put(Tag("v2"), IMAGE.manifest),
                lambda: store.get_blob(IMAGE.manifest.config, max_bytes=10_000),
                lambda: upload(store, an_image("linux/arm64")),
                store.tags,
            ):
                try:
                    await operation()
                except AnyarchError as error:
                    said += [str(error), repr(error), str(dict(error.facts)), str(error.args)]
                    said += traceback.format_exception(error)
    assert said, "something of it must fail"
    assert_shows_nothing("\n".join(said))


@pytest.mark.parametrize(("auth", "credential"), CREDENTIALS[1:])
async def test_a_token_server_that_repeats_what_it_was_shown(auth: str, credential: Credential) -> None:
    with FakeRegistry() as tokens, FakeRegistry(auth=auth) as registry:
        registry.switches.realm = f"{tokens.origin}/v2/broken"
        for status in (400, 401, 403, 500, 307):
            headers = {"Location": "https://x.example/{sent}", "WWW-Authenticate": "{sent}"}
            tokens.faults = [Fault("echo", status, headers, times=99, code="DENIED")]
            async with store_in(registry, credential) as store:
                with pytest.raises(AnyarchError) as failed:
                    await store.head(Tag("v1"))
            said = [str(failed.value), str(dict(failed.value.facts))]
            assert_shows_nothing("\n".join([*said, *traceback.format_exception(failed.value)]))


SIGNED_KEYS = (
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Goog-Signature",
    "Signature",
    "sig",
    "token",
    "x",
)


@pytest.mark.parametrize("key", SIGNED_KEYS)
async def test_no_signed_address_is_shown(key: str) -> None:
    """Where a blob or an upload is sent, by an address that is as good as a password."""
    said: list[str] = []

    def observe(request: Request, status: int) -> None:
        said.append(f"{request} {request!r} {status}")

    credential = Credential(USERNAME, PASSWORD)
    with FakeRegistry() as gone:
        signed = f"{gone.origin}/storage/x?{key}=canary-signature&a=canary-state"
    with FakeRegistry() as registry:
        async with store_in(registry, credential, observer=observe) as store:
            await upload(store, IMAGE)
            for fault in (
                Fault("status", 307, {"Location": signed}, method="GET", times=99),
                Fault("status", 202, {"Location": signed}, method="POST", times=99),
            ):
                registry.faults = [fault]
                for operation in (
                    lambda: store.get_blob(IMAGE.manifest.config, max_bytes=10_000),
                    lambda: upload(store, an_image("linux/arm64")),
                ):
                    try:
                        await operation()
                    except AnyarchError as error:
                        said += [str(error), str(dict(error.facts)), *traceback.format_exception(error)]
    assert any("storage" in each for each in said), "it was gone after"
    assert_shows_nothing("\n".join(said))


@pytest.mark.parametrize("value", ["line\nbreak", "", "spa ce", "ünicode", "x" * 40_000])
async def test_a_token_that_no_header_can_hold_is_refused_unseen(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeRegistry(auth="bearer") as registry:
        monkeypatch.setattr("tests.fake_registry.TOKEN_PREFIX", value)
        monkeypatch.setattr("tests.fake_registry.secrets.token_hex", lambda _length: "")
        async with store_in(registry, Credential(USERNAME, PASSWORD)) as store:
            with pytest.raises(RegistryProtocolError) as refused:
                await store.head(Tag("v1"))
    assert not value or value not in str(refused.value)
