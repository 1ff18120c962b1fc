"""What clients rely on in the distribution specification, asked of our fake and of three real registries.

This holds the fake to what real servers do, so that what is proved against it is worth something. Where a
server differs from the specification, that is written down in ``DIFFERS`` and checked as it is: the day it
changes, the test says so. https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from anyarch.oci.digest import Digest
from anyarch.registry.links import next_link
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, an_index
from tests.contract.places import PLACES
from tests.fake_registry import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD, V3, OLAREG, FAKE = "docker-registry 2.8", "distribution 3", "olareg", "fake registry"
# (who, what): the status that it answers instead of the specification's.
DIFFERS: Final[dict[tuple[str, str], int]] = {
    (OLD, "a chunk out of order"): 202,
    (OLD, "referrers"): 404,
    (V3, "referrers"): 404,
    (OLAREG, "GET of an upload given up"): 400,
    (OLAREG, "another media type"): 201,
    (OLAREG, "both kinds"): 201,
}
WITHOUT_PAGES: Final = frozenset({OLD})  # all tags at once, whatever n says
CONTENT: Final = bytes(range(256)) * 40
DIGEST: Final = str(Digest.of(CONTENT))
ABSENT: Final = f"sha256:{'0' * 64}"
IMAGE: Final = an_image()
ARM: Final = an_image("linux/arm64")
BINARY: Final = {"Content-Type": "application/octet-stream"}
_numbers = count()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def codes(self) -> list[str]:
        return [error["code"] for error in json.loads(self.body)["errors"]]


@dataclass(frozen=True)
class Server:
    """A registry, and one repository of it that nobody used before."""

    name: str
    host: str
    repository: str

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """One request below the repository; ``path`` may also be a Location."""
        parts = urlsplit(path)
        if not path.startswith(("/", "http")):
            path = f"/v2/{self.repository}/{path}"
        elif parts.netloc:
            path = f"{parts.path}?{parts.query}"
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.request(
                method, path, body or None, {"Content-Length": str(len(body)), **(headers or {})}
            )
            answer = connection.getresponse()
            try:
                received = answer.read()
            except http.client.IncompleteRead as error:
                received = error.partial
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, received)
        finally:
            connection.close()

    def expects(self, answer: Answer, *statuses: int, what: str) -> None:
        """Hold an answer to the specification, or to how this server is known to differ."""
        known = DIFFERS.get((self.name, what))
        assert answer.status in ({known} if known else set(statuses)), (self.name, what, answer)

    def begin(self) -> str:
        answer = self.ask("POST", "blobs/uploads/")
        assert answer.status == 202
        return answer.headers["location"]

    def upload(self, content: bytes) -> str:
        digest = str(Digest.of(content))
        answer = self.ask("PUT", _with_digest(self.begin(), digest), content, BINARY)
        assert answer.status == 201
        return digest

    def put(self, target: object, raw: bytes, media_type: str) -> Answer:
        return self.ask("PUT", f"manifests/{target}", raw, {"Content-Type": media_type})

    def push(self, tag: str = "v1") -> str:
        """A whole image under a tag; its digest."""
        for content in IMAGE.blobs.values():
            self.upload(content)
        assert self.put(tag, IMAGE.manifest.raw, IMAGE.manifest.media_type).status == 201
        return str(IMAGE.digest)


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


@pytest.fixture(scope="module", params=[FAKE, OLD, V3, OLAREG])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, peers: Path
) -> Iterator[tuple[str, str]]:
    if request.param == FAKE:
        with FakeRegistry(referrers=True) as registry:
            yield FAKE, registry.host
        return
    with PLACES[request.param](tmp_path_factory.mktemp("place"), peers) as opened:
        store = opened.open("any/where")
        assert isinstance(store, RegistryStore)
        yield request.param, store.repository.host


@pytest.fixture
def server(place: tuple[str, str]) -> Server:
    return Server(*place, f"team/app{next(_numbers)}")


def test_a_blob_in_one_piece(server: Server) -> None:
    answer = server.ask("PUT", _with_digest(server.begin(), DIGEST), CONTENT, BINARY)
    server.expects(answer, 201, what="PUT of a blob")
    assert answer.headers["location"]
    for method in ("GET", "HEAD"):
        found = server.ask(method, f"blobs/{DIGEST}")
        assert (found.status, int(found.headers["content-length"])) == (200, len(CONTENT))
        assert found.body == (CONTENT if method == "GET" else b"")


def test_a_blob_in_chunks(server: Server) -> None:
    location = server.begin()
    for first, last in ((0, 4095), (4096, len(CONTENT) - 1)):
        headers = {**BINARY, "Content-Range": f"{first}-{last}"}
        answer = server.ask("PATCH", location, CONTENT[first : last + 1], headers)
        server.expects(answer, 202, what="PATCH")
        assert answer.headers["range"] == f"0-{last}"
        location = answer.headers["location"]
    server.expects(server.ask("PUT", _with_digest(location, DIGEST)), 201, what="PUT after chunks")
    assert server.ask("GET", f"blobs/{DIGEST}").body == CONTENT


def test_the_last_chunk_may_come_with_the_end(server: Server) -> None:
    answer = server.ask("PATCH", server.begin(), CONTENT[:5000], {**BINARY, "Content-Range": "0-4999"})
    headers = {**BINARY, "Content-Range": f"5000-{len(CONTENT) - 1}"}
    location = _with_digest(answer.headers["location"], DIGEST)
    server.expects(server.ask("PUT", location, CONTENT[5000:], headers), 201, what="PUT with the last chunk")
    assert server.ask("GET", f"blobs/{DIGEST}").body == CONTENT


def test_an_upload_says_how_far_it_is(server: Server) -> None:
    location = server.ask("PATCH", server.begin(), CONTENT[:5000], BINARY).headers["location"]
    answer = server.ask("GET", location)
    server.expects(answer, 204, what="GET of an upload")
    assert answer.headers["range"] == "0-4999"


def test_a_chunk_out_of_order_is_refused(server: Server) -> None:
    answer = server.ask("PATCH", server.begin(), CONTENT[:100], {**BINARY, "Content-Range": "50-149"})
    server.expects(answer, 416, what="a chunk out of order")


def test_an_upload_can_be_given_up(server: Server) -> None:
    location = server.begin()
    server.expects(server.ask("DELETE", location), 204, what="DELETE of an upload")
    server.expects(server.ask("GET", location), 404, what="GET of an upload given up")


def test_bytes_that_are_not_the_digest_are_refused(server: Server) -> None:
    answer = server.ask("PUT", _with_digest(server.begin(), ABSENT), CONTENT, BINARY)
    server.expects(answer, 400, what="a wrong digest")
    assert set(answer.codes) <= {"DIGEST_INVALID", "BLOB_UPLOAD_INVALID"}
    assert server.ask("HEAD", f"blobs/{ABSENT}").status == 404


def test_a_blob_is_mounted(server: Server) -> None:
    server.upload(CONTENT)
    other = Server(server.name, server.host, f"{server.repository}/other")
    answer = other.ask("POST", f"blobs/uploads/?mount={DIGEST}&from={server.repository}")
    server.expects(answer, 201, what="mount")
    assert other.ask("GET", f"blobs/{DIGEST}").body == CONTENT


def test_a_mount_of_what_is_not_there_becomes_an_upload(server: Server) -> None:
    answer = server.ask("POST", f"blobs/uploads/?mount={DIGEST}&from=team/nobody")
    server.expects(answer, 202, what="mount of what is not there")
    assert server.ask("PUT", _with_digest(answer.headers["location"], DIGEST), CONTENT).status == 201


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param("bytes=0-9", CONTENT[:10], id="the first ten"),
        pytest.param("bytes=100-", CONTENT[100:], id="from the hundredth"),
        pytest.param(f"bytes=100-{len(CONTENT) * 2}", CONTENT[100:], id="beyond the end"),
    ],
)
def test_a_part_of_a_blob(server: Server, asked: str, expected: bytes) -> None:
    server.upload(CONTENT)
    answer = server.ask("GET", f"blobs/{DIGEST}", headers={"Range": asked})
    server.expects(answer, 206, what="Range")
    assert answer.body == expected
    first = CONTENT.index(expected) if asked == "bytes=0-9" else 100
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(CONTENT)}"


def test_a_part_behind_the_end_is_refused(server: Server) -> None:
    server.upload(CONTENT)
    answer = server.ask("GET", f"blobs/{DIGEST}", headers={"Range": f"bytes={len(CONTENT)}-"})
    server.expects(answer, 416, what="a range behind the end")


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_a_manifest_comes_back_as_it_was(server: Server, by: str) -> None:
    digest = server.push()
    for method in ("GET", "HEAD"):
        answer = server.ask(
            method,
            f"manifests/{'v1' if by == 'tag' else digest}",
            headers={"Accept": IMAGE.manifest.media_type},
        )
        assert answer.status == 200
        assert answer.headers["docker-content-digest"] == digest
        assert answer.headers["content-type"] == IMAGE.manifest.media_type
        assert int(answer.headers["content-length"]) == IMAGE.manifest.size
        assert answer.body == (IMAGE.manifest.raw if method == "GET" else b"")


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        pytest.param("manifests/absent", {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"}, id="a tag"),
        pytest.param(f"manifests/{ABSENT}", {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"}, id="a manifest"),
        pytest.param(f"blobs/{ABSENT}", {"BLOB_UNKNOWN", "NAME_UNKNOWN"}, id="a blob"),
    ],
)
def test_what_is_not_there(server: Server, path: str, codes: set[str]) -> None:
    server.push()
    answer = server.ask("GET", path)
    assert answer.status == 404
    assert set(answer.codes) <= codes
    head = server.ask("HEAD", path)
    assert (head.status, head.body) == (404, b"")


def _index(**changes: Any) -> bytes:  # noqa: ANN401  any JSON
    return json.dumps({**json.loads(an_index(IMAGE).raw), **changes}).encode()


@pytest.mark.parametrize(
    ("what", "target", "raw"),
    [
        pytest.param("a missing child", "v2", an_index(IMAGE, ARM).raw, id="a missing child"),
        pytest.param("another digest", ABSENT, an_index(IMAGE).raw, id="under another digest"),
        pytest.param("no JSON", "v2", b"<html>", id="no JSON"),
        pytest.param("cut off", "v2", an_index(IMAGE).raw[:-9], id="cut off"),
        pytest.param(
            "another media type",
            "v2",
            _index(mediaType=str(IMAGE.manifest.media_type)),
            id="another media type",
        ),
        pytest.param("both kinds", "v2", _index(layers=[], config={}), id="both kinds at once"),
    ],
)
def test_a_manifest_that_is_refused(server: Server, what: str, target: str, raw: bytes) -> None:
    server.push()
    answer = server.put(target, raw, an_index(IMAGE).media_type)
    server.expects(answer, 400, 404, what=what)
    if (server.name, what) not in DIFFERS:
        assert server.ask("HEAD", f"manifests/{target}").status == 404


def test_tags_come_in_order_and_page_by_page(server: Server) -> None:
    for tag in ("b", "a", "d", "c"):
        server.push(tag)
    path: str | None = "tags/list?n=2"
    found: list[str] = []
    while path:
        answer = server.ask("GET", path)
        assert answer.status == 200
        document = json.loads(answer.body)
        assert document["name"] == server.repository
        assert len(document["tags"]) == (4 if server.name in WITHOUT_PAGES else 2)
        found += document["tags"]
        path = next_link([answer.headers.get("link", "")])
    assert found == ["a", "b", "c", "d"]
    rest = json.loads(server.ask("GET", "tags/list?n=9&last=b").body)["tags"]
    assert rest == (["a", "b", "c", "d"] if server.name in WITHOUT_PAGES else ["c", "d"])


def test_who_refers_to_a_manifest(server: Server) -> None:
    digest = server.push()
    kinds = ("application/vnd.example.signature", "application/vnd.example.sbom")
    for kind in kinds:
        raw = json.dumps(
            {
                **json.loads(IMAGE.manifest.raw),
                "artifactType": kind,
                "subject": {
                    "mediaType": IMAGE.manifest.media_type,
                    "digest": digest,
                    "size": IMAGE.manifest.size,
                },
            }
        ).encode()
        answer = server.put(Digest.of(raw), raw, IMAGE.manifest.media_type)
        assert answer.status == 201
    answer = server.ask("GET", f"referrers/{digest}")
    server.expects(answer, 200, what="referrers")
    if answer.status == 200:
        assert answer.headers["content-type"].startswith("application/vnd.oci.image.index.v1+json")
        assert {each["artifactType"] for each in json.loads(answer.body)["manifests"]} == set(kinds)
        chosen = server.ask("GET", f"referrers/{digest}?artifactType={kinds[0]}")
        listed = json.loads(chosen.body)["manifests"]
        if chosen.headers.get("oci-filters-applied"):
            assert [each["artifactType"] for each in listed] == [kinds[0]]
        assert json.loads(server.ask("GET", f"referrers/{ABSENT}").body)["manifests"] == []


def test_a_manifest_is_deleted_by_digest(server: Server) -> None:
    digest = server.push()
    answer = server.ask("DELETE", f"manifests/{digest}")
    server.expects(answer, 202, what="DELETE of a manifest")
    if answer.status == 202:
        for target in (digest, "v1"):
            assert server.ask("HEAD", f"manifests/{target}").status == 404
        server.expects(server.ask("DELETE", f"manifests/{digest}"), 404, what="DELETE once more")
