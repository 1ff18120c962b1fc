from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import dagger
import gql
import pytest
from anyarch import errors
from anyarch.oci.digest import Digest
from anyarch.registry import retry
from dagger._exceptions import QueryErrorValue
from pipeline import place
from pipeline.place import Place

from tests.memory_store import MemoryStore

if TYPE_CHECKING:
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.reference import Tag

REPOSITORY = "registry.example.com/team/app"
DIGEST = Digest.of(b"image")


class Engine:
    """A container of which only publish and the credentials matter."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.addresses: list[str] = []
        self.account: tuple[str, str] | None = None

    def with_registry_auth(self, host: str, username: str, _: dagger.Secret) -> Engine:
        self.account = (host, username)
        return self

    async def publish(self, address: str) -> str:
        self.addresses.append(address)
        answer = self.answers.pop(0)
        if "@" in answer:
            return answer
        raise dagger.QueryError([QueryErrorValue(answer)], gql.gql("{ version }"))

    @property
    def container(self) -> dagger.Container:
        return cast("dagger.Container", self)


class Secret:
    def __init__(self, text: str) -> None:
        self.text = text

    async def plaintext(self) -> str:
        return self.text


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(_: float) -> None:
        return

    monkeypatch.setattr(place, "Retry", partial(retry.Retry, clock=retry.Clock(sleep=sleep)))


async def a_place(**words: object) -> Place:
    password = cast("dagger.Secret", Secret("s3cret\n")) if words.pop("with_password", False) else None
    username = str(words.pop("username", ""))
    return await Place.of(str(words.pop("repository", REPOSITORY)), username, password, insecure=False)


@pytest.mark.anyio
async def test_a_push_names_a_digest_and_never_a_tag() -> None:
    engine = Engine(f"{REPOSITORY}@{DIGEST}")
    shop = await a_place()
    assert await shop.push(engine.container, MemoryStore()) == DIGEST
    assert engine.addresses == [f"{REPOSITORY}@sha256:{'0' * 64}"]
    assert engine.account is None


@pytest.mark.anyio
@pytest.mark.usefixtures("_no_waiting")
async def test_a_push_survives_faults_that_pass() -> None:
    engine = Engine("POST: 502 Bad Gateway", "read: connection reset by peer", f"{REPOSITORY}@{DIGEST}")
    shop = await a_place()
    assert await shop.push(engine.container, MemoryStore()) == DIGEST
    assert len(engine.addresses) == 3


@pytest.mark.anyio
@pytest.mark.usefixtures("_no_waiting")
async def test_a_push_that_never_works_ends_with_the_registrys_words() -> None:
    engine = Engine(*["POST: 503 Service Unavailable"] * 10)
    shop = await a_place()
    with pytest.raises(errors.RegistryUnavailableError, match=r"503 Service Unavailable; 6 tries"):
        await shop.push(engine.container, MemoryStore())


@pytest.mark.anyio
async def test_refused_credentials_are_not_tried_again() -> None:
    engine = Engine("authorization failed: no basic auth credentials", f"{REPOSITORY}@{DIGEST}")
    shop = await a_place()
    with pytest.raises(errors.AuthenticationError):
        await shop.push(engine.container, MemoryStore())
    assert len(engine.addresses) == 1


class Renewing(MemoryStore):
    """A registry that takes only one password, and asks for another as the client does."""

    def __init__(self, shop: Place, good: str) -> None:
        super().__init__()
        self.shop, self.good = shop, good

    async def get(self, target: Digest | Tag) -> Manifest:
        shown = await self.shop.credential()
        if shown is not None and shown.password != self.good:
            shown = await self.shop.credential(shown)
        if shown is None or shown.password != self.good:
            raise errors.AuthenticationError("the registry does not accept it: it has expired")
        return await super().get(target)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that the engine was given."""
    passwords: list[str] = []

    def set_secret(name: str, plaintext: str) -> str:
        passwords.append(plaintext)
        return name

    monkeypatch.setattr(dagger.dag, "set_secret", set_secret)
    return passwords


HEAD = f"unexpected status from HEAD request to https://{REPOSITORY}/blobs/{DIGEST}: 403 Forbidden"


@pytest.mark.anyio
@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize(
    "refusal", [HEAD, "authorization failed: no basic auth credentials"], ids=["403", "401"]
)
async def test_a_password_that_expires_in_mid_push_is_asked_for_anew(given: list[str], refusal: str) -> None:
    first, other = cast("dagger.Secret", Secret("held\n")), cast("dagger.Secret", Secret("fresh\n"))
    shop = await Place.of(REPOSITORY, "AWS", first, insecure=False, another=other)
    engine = Engine(refusal, f"{REPOSITORY}@{DIGEST}")
    assert await shop.push(engine.container, Renewing(shop, "fresh")) == DIGEST
    assert given == ["held", "fresh"], "what was refused is not shown again"
    later = await shop.credential()
    assert later is not None
    assert later.password == "fresh"


@pytest.mark.anyio
@pytest.mark.usefixtures("_no_waiting")
async def test_without_another_password_the_registrys_own_words_are_told(given: list[str]) -> None:
    class Failing(Secret):
        async def plaintext(self) -> str:
            raise dagger.QueryError([QueryErrorValue("failed to run secret command")], gql.gql("{ version }"))

    first, other = cast("dagger.Secret", Secret("held")), cast("dagger.Secret", Failing(""))
    shop = await Place.of(REPOSITORY, "AWS", first, insecure=False, another=other)
    with pytest.raises(errors.AuthenticationError, match="it has expired"):
        await shop.push(Engine(HEAD).container, Renewing(shop, "fresh"))
    assert given == ["held"]


@pytest.mark.anyio
@pytest.mark.usefixtures("given")
async def test_a_denial_with_a_good_password_is_final() -> None:
    shop = await Place.of(REPOSITORY, "AWS", cast("dagger.Secret", Secret("held")), insecure=False)
    engine = Engine(HEAD, f"{REPOSITORY}@{DIGEST}")
    with pytest.raises(errors.DeniedError, match="403 Forbidden"):
        await shop.push(engine.container, Renewing(shop, "held"))
    assert len(engine.addresses) == 1


@pytest.mark.anyio
async def test_credentials_go_to_the_registrys_host_and_lose_the_lines_end() -> None:
    engine = Engine(f"{REPOSITORY}@{DIGEST}")
    shop = await a_place(username="robot", with_password=True)
    await shop.push(engine.container, MemoryStore())
    assert engine.account == ("registry.example.com", "robot")
    credential = await shop.credential()
    assert credential is not None
    assert (credential.username, credential.password) == ("robot", "s3cret")
    assert "s3cret" not in repr(shop)


@pytest.mark.anyio
async def test_a_user_without_a_password_is_a_mistake_but_a_password_without_a_user_is_none() -> None:
    with pytest.raises(errors.UsageError, match="--username without --password"):
        await a_place(username="robot")
    assert await (await a_place(with_password=True)).credential() is None


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1:5000", "[::1]:5000"])
async def test_a_registry_on_localhost_is_refused_because_it_would_be_the_engines(host: str) -> None:
    with pytest.raises(errors.UsageError, match="inside an engine"):
        await a_place(repository=f"{host}/app")


@pytest.mark.anyio
@pytest.mark.usefixtures("_no_waiting")
async def test_every_try_of_a_push_asks_for_the_password_of_that_moment(given: list[str]) -> None:
    """A build may outlast the session that its password began with."""
    secret = Secret("at first\n")
    shop = await Place.of(REPOSITORY, "AWS", cast("dagger.Secret", secret), insecure=False)
    secret.text = "later\n"
    engine = Engine("POST: 502 Bad Gateway", f"{REPOSITORY}@{DIGEST}")
    await shop.push(engine.container, MemoryStore())
    assert given == ["later", "later"]
