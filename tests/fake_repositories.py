"""What the fake registry keeps, and its answers to requests that are authorised."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.fake_registry import Switches

MANIFEST_MAX_BYTES: Final = 4 * 1024 * 1024
_ROUTE: Final = re.compile(
    r"/v2/(?P<name>[a-z0-9/._-]+?)/"
    r"(?:manifests/(?P<reference>[^/]+)|blobs/uploads/(?P<session>[0-9a-f]*)|blobs/(?P<digest>[^/]+)|(?P<tags>tags/list)|referrers/(?P<subject>[^/]+))"
)
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_STORAGE: Final = re.compile(r"/storage/(?P<name>[a-z0-9/._-]+)/(?P<what>blob|upload)/(?P<key>[a-z0-9:]+)")


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    number: int = -1
    refused: bool = False  # 401

    @property
    def is_api(self) -> bool:
        return self.path.startswith("/v2/")

    @property
    def kind(self) -> str:
        if self.path == "/token":
            return "token"
        if self.path.startswith("/storage/"):
            return "storage"
        match = _ROUTE.fullmatch(self.path)
        if match is None:
            return "ping"
        if match["tags"] or match["subject"]:
            return "tags" if match["tags"] else "referrers"
        return "manifest" if match["reference"] else "blob" if match["digest"] else "upload"

    @property
    def authorization(self) -> str:
        return {name.lower(): value for name, value in self.headers.items()}.get("authorization", "")

    @property
    def scopes(self) -> frozenset[str]:
        """What a token must grant for it, one action each."""
        match = _ROUTE.fullmatch(self.path)
        if match is None:
            return frozenset()
        pull = f"repository:{match['name']}:pull"
        more = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(self.method, "push")
        more = "push" if self.kind == "upload" else more
        return frozenset({pull, f"repository:{match['name']}:{more}"})

    def argument(self, name: str) -> str:
        return parse_qs(self.query).get(name, [""])[0]


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)


def failure(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, body)


class Repositories:
    """Every repository of one registry."""

    def __init__(self) -> None:
        self.by_name: dict[str, Repository] = {}
        from tests.fake_uploads import Uploads  # it needs the words of this module

        self.uploads = Uploads()

    def reply(self, seen: Seen, switches: Switches) -> Reply | None:
        if (storage := _STORAGE.fullmatch(seen.path)) is not None:
            return self._storage(seen, storage)
        match = _ROUTE.fullmatch(seen.path)
        if match is None:
            return Reply(200, {"Content-Type": "application/json"}, b"{}") if seen.path == "/v2/" else None
        name = match["name"]
        answers: dict[str, Callable[[], Reply | None]] = {
            "manifest": lambda: self._manifest(seen, name, match["reference"], switches),
            "tags": lambda: self._tags(seen, name, switches),
            "referrers": lambda: self._referrers(name, match["subject"], switches),
            "blob": lambda: self._blob(seen, name, match["digest"], switches),
            "upload": lambda: self._upload(seen, name, match["session"], switches),
        }
        return answers[seen.kind]()

    def incomplete(self) -> list[str]:
        """Every tag that points at something with a part missing."""
        return [
            f"{name}:{tag}"
            for name, repository in self.by_name.items()
            for tag, digest in repository.tags.items()
            if digest not in repository.manifests
            or _missing(repository, json.loads(repository.manifests[digest][1])) is not None
        ]

    def _manifest(self, seen: Seen, name: str, reference: str, switches: Switches) -> Reply | None:
        if seen.method == "PUT":
            return self._put_manifest(seen, name, reference, switches)
        if seen.method == "DELETE":
            return self._delete_manifest(name, reference, switches)
        if seen.method not in {"GET", "HEAD"}:
            return None
        if seen.method == "HEAD" and not switches.head_manifests:
            return failure(405, "UNSUPPORTED", "no HEAD here")
        if switches.head_denied:
            return failure(403, "DENIED", "robot is not authorized to perform ecr:BatchGetImage")
        return self._read_manifest(name, reference, switches)

    def _read_manifest(self, name: str, reference: str, switches: Switches) -> Reply:
        repository = self.by_name.get(name)
        if repository is None:
            return failure(404, "NAME_UNKNOWN", "no such repository")
        digest = repository.tags.get(reference, reference)
        lag = repository.lags.get(digest, 0)
        if lag > 0 or digest not in repository.manifests:
            repository.lags[digest] = max(0, lag - 1)
            return failure(404, "MANIFEST_UNKNOWN", "manifest unknown")
        media_type, raw = repository.manifests[digest]
        headers = {"Content-Type": media_type}
        if switches.head_digest:
            headers["Docker-Content-Digest"] = digest
        return Reply(200, headers, raw)

    def _put_manifest(self, seen: Seen, name: str, reference: str, switches: Switches) -> Reply:
        repository = self.by_name.setdefault(name, Repository())
        digest = digest_of(seen.body)
        media_type = {key.lower(): value for key, value in seen.headers.items()}.get("content-type", "")
        refusal = _refusal(repository, seen.body, media_type)
        if refusal is not None:
            return refusal
        if ":" in reference and reference != digest:
            return failure(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        if switches.immutable_tags and reference in repository.tags:
            words = f"tag {reference} already exists and cannot be overwritten because the tag is immutable"
            return failure(400, "TAG_INVALID", words)
        repository.manifests[digest] = (media_type, seen.body)
        repository.lags[digest] = switches.lag
        if ":" not in reference:
            repository.tags[reference] = digest
        return Reply(201, {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest})

    def _delete_manifest(self, name: str, reference: str, switches: Switches) -> Reply:
        if not switches.deletes:
            return failure(405, "UNSUPPORTED", "The operation is unsupported.")
        repository = self.by_name.get(name, Repository())
        if repository.manifests.pop(reference, None) is None:
            return failure(404, "MANIFEST_UNKNOWN", "manifest unknown")
        repository.tags = {tag: digest for tag, digest in repository.tags.items() if digest != reference}
        return Reply(202)

    def _tags(self, seen: Seen, name: str, switches: Switches) -> Reply:
        if name not in self.by_name:
            return failure(404, "NAME_UNKNOWN", "no such repository")
        tags = sorted(self.by_name[name].tags)
        headers = {"Content-Type": "application/json"}
        page = min(int(seen.argument("n") or len(tags)), switches.tags_page or len(tags))
        rest = [tag for tag in tags if tag > seen.argument("last")]
        tags = rest[:page]
        if rest[page:] and tags:
            link = switches.tags_link.format(number=secrets.token_hex(4))
            link = link or f"/v2/{name}/tags/list?n={page}&last={tags[-1]}"
            headers["Link"] = f'<{link}>; rel="next"'
        return Reply(200, headers, json.dumps({"name": name, "tags": tags or None}).encode())

    def _referrers(self, name: str, subject: str, switches: Switches) -> Reply:
        if not switches.referrers:
            return failure(404, "NOT_FOUND", "no such route")
        manifests = self.by_name.get(name, Repository()).manifests
        found = [
            {"mediaType": media_type, "digest": digest, "size": len(raw), "artifactType": kind}
            for digest, (media_type, raw) in manifests.items()
            if (document := json.loads(raw)).get("subject", {}).get("digest") == subject
            and (kind := document.get("artifactType") or document["config"]["mediaType"])
        ]
        body = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": found}).encode()
        link = {"Link": f'<{switches.referrers_link}>; rel="next"'} if switches.referrers_link else {}
        return Reply(200, {"Content-Type": _INDEX, **link}, body)

    def _blob(self, seen: Seen, name: str, digest: str, switches: Switches) -> Reply | None:
        if seen.method not in {"GET", "HEAD"}:
            return None
        blob = self.by_name.get(name, Repository()).blobs.get(digest)
        if blob is None:
            return failure(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if switches.blob_redirect:
            signed = f"/storage/{name}/blob/{digest}?X-Amz-Signature=canary-signature"
            return Reply(307, {"Location": switches.blob_redirect + signed})
        headers = {"Docker-Content-Digest": digest}
        return _part(seen, blob, headers, ranges=switches.ranges, shift=switches.range_shift)

    def _upload(self, seen: Seen, name: str, session: str, switches: Switches) -> Reply | None:
        if seen.method == "POST" and not session:
            return self._begin(seen, name, switches)
        answers: dict[str, Callable[[], Reply]] = {"PUT": lambda: self._finish(seen, name, session)}
        if switches.chunks:
            answers["GET"] = lambda: self.uploads.status(seen, session)
            answers["PATCH"] = lambda: self.uploads.chunk(seen, session)
            answers["DELETE"] = lambda: self.uploads.cancel(session)
        elif seen.method in {"GET", "PATCH", "DELETE"}:
            return failure(405, "UNSUPPORTED", "in one piece only")
        answer = answers.get(seen.method)
        return answer() if answer else None

    def _begin(self, seen: Seen, name: str, switches: Switches) -> Reply:
        mounted = self.by_name.get(seen.argument("from"), Repository()).blobs.get(seen.argument("mount"))
        if mounted is not None and switches.mounts:
            self.by_name.setdefault(name, Repository()).blobs[seen.argument("mount")] = mounted
            return Reply(201, {"Location": f"/v2/{name}/blobs/{seen.argument('mount')}"})
        session = self.uploads.begin()
        location = f"/v2/{name}/blobs/uploads/{session}?_state=canary-state%3D%3D"
        if switches.upload_origin:
            location = f"{switches.upload_origin}/storage/{name}/upload/{session}"
        return Reply(202, {"Location": switches.upload_location or location})

    def _finish(self, seen: Seen, name: str, session: str) -> Reply:
        digest, content = seen.argument("digest"), self.uploads.finish(seen, session)
        if isinstance(content, Reply):
            return content
        self.by_name.setdefault(name, Repository()).blobs[digest] = content
        return Reply(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _storage(self, seen: Seen, match: re.Match[str]) -> Reply | None:
        if match["what"] == "upload":
            return self._finish(seen, match["name"], match["key"])
        blob = self.by_name.get(match["name"], Repository()).blobs.get(match["key"])
        if seen.method == "HEAD":
            return failure(403, "DENIED", "signed for GET only")
        return failure(404, "BLOB_UNKNOWN", "gone") if blob is None else _part(seen, blob, {}, ranges=True)


def _part(seen: Seen, blob: bytes, headers: Mapping[str, str], *, ranges: bool, shift: int = 0) -> Reply:
    headers = {"Content-Type": "application/octet-stream", **headers}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("Range", ""))
    if asked is None or not ranges or seen.method == "HEAD":
        return Reply(200, headers, blob)
    first, last = int(asked[1]) + shift, min(int(asked[2] or len(blob)), len(blob) - 1)
    if first > last:
        return Reply(416, {"Content-Range": f"bytes */{len(blob)}"})
    return Reply(
        206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(blob)}"}, blob[first : last + 1]
    )


def _refusal(repository: Repository, raw: bytes, media_type: str) -> Reply | None:
    """What is wrong with a manifest; more than real registries look at."""
    if len(raw) > MANIFEST_MAX_BYTES:
        return failure(413, "MANIFEST_INVALID", "too large")
    try:
        document: dict[str, Any] = json.loads(raw)
    except ValueError:
        return failure(400, "MANIFEST_INVALID", "no JSON")
    if document.get("mediaType", media_type) != media_type or {"manifests", "layers"} <= document.keys():
        return failure(400, "MANIFEST_INVALID", "media type and content differ")
    missing = _missing(repository, document)
    if missing is not None:
        return failure(400, "MANIFEST_BLOB_UNKNOWN", f"unknown or of another size: {missing}")
    return None


def _missing(repository: Repository, document: dict[str, Any]) -> str | None:
    """A part that is not there in the size that the document says."""
    children = {child["digest"]: child["size"] for child in document.get("manifests", [])}
    blobs = [document["config"], *document["layers"]] if "layers" in document else []
    sizes = {digest: len(raw) for digest, (_, raw) in repository.manifests.items()}
    for digest, size in children.items():
        if sizes.get(digest) != size:
            return str(digest)
    for blob in blobs:
        if len(repository.blobs.get(blob["digest"], b"\0" * (blob["size"] + 1))) != blob["size"]:
            return str(blob["digest"])
    return None


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
