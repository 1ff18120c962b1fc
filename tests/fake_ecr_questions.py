"""What ``anyarch doctor aws`` asks of AWS besides what a push and a merge ask: nothing that changes anything.

Each answer, and what is refused, is from the operation's own page:
docs.aws.amazon.com/AmazonECR/latest/APIReference/API_Operations.html and
docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html. Whatever would write after all is
noted in ``unhandled``, which fails the test.
"""

from __future__ import annotations

import hashlib
import re
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

from tests.fake_github_tokens import TOKEN_HOST
from tests.fake_repositories import Reply, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fake_ecr import FakeEcr, Principal

_KEY: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/")
_UPLOAD: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Questions:
    """Operations of the API, mixed into the fake's own."""

    ecr: FakeEcr

    def BatchGetImage(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  the API's name
        repository = self._repository(who, asked)
        if isinstance(repository, Reply):
            return repository
        found, failures = [], []
        for image in asked["imageIds"]:
            digest = repository.tags.get(image.get("imageTag", ""), image.get("imageDigest", ""))
            if digest in repository.manifests:
                found.append({"imageId": image, "imageManifest": repository.manifests[digest][1].decode()})
            else:
                failures.append({"imageId": image, "failureCode": "ImageNotFound"})
        return {"images": found, "failures": failures}

    def BatchCheckLayerAvailability(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  as above
        repository = self._repository(who, asked)
        if isinstance(repository, Reply):
            return repository
        there = {True: "AVAILABLE", False: "UNAVAILABLE"}
        layers = [
            {"layerDigest": each, "layerAvailability": there[each in repository.blobs]}
            for each in asked["layerDigests"]
        ]
        return {"layers": layers, "failures": []}

    def GetDownloadUrlForLayer(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  as above
        repository = self._repository(who, asked)
        if isinstance(repository, Reply):
            return repository
        if asked["layerDigest"] not in repository.blobs:
            return self._error("LayersNotFoundException", "The layer was not found")
        return {"downloadUrl": "https://example.com/layer", "layerDigest": asked["layerDigest"]}

    def InitiateLayerUpload(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  as above
        repository = self._repository(who, asked)
        return repository if isinstance(repository, Reply) else {"uploadId": "1", "partSize": 20971520}

    def UploadLayerPart(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  as above
        return self._no_upload(who, asked)

    def CompleteLayerUpload(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  as above
        return self._no_upload(who, asked)

    def PutImage(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  as above
        repository = self._repository(who, asked)
        if isinstance(repository, Reply):
            return repository
        digest = f"sha256:{hashlib.sha256(asked['imageManifest'].encode()).hexdigest()}"
        if asked.get("imageDigest", digest) != digest:
            return self._error("ImageDigestDoesNotMatchException", "The digest is another one")
        self.ecr.unhandled.append("PutImage, which a question must not come to")
        return {}

    def ListImages(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  as above
        repository = self._repository(who, asked)
        if isinstance(repository, Reply):
            return repository
        tagged = [{"imageTag": tag, "imageDigest": digest} for tag, digest in repository.tags.items()]
        wanted = asked.get("filter", {}).get("tagStatus", "ANY")
        untagged = [
            {"imageDigest": each} for each in repository.manifests if each not in repository.tags.values()
        ]
        return {"imageIds": {"TAGGED": tagged, "UNTAGGED": untagged}.get(wanted, tagged + untagged)}

    def DescribeRepositories(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  as above
        (name,) = asked["repositoryNames"]
        repository = self._repository(who, {**asked, "repositoryName": name})
        if isinstance(repository, Reply):
            return repository
        return {"repositories": [{"imageTagMutability": "MUTABLE", **repository.created_with}]}

    def GetLifecyclePolicy(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401, N802  as above
        repository = self._repository(who, asked)
        if isinstance(repository, Reply):
            return repository
        if not repository.lifecycle_policy:
            return self._error("LifecyclePolicyNotFoundException", "Lifecycle policy does not exist")
        return {"lifecyclePolicyText": repository.lifecycle_policy}

    def _no_upload(self, who: Principal, asked: dict[str, Any]) -> Any:  # noqa: ANN401  an answer or an error
        repository = self._repository(who, asked)
        if isinstance(repository, Reply):
            return repository
        if _UPLOAD.fullmatch(asked["uploadId"]) is None:
            return self._error("InvalidParameterException", "Invalid parameter at 'uploadId'")
        return self._error("UploadNotFoundException", "The upload was not found")

    def _repository(self, who: Principal, asked: Mapping[str, Any]) -> Any:  # noqa: ANN401  a repository or an error
        name = asked["repositoryName"]
        found = self.ecr.registries.get(self._host(who, asked), {}).get(name)
        return found or self._error("RepositoryNotFoundException", f"The repository {name!r} does not exist")

    def _host(self, who: Principal, asked: Mapping[str, Any]) -> str:
        raise NotImplementedError

    def _error(self, code: str, words: str) -> Reply:
        raise NotImplementedError


def identity_reply(ecr: FakeEcr, seen: Seen) -> Reply:
    """Who somebody is: a job's token, a role for it, or GetCallerIdentity, which nobody can be denied."""
    if seen.headers.get("Host") == TOKEN_HOST:
        return ecr.github.token(seen)
    if b"Action=AssumeRoleWithWebIdentity" in seen.body:
        words = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
        granted = ecr.github.session(seen)
        return _sts_answer(ecr, 200, granted) if granted else _sts_error(ecr, "AccessDenied", words)
    ecr.asked_of_api.append((seen.headers.get("Host", ""), "GetCallerIdentity"))
    match = _KEY.match(seen.authorization)
    who = ecr.principals.get(match["key"]) if match else None
    if who is None:
        return _sts_error(
            ecr, "InvalidClientTokenId", "The security token included in the request is invalid."
        )
    if ecr.clock_ahead > 300:
        return _sts_error(ecr, "SignatureDoesNotMatch", "Signature not yet current")
    if who.expired:
        return _sts_error(ecr, "ExpiredToken", "The security token included in the request is expired")
    return _sts_answer(
        ecr,
        200,
        f"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{who.arn}</Arn><UserId>AROA:1</UserId>"
        f"<Account>{who.account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
    )


def _sts_error(ecr: FakeEcr, code: str, words: str) -> Reply:
    said = f"<Type>Sender</Type><Code>{code}</Code><Message>{words}</Message>"
    return _sts_answer(ecr, 403, f"<ErrorResponse><Error>{said}</Error></ErrorResponse>")


def _sts_answer(ecr: FakeEcr, status: int, document: str) -> Reply:
    headers = {
        "Content-Type": "text/xml",
        "Date": formatdate(time.time() - ecr.clock_ahead, usegmt=True),
    }
    return Reply(status, headers, document.encode())
