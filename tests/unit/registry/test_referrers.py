"""Who is about a digest, as registries list it or do not."""

from __future__ import annotations

import pytest
from anyarch.errors import DeniedError, RegistryProtocolError
from anyarch.oci import strict_json
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Manifest
from anyarch.oci.reference import Repository
from anyarch.registry.client import Options
from anyarch.registry.referrers import list_referrers
from anyarch.registry.store import RegistryStore

from tests.builders import BuiltImage, an_image, upload
from tests.fake_registry import FakeRegistry, Fault
from tests.unit.registry.clocks import FakeClock

pytestmark = pytest.mark.anyio

IMAGE = an_image()


def about(image: BuiltImage, kind: str = "application/vnd.example.signature") -> Manifest:
    """A manifest whose subject is ``image``, with the image's own blobs as content."""
    document = dict(image.manifest.document)
    subject = image.manifest.descriptor.to_oci()
    return Manifest.from_bytes(strict_json.dumps({**document, "artifactType": kind, "subject": subject}))


def store_in(registry: FakeRegistry) -> RegistryStore:
    return RegistryStore(Repository(registry.host, "team/app"), Options(clock=FakeClock().clock))


async def test_a_registry_of_oci_1_1_lists_them() -> None:
    with FakeRegistry(referrers=True) as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            signature = about(IMAGE)
            await store.put(signature.digest, signature)
            found = await list_referrers(store, IMAGE.digest)
            assert found is not None
            assert [each.digest for each in found] == [signature.digest]
            assert found[0].extra["artifactType"] == "application/vnd.example.signature"
            assert await list_referrers(store, Digest.of(b"nobody wrote this")) == []


async def test_an_older_one_does_not_know_the_question() -> None:
    with FakeRegistry() as registry:
        async with store_in(registry) as store:
            assert await list_referrers(store, IMAGE.digest) is None


async def test_a_denial_is_not_taken_for_an_empty_list() -> None:
    with FakeRegistry(referrers=True) as registry:
        registry.faults.append(Fault("status", status=403, code="DENIED"))
        async with store_in(registry) as store:
            with pytest.raises(DeniedError):
                await list_referrers(store, IMAGE.digest)


async def test_a_list_that_goes_on_elsewhere_is_refused() -> None:
    with FakeRegistry(referrers=True, referrers_link="http://127.0.0.1:1/v2/x/referrers/y") as registry:
        async with store_in(registry) as store:
            with pytest.raises(RegistryProtocolError, match="elsewhere"):
                await list_referrers(store, IMAGE.digest)


async def test_more_referrers_than_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyarch.registry.referrers._REFERRERS_MAX", 3)
    again = f"/v2/team/app/referrers/{IMAGE.digest}"
    with FakeRegistry(referrers=True, referrers_link=again) as registry:
        async with store_in(registry) as store:
            await upload(store, IMAGE)
            signature = about(IMAGE)
            await store.put(signature.digest, signature)
            with pytest.raises(RegistryProtocolError, match="more than the 3 allowed"):
                await list_referrers(store, IMAGE.digest)
        assert registry.asked("GET", "referrers") == 4
