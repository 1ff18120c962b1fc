"""What the doctor finds at registries that differ or misbehave."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyarch.checks import examine
from anyarch.errors import RegistryUnavailableError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.credential import Credential
from anyarch.registry.doctor import RegistryDoctor
from anyarch.registry.doctor_repository import exchange
from anyarch.registry.doctor_way import Way, _certified, speaks_tls
from anyarch.registry.requests import Request
from anyarch.registry.store import RegistryStore
from anyarch.registry.urls import Origin

from tests.builders import an_image, an_index, upload
from tests.certificates import Authority
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Fault
from tests.unit.registry.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anyarch.checks import Line

pytestmark = pytest.mark.anyio

V1 = Tag("v1")
IMAGE = an_image()
SECONDS_2027 = 1_800_000_000.0


async def examined(
    registry: FakeRegistry | str, *, target: Tag | None = None, credential: Credential | None = None
) -> dict[str, Line]:
    host = registry if isinstance(registry, str) else registry.host
    options = Options(credential=credential, clock=FakeClock(wall=SECONDS_2027).clock)
    repository = Repository(host, "team/app")
    doctor = RegistryDoctor(host, repository, target, options=options, source="from a test")
    try:
        return {line.name: line for line in await examine(doctor.checks())}
    finally:
        await doctor.aclose()


async def filled(registry: FakeRegistry) -> None:
    async with RegistryStore(Repository(registry.host, "team/app"), Options()) as store:
        await upload(store, IMAGE)
        await store.put(V1, an_index(IMAGE))
    registry.seen.clear()


def advised(lines: dict[str, Line]) -> bool:
    """Whether every line that is not ok says what to do, unless another one does for it."""
    return all(line.advice for line in lines.values() if line.verdict not in {"ok", "skipped"})


def verdicts(lines: dict[str, Line], *names: str) -> list[str]:
    return [lines[name].verdict for name in names]


async def test_a_good_registry_is_ok_in_every_line_that_can_be_known() -> None:
    with FakeRegistry(referrers=True) as registry:
        await filled(registry)
        lines = await examined(registry)
    assert {name for name, line in lines.items() if line.verdict == "unknown"} == {
        "clock",
        "delete",
        "tag mutability",
    }
    assert {line.verdict for line in lines.values()} == {"ok", "unknown"}
    assert advised(lines)
    assert "exit code 22 where it is not allowed, 27" in lines["delete"].advice
    assert "immutable or protected tags" in lines["tag mutability"].advice
    assert "OCI 1.1" in lines["referrers"].found


def test_what_speaks_no_http_is_no_registry_and_is_called_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(3):  # the way there, the first request, and whether it speaks TLS after all
                connection, _ = listener.accept()
                with connection:
                    if connection.recv(1024):
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        lines = anyio.run(examined, f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join(timeout=5)
    assert lines["registry"].verdict == "fail"
    assert "no registry answers there" in lines["registry"].advice


@pytest.mark.parametrize("mounts", [True, False])
async def test_nothing_is_left_behind(mounts: bool) -> None:
    with FakeRegistry(mounts=mounts) as registry:
        await filled(registry)
        before = (set(registry.repositories.by_name), set(registry.repositories.by_name["team/app"].blobs))
        await examined(registry)
        assert (
            set(registry.repositories.by_name),
            set(registry.repositories.by_name["team/app"].blobs),
        ) == before
        assert [seen.method for seen in registry.writes if seen.kind != "upload"] == []
        assert registry.asked("DELETE", "upload") == (1 if mounts else 2)
        assert registry.repositories.uploads.open == {}


async def test_an_upload_elsewhere_is_not_followed_there() -> None:
    with FakeRegistry() as storage, FakeRegistry(upload_origin=storage.origin) as registry:
        await filled(storage)
        lines = await examined(registry)
        assert storage.seen == []
    assert "left to expire" in lines["push"].found


async def test_an_empty_place_is_told_and_pushing_is_tried_all_the_same() -> None:
    with FakeRegistry() as registry:
        lines = await examined(registry)
    assert verdicts(lines, "pull", "push", "manifest", "mount") == ["warn", "ok", "unknown", "unknown"]
    assert advised(lines)
    assert "no repository team/app yet" in lines["pull"].found


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_credentials_that_are_accepted_are_named_by_their_source(auth: str) -> None:
    with FakeRegistry(auth=auth) as registry:
        lines = await examined(registry, credential=Credential(USERNAME, PASSWORD))
    assert (lines["credentials"].verdict, lines["credentials"].found) == ("ok", "accepted, from a test")
    assert lines["push"].verdict == "ok"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_credentials_that_are_not_accepted_stop_the_rest_and_stay_secret(auth: str) -> None:
    with FakeRegistry(auth=auth) as registry:
        lines = await examined(registry, credential=Credential(USERNAME, "canary-wrong"))
    assert lines["credentials"].verdict == "fail"
    assert "docker login" in lines["credentials"].advice
    assert verdicts(lines, "pull", "push", "clock") == ["skipped", "skipped", "unknown"]
    assert "canary" not in repr(lines)


async def test_a_front_door_that_is_closed_to_all_does_not_end_it() -> None:
    with FakeRegistry(auth="basic") as registry:
        registry.faults.append(Fault("status", status=403, code="DENIED", kind="ping", since=4, times=9))
        lines = await examined(registry, credential=Credential(USERNAME, PASSWORD))
    assert verdicts(lines, "credentials", "push") == ["unknown", "ok"]
    assert advised(lines)


async def test_a_missing_permission_to_push_is_the_only_failure() -> None:
    with FakeRegistry() as registry:
        await filled(registry)
        registry.faults.append(Fault("status", status=403, code="DENIED", method="POST", times=9))
        lines = await examined(registry, target=V1)
    assert [name for name, line in lines.items() if line.verdict == "fail"] == ["push"]
    assert "DENIED" in lines["push"].found
    assert verdicts(lines, "pull", "manifest", "mount") == ["ok", "ok", "skipped"]


@pytest.mark.parametrize(
    ("switches", "name", "said"),
    [
        pytest.param({"mounts": False}, "mount", "sent anew", id="no mounts"),
        pytest.param({"ranges": False}, "resumed downloads", "from the beginning", id="no ranges"),
        pytest.param({"head_digest": False}, "manifest", "does not tell", id="no digest on HEAD"),
        pytest.param({"head_manifests": False}, "manifest", "does not tell", id="no HEAD"),
        pytest.param({"referrers": False}, "referrers", "tags sha256-", id="no referrers"),
        pytest.param(
            {"upload_origin": "http://127.0.0.1:1"}, "push", "left to expire", id="uploads elsewhere"
        ),
    ],
)
async def test_what_a_registry_cannot_do_is_no_failure(
    switches: dict[str, Any], name: str, said: str
) -> None:
    with FakeRegistry() as registry:
        await filled(registry)
        for switch, value in switches.items():
            setattr(registry.switches, switch, value)
        lines = await examined(registry)
    assert said in lines[name].found
    assert lines[name].verdict in {"ok", "warn"}


async def test_a_tag_that_is_not_there_hinders_no_publishing() -> None:
    with FakeRegistry() as registry:
        await filled(registry)
        lines = await examined(registry, target=Tag("absent"))
    assert verdicts(lines, "manifest", "push", "mount") == ["warn", "ok", "unknown"]


@pytest.mark.parametrize(
    ("date", "verdict", "said"),
    [
        pytest.param("Fri, 15 Jan 2027 08:00:20 GMT", "ok", "within 20 s", id="twenty seconds"),
        pytest.param("Fri, 15 Jan 2027 08:05:00 GMT", "warn", "300 s behind", id="five minutes behind"),
        pytest.param("Fri, 15 Jan 2027 07:00:00 GMT", "warn", "3600 s ahead of", id="an hour ahead"),
        pytest.param("soon", "unknown", "does not say", id="no date"),
    ],
)
async def test_the_clock_is_held_against_the_registrys(date: str, verdict: str, said: str) -> None:
    with FakeRegistry() as registry:
        headers = {"Date": date, "RateLimit-Limit": "100;w=21600"}
        registry.faults.append(Fault("status", status=401, code="UNAUTHORIZED", headers=headers, times=3))
        lines = await examined(registry)
    assert (lines["clock"].verdict, said in lines["clock"].found) == (verdict, True)
    assert lines["rate limit"].found == "ratelimit-limit: 100;w=21600"


async def test_a_host_that_is_no_registry_is_told() -> None:
    with FakeRegistry() as registry:
        registry.faults.append(Fault("status", status=404, code="PAGE", times=9))
        lines = await examined(registry)
    assert lines["registry"].found.endswith("answers 404; a registry answers 200 or 401")
    assert verdicts(lines, "TLS", "latency", "credentials", "push") == ["ok", "skipped", "skipped", "skipped"]


async def test_a_port_that_nobody_listens_at_ends_it_there() -> None:
    with FakeRegistry() as registry:
        host = registry.host
    doctor = RegistryDoctor(host, None, None, options=Options(), source="")
    lines = {line.name: line for line in await examine(doctor.checks())}
    await doctor.aclose()
    assert "connection refused" in lines["connection"].found
    assert verdicts(lines, "proxy", "DNS", "TLS", "registry") == ["ok", "ok", "skipped", "skipped"]


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[Authority, Origin]]:
    """A port that speaks TLS, with a certificate for ``localhost`` of a private authority."""
    authority = Authority(tmp_path)
    context = authority.context("localhost")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as shaken:
                shaken.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield authority, Origin("https", "localhost", listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
    listener.close()
    thread.join(timeout=5)


async def way(origin: Origin) -> Sequence[Line]:
    return await examine(Way(origin).checks())


async def test_a_good_certificate_is_shown_with_its_end(
    tls: tuple[Authority, Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, origin = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    line = (await way(origin))[-1]
    assert line.verdict == "warn", "it is good for a day"
    assert "TLSv1." in line.found
    assert "renew" in line.advice


async def test_a_private_authority_is_told_from_a_wrong_name(
    tls: tuple[Authority, Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, origin = tls
    unknown = (await way(origin))[-1]
    assert unknown.verdict == "fail"
    assert "SSL_CERT_FILE" in unknown.advice
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    other = (await way(Origin("https", "127.0.0.1", origin.port)))[-1]
    assert other.verdict == "fail"
    assert "the name that the certificate has" in other.advice


async def test_tls_and_plain_http_are_told_apart_both_ways(tls: tuple[Authority, Origin]) -> None:
    _, origin = tls
    assert await speaks_tls(Origin("http", "localhost", origin.port))
    with FakeRegistry() as registry:
        port = int(registry.host.rpartition(":")[2])
        assert not await speaks_tls(Origin("http", "127.0.0.1", port))
        line = (await way(Origin("https", "127.0.0.1", port)))[-1]
    assert line.verdict == "fail"


@pytest.mark.parametrize(
    ("certificate", "verdict", "said"),
    [
        pytest.param({"notAfter": "Mar 15 00:00:00 2027 GMT"}, "ok", "good for 59 d", id="two months"),
        pytest.param({"notAfter": "Jan 20 00:00:00 2027 GMT"}, "warn", "good for 5 d", id="five days"),
        pytest.param({}, "unknown", "cannot be read", id="no end"),
        pytest.param(
            {"notAfter": "Mar 15 00:00:00 2027 GMT", "issuer": ((("organizationName", "Example CA"),),)},
            "ok",
            "by Example CA",
            id="an authority with a name",
        ),
    ],
)
def test_what_a_certificate_says(certificate: dict[str, object], verdict: str, said: str) -> None:
    line = _certified(certificate, "TLSv1.3", now=SECONDS_2027)
    assert (line.verdict, said in line.found) == (verdict, True)


def test_the_python_that_runs_this_tells_certificates() -> None:
    assert ssl.cert_time_to_seconds("Jan 15 08:00:00 2027 GMT") == SECONDS_2027


@pytest.mark.parametrize(
    ("host", "said"),
    [
        pytest.param("registry.example.com", "is the name right", id="it may be misspelt"),
        pytest.param("123456789012.dkr.ecr.eu-west-1.amazonws.com", "did you mean 1234", id="it is"),
    ],
)
async def test_a_registry_that_was_never_reached_is_not_called_busy(
    monkeypatch: pytest.MonkeyPatch, host: str, said: str
) -> None:
    """As where the service's own name can be resolved, and the registry's cannot."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with RegistryStore(Repository(host, "shop/api"), Options(credential=Credential("a", "b"))) as store:
        request = Request(method="GET", url=store.client.url(""), kind="tags")
        with pytest.raises(RegistryUnavailableError) as failed:
            async with exchange(store, request, frozenset()):
                pass
    assert said in failed.value.hint
    assert "asked too much" not in failed.value.hint
