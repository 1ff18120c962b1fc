"""What AWS lets somebody do in a repository, found out by asking for what cannot be there.

Authorization comes before the service looks at what is there. So whoever is told "no such layer" may ask, and
nothing has been written. What is only not well-formed may be refused before anybody looks at permissions;
such an answer tells nothing, and none of these questions is of that kind.
https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_Operations.html (each operation's errors)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from anyarch.errors import AuthenticationError, DeniedError, RegistryError, RegistryUnavailableError
from anyarch.oci.digest import Digest
from anyarch.oci.media_type import MediaType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyarch.registry.ecr import Account

Answer = Literal["allowed", "denied", "unknown"]

# No manifest is that short, and no layer was ever made of these words.
_NO_IMAGE: Final = Digest.of(b"")
_NO_LAYER: Final = Digest.of(b"anyarch doctor asks for a layer that is nowhere")
_NO_UPLOAD: Final = "00000000-0000-0000-0000-000000000000"
# Two reasons to refuse it: its digest is told wrong, and its config is nowhere.
_NO_MANIFEST: Final = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": str(MediaType.OCI_MANIFEST),
        "config": {"mediaType": str(MediaType.OCI_CONFIG), "digest": str(_NO_LAYER), "size": 47},
        "layers": [],
    }
)

NO_REPOSITORY: Final = "RepositoryNotFoundException"
# Said of what is there and what is not, and so only to who may ask.
_ABOUT_WHAT_IS_THERE: Final = frozenset(
    {
        "EmptyUploadException",
        "ImageDigestDoesNotMatchException",
        "ImageNotFoundException",
        "InvalidLayerException",
        "InvalidLayerPartException",
        "LayerInaccessibleException",
        "LayersNotFoundException",
        "LifecyclePolicyNotFoundException",
        "RepositoryAlreadyExistsException",
        NO_REPOSITORY,
        "UploadNotFoundException",
    }
)


def _batch_get(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  boto3 makes clients out of data files at run time
    return client.batch_get_image(imageIds=[{"imageDigest": str(_NO_IMAGE)}], **at)


def _download(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    return client.get_download_url_for_layer(layerDigest=str(_NO_LAYER), **at)


def _check_layer(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    return client.batch_check_layer_availability(layerDigests=[str(_NO_LAYER)], **at)


def _begin_upload(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    """It leaves the number of an upload, which expires by itself."""
    return client.initiate_layer_upload(**at)


def _upload_part(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    return client.upload_layer_part(
        uploadId=_NO_UPLOAD, partFirstByte=0, partLastByte=0, layerPartBlob=b"0", **at
    )


def _end_upload(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    return client.complete_layer_upload(uploadId=_NO_UPLOAD, layerDigests=[str(_NO_LAYER)], **at)


def _put(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    return client.put_image(
        imageManifest=_NO_MANIFEST,
        imageManifestMediaType=str(MediaType.OCI_MANIFEST),
        imageDigest=str(_NO_IMAGE),
        **at,
    )


def _list(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    return client.list_images(maxResults=1, **at)


def _describe(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    return client.describe_images(imageIds=[{"imageDigest": str(_NO_IMAGE)}], **at)


def _delete(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    return client.batch_delete_image(imageIds=[{"imageDigest": str(_NO_IMAGE)}], **at)


def _read_lifecycle(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    return client.get_lifecycle_policy(**at)


def _create_again(client: Any, at: Mapping[str, str]) -> object:  # noqa: ANN401  as above
    """Of a repository that is there: refused, as a name is given only once."""
    return client.create_repository(**at)


_QUESTIONS: Final[dict[str, Callable[[Any, Mapping[str, str]], object]]] = {
    "BatchGetImage": _batch_get,
    "GetDownloadUrlForLayer": _download,
    "BatchCheckLayerAvailability": _check_layer,
    "InitiateLayerUpload": _begin_upload,
    "UploadLayerPart": _upload_part,
    "CompleteLayerUpload": _end_upload,
    "PutImage": _put,
    "ListImages": _list,
    "DescribeImages": _describe,
    "BatchDeleteImage": _delete,
    "CreateRepository": _create_again,
    "GetLifecyclePolicy": _read_lifecycle,
}
# Asked only where the repository is there for sure. Elsewhere the first would make one, and so would the
# others where a creation template says so:
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-creation-templates.html
NEEDS_REPOSITORY: Final = frozenset({"CreateRepository", "InitiateLayerUpload", "PutImage"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What one question told.

    Args:
        action: Without the service's name.
        answer: ``unknown`` where only doing it would tell.
        words: What AWS said, unless it simply answered.
        code: AWS's name for that.
    """

    action: str
    answer: Answer
    words: str = ""
    code: str = ""


def ask(account: Account, path: str, action: str, *, exists: bool) -> Permission:
    """Find out whether one action is allowed. Blocking: run it in a thread.

    Args:
        account: Whose permission.
        path: The repository.
        action: Without the service's name.
        exists: Whether the repository is there for sure.

    Raises:
        AuthenticationError: AWS no longer takes the credentials.
        RegistryUnavailableError: it does not answer.
    """
    where = account.where
    at = {"repositoryName": where.repository_name(path)}
    if not where.is_public:
        at["registryId"] = where.account
    question = _QUESTIONS.get(action)
    if question is None or (action in NEEDS_REPOSITORY and not exists):
        return Permission(action=action, answer="unknown")
    try:
        account.call(f"{where.service}:{action}", lambda client: question(client, at))
    except DeniedError as error:
        return Permission(action=action, answer="denied", words=error.what, code=_code(error))
    except (AuthenticationError, RegistryUnavailableError):
        raise
    except RegistryError as error:
        answer: Answer = "allowed" if _code(error) in _ABOUT_WHAT_IS_THERE else "unknown"
        return Permission(action=action, answer=answer, words=error.what, code=_code(error))
    return Permission(action=action, answer="allowed")


def _code(error: RegistryError) -> str:
    return str(error.facts.get("code", ""))
