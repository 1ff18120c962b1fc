"""Bodies that never end, wherever a registry may send one: cut off while they are read, in good order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from anyarch import errors
from anyarch.oci.media_type import MediaType
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.referrers import list_referrers
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, upload
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

pytestmark = pytest.mark.anyio

IMAGE: Final = an_image("linux/amd64")
OTHER: Final = an_image("linux/arm64")
LATEST: Final = Tag("latest")
SECONDS_MAX: Final = 20.0  # on a busy machine; the worst takes one
FLOODED_MAX_BYTES: Final = 64 * 1024 * 1024  # what is read, and what waits in the sockets of six tries
INDEX: Final = {"Content-Type": str(MediaType.OCI_INDEX)}
HERE: Final = {"Location": "/v2/team/app/manifests/latest"}


@dataclass(frozen=True)
class Case:
    """What is asked, what has no end, and which error that is; None: what counts had come before the body."""

    work: Callable[[RegistryStore], Awaitable[object]]
    fault: Callable[[], Fault]
    error: type[errors.AnyarchError] | None


def endless(status: int, headers: Mapping[str, str] | None = None, **which: str) -> Callable[[], Fault]:
    return lambda: Fault("endless", status, headers or {}, times=100, **which)  # type: ignore[arg-type]


def reading(store: RegistryStore) -> Awaitable[object]:
    return store.get(LATEST)


CASES: Final = {
    "a manifest": Case(reading, endless(200, INDEX), errors.RegistryProtocolError),
    "a refusal": Case(reading, endless(403), errors.DeniedError),
    "what is not there": Case(reading, endless(404), errors.NotFoundError),
    "a temporary error": Case(reading, endless(503), errors.RegistryUnavailableError),
    "a challenge": Case(reading, endless(401), errors.AuthenticationError),
    "redirects": Case(reading, endless(307, HERE), errors.RegistryProtocolError),
    "tags": Case(lambda store: store.tags(), endless(200), errors.RegistryProtocolError),
    "a token": Case(reading, endless(200, kind="token"), errors.RegistryProtocolError),
    "a token server's refusal": Case(reading, endless(403, kind="token"), errors.AuthenticationError),
    "referrers": Case(
        lambda store: list_referrers(store, IMAGE.digest), endless(200, INDEX), errors.RegistryProtocolError
    ),
    "a config": Case(
        lambda store: store.get_blob(IMAGE.manifest.config, max_bytes=100_000),
        endless(200),
        errors.ContentError,
    ),
    "the answer to a write": Case(
        lambda store: store.put(LATEST, IMAGE.manifest), endless(201, method="PUT"), None
    ),
    "the answer to a deletion": Case(
        lambda store: store.delete(IMAGE.digest), endless(202, method="DELETE"), None
    ),
    "the answers to an upload": Case(
        lambda store: upload(store, OTHER), endless(201, method="PUT", kind="upload"), errors.NotFoundError
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_body_without_an_end_is_cut_off(name: str) -> None:
    case = CASES[name]
    fault = case.fault()
    started = time.monotonic()
    with FakeRegistry(auth="bearer", referrers=True) as registry:
        options = Options(credential=Credential(USERNAME, PASSWORD), clock=FakeClock().clock)
        async with RegistryStore(Repository(registry.host, "team/app"), options) as store:
            await upload(store, IMAGE)
            await store.put(LATEST, IMAGE.manifest)
        registry.faults.append(fault)
        async with RegistryStore(Repository(registry.host, "team/app"), options) as store:
            if case.error is None:
                await case.work(store)
            else:
                with pytest.raises(case.error):
                    await case.work(store)
        assert 0 < registry.flooded < FLOODED_MAX_BYTES
    assert time.monotonic() - started < SECONDS_MAX
