"""Amazon ECR on the loopback: its API and its data plane as AWS documents them, stricter where in doubt.

Everything goes through one proxy (``HTTPS_PROXY``), so host names are the real ones and each has its own
TLS certificate of an authority made here. ``moto`` has no data plane, hands out one token for everybody, and
lets pass what the service refuses; tests/contract/test_ecr_moto.py asks it what it does know.

Rules, and where each is from (pages of docs.aws.amazon.com/AmazonECR/latest, userguide or APIReference):

1.  Basic authentication, user AWS, on every request: registry_auth.html#registry_auth_http.
2.  A token lives 12 h, then 403 "Your authorization token has expired": API_GetAuthorizationToken.html,
    aws/aws-cli#6580.
3.  A token belongs to one region, and to whoever asked for it: API_GetAuthorizationToken.html.
4.  Each operation needs its IAM action: image-push-iam.html, security-iam-awsmanpol.html. A denial says
    which; a HEAD has no body to say it in.
5.  Repositories are never made by a push: aws-actions/amazon-ecr-login#166; an upload may end in EOF:
    aws/containers-roadmap#1970.
6.  No chunks: PATCH answers 201 and drops what comes after the first: aws/containers-roadmap#2831.
7.  No mounting from another repository, unless the account has it switched on: aws/containers-roadmap#2860.
8.  Layers come from S3 by a signed link, for GET only; S3 refuses a link beside an Authorization header:
    docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html.
9.  Children of an index must be there, in the same repository: API_PutImage.html ReferencedImagesNotFound,
    int128/docker-manifest-create-action#63.
10. Layers of an image must be there: API_PutImage.html LayersNotFound.
11. A digest must be the content's: API_PutImage.html ImageDigestDoesNotMatch; 4 MiB at most.
12. An immutable tag is never written again, not even the same: image-tag-mutability.html; up to 5 wildcards
    except tags from that: API_ImageTagMutabilityExclusionFilter.html.
13. ``tags/list`` takes n up to 1000: google/go-containerregistry, pkg/v1/remote/list.go.
14. The API deletes no child of an index: API_BatchDeleteImage.html ImageReferencedByManifestList. The
    distribution protocol deletes, too: image-artifact-delete.html, aws/containers-roadmap#1229; what it
    says of such a child is not documented, here it is a refusal.
15. 429 TOOMANYREQUESTS "Rate exceeded" (a ``Fault``): google/go-containerregistry#750.
16. The API's requests are signed for one region, by a clock that is right within five minutes:
    docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html.
17. Every read of a manifest is a pull and is noted: pull-time-update-exclusions.html. Another tag is no
    push: aws/containers-roadmap#2746.

The rules of ECR Public are in tests/fake_ecr_public.py.
What only ``anyarch doctor aws`` asks, STS included, is in tests/fake_ecr_questions.py.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from anyarch.registry.ecr_host import EcrHost

from tests.certificates import Authority
from tests.fake_ecr_public import ALIAS, PublicTokens
from tests.fake_ecr_questions import Questions, identity_reply
from tests.fake_github_tokens import TOKEN_HOST, Tokens
from tests.fake_registry import FakeRegistry, Handler
from tests.fake_repositories import MANIFEST_MAX_BYTES, Reply, Repository, Seen, failure

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pytest

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-west-1"
HOST: Final = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
SECRET_KEY: Final = "canary-aws-secret-key-5e1b"
SESSION_TOKEN: Final = "canary-aws-session-token-77ac"
PASSWORD_PREFIX: Final = "canary-ecr-password-"
SIGNATURE: Final = "canary-signature"
TOKEN_SECONDS: Final = 12 * 3600
EXPIRED: Final = "Your authorization token has expired. Reauthenticate and try again."

_TOKEN_IN_REQUEST: Final = "The security token included in the request is"
_API: Final = re.compile(
    r"(?:api\.)?(?P<service>ecr(?:-public)?)(?P<fips>-fips)?\.(?P<region>[a-z0-9-]+)"
    r"\.(?:amazonaws\.com(?:\.cn)?|api\.aws|api\.amazonwebservices\.com\.cn)"
)
_CREDENTIAL: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/ecr(?:-public)?/aws4_request"
)
_ROUTE: Final = re.compile(
    r"/v2/(?P<name>[a-z0-9/._-]+?)/"
    r"(?:manifests/(?P<reference>[^/]+)|blobs/uploads/(?P<session>[0-9a-f-]*)|blobs/(?P<digest>[^/]+)|(?P<tags>tags/list))"
)
_LAYER: Final = re.compile(r"/(?P<host>[a-z0-9.-]+)/(?P<name>[a-z0-9/._-]+)/(?P<digest>sha256:[0-9a-f]{64})")
_NEEDED: Final = {
    ("manifest", "GET"): ["BatchGetImage"],
    ("manifest", "HEAD"): ["BatchGetImage"],
    ("manifest", "PUT"): ["PutImage"],
    ("manifest", "DELETE"): ["BatchDeleteImage"],
    ("blob", "HEAD"): ["BatchCheckLayerAvailability"],
    ("blob", "GET"): ["GetDownloadUrlForLayer"],
    ("upload", "POST"): ["InitiateLayerUpload"],
    ("upload", "PATCH"): ["UploadLayerPart"],
    ("upload", "PUT"): ["UploadLayerPart", "CompleteLayerUpload"],
    ("tags", "GET"): ["ListImages"],
}


@dataclass
class Principal:
    """Whoever has an access key. ``denied`` are IAM actions, ``expired`` is the session."""

    key: str
    account: str = ACCOUNT
    denied: set[str] = field(default_factory=set)
    expired: bool = False

    @property
    def arn(self) -> str:
        return f"arn:aws:sts::{self.account}:assumed-role/release/{self.key.lower()}"


@dataclass
class EcrRepository(Repository):
    """A repository, and the request that created it."""

    created_with: Mapping[str, Any] = field(default_factory=dict)
    lifecycle_policy: str = ""
    pushed: dict[str, float] = field(default_factory=dict)  # Unix time
    pulled: dict[str, float] = field(default_factory=dict)
    archived: set[str] = field(default_factory=set)

    def delete(self, digest: str) -> str:
        """Rule 14; a failure's code, or empty."""
        if digest not in self.manifests:
            return "ImageNotFound"
        indexes = [json.loads(raw).get("manifests", []) for _, raw in self.manifests.values()]
        if any(child["digest"] == digest for children in indexes for child in children):
            return "ImageReferencedByManifestList"
        self.manifests.pop(digest)
        self.tags = {tag: each for tag, each in self.tags.items() if each != digest}
        return ""

    def details(self) -> list[dict[str, Any]]:
        """As DescribeImages tells them."""
        return [self._detail(digest, *held) for digest, held in sorted(self.manifests.items())]

    def _detail(self, digest: str, media_type: str, raw: bytes) -> dict[str, Any]:
        document = json.loads(raw)
        told = {
            "imageDigest": digest,
            "imageTags": sorted(tag for tag, each in self.tags.items() if each == digest),
            "imageSizeInBytes": len(raw),
            "imagePushedAt": self.pushed.get(digest, 0.0),
            "imageManifestMediaType": media_type,
            "imageStatus": "ARCHIVED" if digest in self.archived else "ACTIVE",
        }
        if digest in self.pulled:
            told["lastRecordedPullTime"] = self.pulled[digest]
        if "subject" in document:
            told["subjectManifestDigest"] = document["subject"]["digest"]
            told["artifactMediaType"] = document.get("artifactType", "")
        return told

    def may_move(self, tag: str) -> bool:
        mode = self.created_with.get("imageTagMutability", "MUTABLE")
        filters = self.created_with.get("imageTagMutabilityExclusionFilters", [])
        excepted = any(fnmatch.fnmatchcase(tag, each["filter"]) for each in filters)
        return excepted is not str(mode).startswith("MUTABLE")


class FakeEcr(FakeRegistry):
    """Use it as ``with FakeEcr(folder) as ecr``; ``ecr.use(monkeypatch)`` sends a test's requests here.

    Args:
        folder: For the authority's certificate.
        create: Repositories of ``HOST`` that are there.
        address: Where to listen.
    """

    def __init__(self, folder: Path, *create: str, address: str = "127.0.0.1") -> None:
        self.authority = Authority(folder)
        self.principals = {"AKIAFIRST": Principal("AKIAFIRST"), "AKIASECOND": Principal("AKIASECOND")}
        self.registries: dict[str, dict[str, EcrRepository]] = {}
        self.issued: dict[
            str, tuple[Principal, str, float]
        ] = {}  # password → whose; which region, or ecr-public; until when
        self.asked_of_api: list[tuple[str, str]] = []  # host and operation
        self.passed = 0.0  # seconds
        self.clock_ahead = 0.0  # the client's, in seconds
        self.eof_on_missing = False
        self.mounts = False
        self.page_max = 1000  # of DescribeImages
        self.api_faults: list[str] = []  # codes that the API's next answers are
        self.public = PublicTokens(self)
        self.github = Tokens(secret_key=SECRET_KEY, session_token=SESSION_TOKEN)
        self._uploads: dict[str, bytes] = {}
        super().__init__(handler=_EcrHandler, address=address)
        for name in create:
            self.create(name)

    def use(self, monkeypatch: pytest.MonkeyPatch, key: str = "AKIAFIRST") -> None:
        for name, value in self.environment(key).items():
            monkeypatch.setenv(name, value)

    def environment(self, key: str = "AKIAFIRST") -> dict[str, str]:
        """What a process needs to find this and nothing else, with the credentials of ``key``."""
        certificate = str(self.authority.path)
        return {
            "HTTPS_PROXY": self.origin,
            "SSL_CERT_FILE": certificate,
            "AWS_CA_BUNDLE": certificate,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_SESSION_TOKEN": SESSION_TOKEN,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent/config",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
        }

    def create(self, name: str, host: str = HOST, **created_with: Any) -> EcrRepository:  # noqa: ANN401  as the API's request
        return self.registries.setdefault(host, {}).setdefault(name, EcrRepository(created_with=created_with))

    def let_in(self, role: str, key: str, *denied: str) -> None:
        """Jobs of GitHub Actions may take a role, which may not do what is ``denied``."""
        self.github.roles[role] = key
        self.principals[key] = Principal(key, denied=set(denied))

    def deny(self, *actions: str, key: str = "AKIAFIRST") -> None:
        self.principals[key].denied |= set(actions)

    def expire_tokens(self) -> None:
        """Twelve hours pass."""
        self.passed += TOKEN_SECONDS

    def operations(self, name: str) -> int:
        """How often the API was asked for one operation."""
        return sum(operation == name for _, operation in self.asked_of_api)

    def reply(self, seen: Seen) -> Reply:
        host = seen.headers.get("Host", "")
        with self.lock:
            if match := _API.fullmatch(host):
                return _Api(self, seen, match["service"], match["region"]).reply()
            if host == TOKEN_HOST or host.startswith("sts."):
                return identity_reply(self, seen)
            if "starport-layer-bucket.s3." in host:
                return self._stored(seen)
            where = EcrHost.parse(host)
            if where is not None and where.is_public and seen.path == "/token/":
                return self.public.sell(seen)
            if where is None or not seen.path.startswith("/v2/"):
                self.unhandled.append(f"{seen.method} {host}{seen.path}")
                return failure(404, "UNSUPPORTED", "no such host")
            return _DataPlane(self, seen, where).reply()

    def _stored(self, seen: Seen) -> Reply:
        """Rule 8."""
        if seen.authorization:
            return Reply(400, {}, b"<Error><Code>InvalidArgument</Code></Error>")
        match = _LAYER.fullmatch(seen.path)
        if match is None or seen.method != "GET" or seen.argument("X-Amz-Signature") != SIGNATURE:
            return Reply(403, {}, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        blob = self.registries[match["host"]][match["name"]].blobs[match["digest"]]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("Range", ""))
        if asked is None:
            return Reply(200, {}, blob)
        first, last = int(asked[1]), int(asked[2] or len(blob) - 1)
        content_range = {"Content-Range": f"bytes {first}-{last}/{len(blob)}"}
        return Reply(206, content_range, blob[first : last + 1])

    def now(self) -> float:
        return time.time() + self.passed

    def begin_upload(self) -> str:
        session = secrets.token_hex(16)
        self._uploads[session] = b""
        return session

    def upload_part(self, session: str, part: bytes) -> None:
        """Rule 6."""
        self._uploads[session] = self._uploads[session] or part

    def end_upload(self, session: str) -> bytes | None:
        return self._uploads.pop(session, None)


@dataclass
class _DataPlane:
    """One request under ``/v2/``."""

    ecr: FakeEcr
    seen: Seen
    where: EcrHost

    def reply(self) -> Reply:
        if self.where.is_public:
            refused, who = self.ecr.public.authenticated(self.seen)
        else:
            refused, who = self._authenticated()
        if refused is not None:
            return refused
        match = _ROUTE.fullmatch(self.seen.path)
        if match is None:
            return Reply(200) if self.seen.path == "/v2/" else failure(404, "UNSUPPORTED", "no such route")
        name, kind = match["name"], self.seen.kind
        needed = _NEEDED.get((kind, self.seen.method))
        if needed is None:
            return failure(405, "UNSUPPORTED", "The operation is unsupported.")
        service = self.where.service
        if who and (lacking := [action for action in needed if f"{service}:{action}" in who.denied]):
            return _denied(who, f"{service}:{lacking[0]}", self.where.arn(name))
        repository = self.ecr.registries.get(self.where.host, {}).get(name)
        if repository is None:
            if kind == "upload" and self.ecr.eof_on_missing:
                raise ConnectionAbortedError
            words = f"The repository with name '{name}' does not exist in the registry"
            return failure(404, "NAME_UNKNOWN", f"{words} with id '{self.where.account}'")
        answers: dict[str, Callable[[], Reply]] = {
            "manifest": lambda: self._manifest(repository, name, match["reference"]),
            "tags": lambda: self._tags(repository, name),
            "blob": lambda: self._blob(repository, name, match["digest"]),
            "upload": lambda: self._upload(repository, name, match["session"]),
        }
        return answers[kind]()

    def _authenticated(self) -> tuple[Reply | None, Principal | None]:
        """Rules 1 to 3."""
        challenge = {
            "WWW-Authenticate": f'Basic realm="https://{self.where.host}/",service="ecr.amazonaws.com"'
        }
        scheme, _, value = self.seen.authorization.partition(" ")
        if scheme != "Basic":
            return Reply(401, challenge, b"Not Authorized\n"), None
        username, _, password = base64.b64decode(value).decode().partition(":")
        who, region, expires_at = self.ecr.issued.get(password, (None, "", 0.0))
        if username != "AWS" or who is None or region != self.where.region:
            return Reply(401, challenge, b"Not Authorized\n"), None
        if expires_at <= self.ecr.now():
            return failure(
                403, "DENIED", "Your authorization token has expired. Reauthenticate and try again."
            ), None
        return None, who

    def _manifest(self, repository: EcrRepository, name: str, reference: str) -> Reply:
        if self.seen.method == "PUT":
            return self._put_manifest(repository, name, reference)
        digest = repository.tags.get(reference, reference)
        if digest not in repository.manifests or digest in repository.archived:
            return failure(404, "MANIFEST_UNKNOWN", "Requested image not found")
        if self.seen.method == "DELETE":
            code = repository.delete(digest)
            return failure(403, "DENIED", code) if code else Reply(202)
        if self.seen.method == "GET":
            repository.pulled[digest] = self.ecr.now()
        media_type, raw = repository.manifests[digest]
        return Reply(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, raw)

    def _put_manifest(self, repository: EcrRepository, name: str, reference: str) -> Reply:
        digest = f"sha256:{hashlib.sha256(self.seen.body).hexdigest()}"
        media_type = self.seen.headers.get("Content-Type", "")
        try:
            document: dict[str, Any] = json.loads(self.seen.body)
        except ValueError:
            return failure(400, "MANIFEST_INVALID", "Invalid manifest")
        if len(self.seen.body) > MANIFEST_MAX_BYTES or document.get("mediaType", media_type) != media_type:
            return failure(400, "MANIFEST_INVALID", "Too large, or of another media type")
        if ":" in reference and reference != digest:
            return failure(400, "DIGEST_INVALID", "Image digest does not match the manifest")
        if absent := _absent(repository, document):
            place = f"repository with name '{name}' in the registry with id '{self.where.account}'"
            words = f"{absent} required for pushing image into {place} do not exist"
            return failure(400, "MANIFEST_BLOB_UNKNOWN", words)
        if reference in repository.tags and not repository.may_move(reference):
            words = f"The image tag '{reference}' already exists in the '{name}' repository"
            more = "and cannot be overwritten because the tag is immutable."
            return failure(400, "TAG_INVALID", f"{words} {more}")
        repository.manifests[digest] = (media_type, self.seen.body)
        repository.pushed.setdefault(digest, self.ecr.now())
        if ":" not in reference:
            repository.tags[reference] = digest
        return Reply(201, {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest})

    def _tags(self, repository: EcrRepository, name: str) -> Reply:
        limit = int(self.seen.argument("n") or 1000)
        if limit > 1000:
            return failure(400, "UNSUPPORTED", "Invalid parameter at 'maxResults'")
        rest = [tag for tag in sorted(repository.tags) if tag > self.seen.argument("last")]
        page = rest[:limit]
        headers = {"Content-Type": "application/json"}
        if rest[limit:]:
            headers["Link"] = f'</v2/{name}/tags/list?n={limit}&last={page[-1]}>; rel="next"'
        return Reply(200, headers, json.dumps({"name": name, "tags": page}).encode())

    def _blob(self, repository: EcrRepository, name: str, digest: str) -> Reply:
        if digest not in repository.blobs:
            return failure(404, "BLOB_UNKNOWN", "Requested layer not found")
        if self.seen.method == "HEAD":
            return Reply(200, {"Docker-Content-Digest": digest}, repository.blobs[digest])
        bucket = f"prod-{self.where.region}-starport-layer-bucket.s3.{self.where.region}.amazonaws.com"
        query = f"X-Amz-Security-Token={SESSION_TOKEN}&X-Amz-Expires=3600&X-Amz-Signature={SIGNATURE}"
        return Reply(307, {"Location": f"https://{bucket}/{self.where.host}/{name}/{digest}?{query}"})

    def _upload(self, repository: EcrRepository, name: str, session: str) -> Reply:
        if self.seen.method == "POST":
            source = self.ecr.registries[self.where.host].get(self.seen.argument("from"), Repository())
            digest = self.seen.argument("mount")
            if self.ecr.mounts and digest in source.blobs:
                repository.blobs[digest] = source.blobs[digest]
                return Reply(201, {"Location": f"/v2/{name}/blobs/{digest}"})
            location = f"https://{self.where.host}/v2/{name}/blobs/uploads/{self.ecr.begin_upload()}"
            return Reply(202, {"Location": location, "Range": "0-0"})
        if self.seen.method == "PATCH":
            self.ecr.upload_part(session, self.seen.body)
            return Reply(201, {"Location": self.seen.path, "Range": f"0-{len(self.seen.body) - 1}"})
        begun = self.ecr.end_upload(session)
        if begun is None:
            return failure(404, "BLOB_UPLOAD_UNKNOWN", "The upload id does not exist")
        content, digest = begun or self.seen.body, self.seen.argument("digest")
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            return failure(400, "DIGEST_INVALID", "The layer's digest is another one")
        repository.blobs[digest] = content
        return Reply(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})


@dataclass
class _Api(Questions):
    """One request to the service's API, JSON 1.1."""

    ecr: FakeEcr
    seen: Seen
    service: str
    region: str

    def reply(self) -> Reply:
        operation = self.seen.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.ecr.asked_of_api.append((self.seen.headers.get("Host", ""), operation))
        match = _CREDENTIAL.match(self.seen.authorization)
        who = self.ecr.principals.get(match["key"]) if match else None
        if match is None or who is None:
            return self._error("UnrecognizedClientException", f"{_TOKEN_IN_REQUEST} invalid.")
        if self.ecr.api_faults:
            return self._error(self.ecr.api_faults.pop(0), "Rate exceeded")
        if refused := self._refused(who, match["region"], f"{self.service}:{operation}"):
            return refused
        answer = getattr(self, operation, None)
        if answer is None:
            self.ecr.unhandled.append(operation)
            return self._error("UnknownOperationException", operation)
        asked: dict[str, Any] = json.loads(self.seen.body or b"{}")
        if self.service == "ecr-public" and "repositoryName" in asked:
            asked["repositoryName"] = f"{ALIAS}/{asked['repositoryName']}"
        result: Reply | dict[str, Any] = answer(who, asked)
        return result if isinstance(result, Reply) else self._answer(200, result)

    def _refused(self, who: Principal, region: str, action: str) -> Reply | None:
        """Rules 4 and 16."""
        if self.ecr.clock_ahead > 300:
            return self._error("InvalidSignatureException", "Signature not yet current")
        if who.expired:
            return self._error("ExpiredTokenException", f"{_TOKEN_IN_REQUEST} expired")
        if region != self.region:
            return self._error("InvalidSignatureException", "Credential should be scoped to a valid region.")
        if action in who.denied:
            return self._error("AccessDeniedException", _denial(who, action, "*"))
        return None

    def GetAuthorizationToken(self, who: Principal, _: dict[str, Any]) -> Reply | dict[str, Any]:  # noqa: N802  the API's name
        if self.service == "ecr-public" and "sts:GetServiceBearerToken" in who.denied:
            return self._error("AccessDeniedException", _denial(who, "sts:GetServiceBearerToken", "*"))
        password = PASSWORD_PREFIX + secrets.token_hex(16)
        expires_at = self.ecr.now() + TOKEN_SECONDS
        of = self.service if self.service == "ecr-public" else self.region
        self.ecr.issued[password] = (who, of, expires_at)
        data = {
            "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
            "expiresAt": expires_at,
        }
        return {"authorizationData": data if self.service == "ecr-public" else [data]}

    def CreateRepository(self, who: Principal, asked: dict[str, Any]) -> Reply | dict[str, Any]:  # noqa: N802  as above
        name, host = asked["repositoryName"], self._host(who, asked)
        if name in self.ecr.registries.get(host, {}):
            words = (
                f"The repository with name '{name}' already exists in the registry with id '{who.account}'"
            )
            return self._error("RepositoryAlreadyExistsException", words)
        if asked.get("tags") and "ecr:TagResource" in who.denied:
            return self._error("AccessDeniedException", _denial(who, "ecr:TagResource", "*"))
        self.ecr.create(name, host, **asked)
        return {"repository": {"repositoryName": name, "repositoryUri": f"{host}/{name}"}}

    def BatchDeleteImage(self, who: Principal, asked: dict[str, Any]) -> Reply | dict[str, Any]:  # noqa: N802  as above
        repository = self.ecr.registries.get(self._host(who, asked), {}).get(asked["repositoryName"])
        if repository is None:
            return self._error("RepositoryNotFoundException", "The repository does not exist")
        failures = []
        for image in asked["imageIds"]:
            digest = image["imageDigest"]
            if code := repository.delete(digest):
                failures.append({"imageId": image, "failureCode": code, "failureReason": f"{code}: {digest}"})
        return {"failures": failures, "imageIds": []}

    def DescribeImages(self, who: Principal, asked: dict[str, Any]) -> Reply | dict[str, Any]:  # noqa: N802  as above
        repository = self.ecr.registries.get(self._host(who, asked), {}).get(asked["repositoryName"])
        if repository is None:
            return self._error("RepositoryNotFoundException", "The repository does not exist")
        first, most = int(asked.get("nextToken", "0")), min(asked.get("maxResults", 100), self.ecr.page_max)
        details = repository.details()
        named = {each.get("imageDigest") for each in asked.get("imageIds", [])}
        if named - repository.manifests.keys():
            return self._error("ImageNotFoundException", "The image does not exist")
        details = [each for each in details if not named or each["imageDigest"] in named]
        more = {"nextToken": str(first + most)} if details[first + most :] else {}
        return {"imageDetails": details[first : first + most], **more}

    def PutLifecyclePolicy(self, who: Principal, asked: dict[str, Any]) -> Reply | dict[str, Any]:  # noqa: N802  as above
        repository = self.ecr.registries.get(self._host(who, asked), {}).get(asked["repositoryName"])
        if repository is None:
            return self._error("RepositoryNotFoundException", "The repository does not exist")
        repository.lifecycle_policy = asked["lifecyclePolicyText"]
        return {}

    def _host(self, who: Principal, asked: Mapping[str, Any]) -> str:
        if self.service == "ecr-public":
            return "public.ecr.aws"
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return f"{asked.get('registryId', who.account)}.dkr.ecr.{self.region}.{suffix}"

    def _error(self, code: str, words: str) -> Reply:
        return self._answer(400, {"__type": code, "message": words})

    def _answer(self, status: int, document: Mapping[str, Any]) -> Reply:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "Date": formatdate(time.time() - self.ecr.clock_ahead, usegmt=True),
        }
        return Reply(status, headers, json.dumps(document).encode())


def _absent(repository: EcrRepository, document: Mapping[str, Any]) -> str:
    """Rules 9 and 10: which images or layers are missing; empty if none."""
    children = [each["digest"] for each in document.get("manifests", [])]
    if absent := [digest for digest in children if digest not in repository.manifests]:
        return f"Images with digests '[{', '.join(absent)}]'"
    blobs = [document["config"], *document["layers"]] if "layers" in document else []
    if absent := [blob["digest"] for blob in blobs if blob["digest"] not in repository.blobs]:
        return f"Layers with digests '[{', '.join(absent)}]'"
    return ""


def _denial(who: Principal, action: str, resource: str) -> str:
    return (
        f"User: {who.arn} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action"
    )


def _denied(who: Principal, action: str, resource: str) -> Reply:
    return failure(403, "DENIED", _denial(who, action, resource))


@cache
def _context(authority: Authority, host: str) -> ssl.SSLContext:
    return authority.context(host)


class _EcrHandler(Handler):
    """Also a proxy: behind CONNECT, the server of any name."""

    def do_CONNECT(self) -> None:  # noqa: N802  the base class looks for it
        ecr = self.registry
        assert isinstance(ecr, FakeEcr)
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with ecr.lock:  # several first connections at once would write one certificate over another
            context = _context(ecr.authority, self.path.rpartition(":")[0])
        try:
            self.connection = context.wrap_socket(self.connection, server_side=True)
        except OSError:  # a client that goes away, or trusts nobody
            self.close_connection = True
            return
        ecr.opened(self.connection)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        with suppress(OSError):
            self.connection.close()
