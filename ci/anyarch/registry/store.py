"""A repository in a registry, as a ``Store``."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from anyarch.errors import (
    ContentError,
    ImmutableTagError,
    NotFoundError,
    RegistryError,
    UsageError,
)
from anyarch.oci.descriptor import Descriptor
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import MANIFEST_MAX_BYTES, Image, Index, Manifest
from anyarch.oci.media_type import ACCEPTED_MANIFESTS, IMAGE_TYPES, INDEX_TYPES
from anyarch.registry.client import Client, Options
from anyarch.registry.deletion import delete_manifest
from anyarch.registry.kind import as_registry
from anyarch.registry.requests import Request, RequestCounter
from anyarch.registry.retry import RetryableError
from anyarch.registry.tags import list_tags
from anyarch.registry.transfer import Transfer
from anyarch.registry.verified import too_long
from anyarch.registry.written import Written

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from typing import TypeVar

    from anyarch.oci.reference import Repository, Tag
    from anyarch.oci.store import Store
    from anyarch.registry.wire import Answer

    T = TypeVar("T")

_ACCEPT: Final = {"Accept": ", ".join(ACCEPTED_MANIFESTS)}
_KINDS: Final = IMAGE_TYPES | INDEX_TYPES


class RegistryStore:
    """One repository of a registry.

    Args:
        repository: Which one.
        options: How its client behaves.
    """

    def __init__(self, repository: Repository, options: Options | None = None) -> None:
        self.repository = repository
        self.client = Client(repository.host, options or Options())
        self._pull = frozenset({f"repository:{repository.path}:pull"})
        self._push = frozenset({f"repository:{repository.path}:pull,push"})
        self._written = Written(self.client.clock)
        self._transfer = Transfer(self.client, repository.path)

    @property
    def name(self) -> str:
        """``host/path``."""
        return str(self.repository)

    @property
    def requests(self) -> RequestCounter:
        """Every request sent so far, counted."""
        return self.client.requests

    async def head(self, target: Digest | Tag) -> Descriptor | None:
        """Media type, digest and size of a manifest, or None if there is no such manifest."""
        request = self._manifest("HEAD", target, headers=_ACCEPT)
        try:
            found = await self._read(request, target, lambda answer: self._described(answer, target))
        except NotFoundError:
            return None
        except RegistryError as error:
            # A HEAD has no body: the GET works, or says what is wrong (ECR names the denied action).
            if error.facts.get("status") not in {400, 403, 405, 501}:
                raise
            found = None
        return found or await self._head_by_get(target)

    async def get(self, target: Digest | Tag) -> Manifest:
        """A manifest, its bytes verified against the digest asked for."""
        subject = self._subject(target)

        async def read(answer: Answer) -> Manifest:
            raw = await answer.read(MANIFEST_MAX_BYTES, subject=subject)
            if isinstance(target, Digest):
                target.check(raw, subject=subject)
            return Manifest.from_bytes(raw, media_type=answer.header("content-type"), subject=subject)

        return await self._read(self._manifest("GET", target, headers=_ACCEPT), target, read)

    async def put(self, target: Digest | Tag, manifest: Manifest) -> None:
        """Write a manifest under its digest or a tag; writing what is already there is no error.

        This always sends the manifest: whoever wants to write nothing twice asks ``head`` first.
        """
        subject = self._subject(target)
        if isinstance(target, Digest):
            target.check(manifest.raw, subject=subject)
        try:
            await self._send(target, manifest)
        except NotFoundError:
            if not await self._may_appear(manifest):
                raise
            await self._send(target, manifest, patient=True)
        except RegistryError as error:
            if isinstance(target, Digest) or not _forbids_moving(error):
                raise
            await self._settle(target, manifest, error)
        self._written.add(target)
        self._written.add(manifest.digest)

    async def delete(self, digest: Digest) -> bool:
        """Remove a manifest, and the tags that point at it; False if it was not there."""
        self._written.forget(digest)
        return await delete_manifest(self.client, self.repository.path, digest)

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether a blob of this digest is there, and of this size where the registry tells."""
        return await self._transfer.has(blob)

    async def get_blob(self, blob: Descriptor, *, max_bytes: int) -> bytes:
        """A small blob (a config), verified; longer than ``max_bytes`` is a ``ContentError``."""
        if blob.size > max_bytes:
            raise too_long(blob, max_bytes, self.name)
        async with aclosing(self.stream_blob(blob)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def stream_blob(self, blob: Descriptor) -> AsyncGenerator[bytes]:
        """A blob of any size in chunks; the last chunk comes only after size and digest held."""
        return self._transfer.stream(blob)

    async def copy_blob(self, blob: Descriptor, source: Store) -> bool:
        """Bring a blob here from ``source`` (mounted where possible); False if it was here already."""
        mounted_from = ""
        origin = as_registry(source)
        if origin is not None and origin.client.origin == self.client.origin:
            mounted_from = origin.repository.path
        return await self._transfer.upload(blob, lambda: source.stream_blob(blob), mounted_from=mounted_from)

    async def tags(self) -> list[str]:
        """Every tag, sorted; none if the repository does not exist."""
        return await list_tags(self.client, self.repository.path, scopes=self._pull)

    async def aclose(self) -> None:
        """Release connections."""
        await self.client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(self, target: Digest | Tag, manifest: Manifest, *, patient: bool = False) -> None:
        headers = {"Content-Type": str(manifest.media_type)}
        request = self._manifest("PUT", target, headers=headers, body=manifest.raw)
        subject = self._subject(target)

        async def attempt() -> None:
            try:
                async with self.client.exchange(request, scopes=self._push, subject=subject) as answer:
                    _check_stored(answer, manifest.raw, subject=subject)
            except NotFoundError as error:
                if patient:
                    words = "it does not see yet what was written just now"
                    raise RetryableError(words, final=error) from error
                raise

        await self.client.retrying(attempt, str(request))

    async def _may_appear(self, manifest: Manifest) -> bool:
        """Whether all that a refused manifest names is there, or was written by us a moment ago."""
        fresh = False
        for child in manifest.manifests if isinstance(manifest, Index) else ():
            fresh = fresh or child.digest in self._written
            if child.digest not in self._written and await self.head(child.digest) is None:
                return False
        for blob in (manifest.config, *manifest.layers) if isinstance(manifest, Image) else ():
            fresh = fresh or blob.digest in self._transfer.written
            if blob.digest not in self._transfer.written and not await self.has_blob(blob):
                return False
        return fresh

    async def _head_by_get(self, target: Digest | Tag) -> Descriptor | None:
        try:
            found = await self.get(target)
        except NotFoundError:
            return None
        return replace(found.descriptor, digest=target) if isinstance(target, Digest) else found.descriptor

    def _subject(self, target: Digest | Tag) -> str:
        return str(self.repository.at(target))

    def _manifest(
        self, method: str, target: Digest | Tag, headers: Mapping[str, str], body: bytes | None = None
    ) -> Request:
        url = self.client.url(f"{self.repository.path}/manifests/{target}")
        return Request(method=method, url=url, kind="manifest", headers=headers, body=body)

    async def _read(
        self, request: Request, target: Digest | Tag, read: Callable[[Answer], Awaitable[T]]
    ) -> T:
        """Read a manifest; one that we wrote just now may take a moment to be seen."""

        async def attempt() -> T:
            try:
                subject = self._subject(target)
                async with self.client.exchange(request, scopes=self._pull, subject=subject) as answer:
                    return await read(answer)
            except NotFoundError as error:
                self._written.excuse(target, error)
                raise

        return await self.client.retrying(attempt, str(request))

    async def _described(self, answer: Answer, target: Digest | Tag) -> Descriptor | None:
        """The descriptor that a HEAD's headers make up; None if they do not."""
        media_type = answer.header("content-type").partition(";")[0].strip()
        digest = _stored_digest(answer) or (target if isinstance(target, Digest) else None)
        if digest is None or answer.length is None or media_type not in _KINDS:
            return None
        if isinstance(target, Digest) and digest.algorithm == target.algorithm and digest != target:
            raise ContentError(f"{self._subject(target)}: the registry says that this is {digest}")
        return Descriptor(
            media_type=media_type,
            digest=target if isinstance(target, Digest) else digest,
            size=answer.length,
        )

    async def _settle(self, target: Tag, manifest: Manifest, refusal: RegistryError) -> None:
        """After "this tag cannot be overwritten": fine if it is what we wanted to write."""
        present = await self.head(target)
        if present is None:
            raise refusal
        if present.digest != manifest.digest:
            raise ImmutableTagError(
                f"{self._subject(target)} exists as {present.digest} and the registry forbids moving it",
                hint="publish under a new tag, or exclude this one from the repository's immutability",
                wanted=str(manifest.digest),
                present=str(present.digest),
            ) from refusal


def _forbids_moving(refusal: RegistryError) -> bool:
    """Whether a refused tag may simply be immutable: registries say it in many ways."""
    status, codes = refusal.facts.get("status"), refusal.facts.get("codes")
    immutable = "immutable" in refusal.what.lower() or "overwrit" in refusal.what.lower()
    return codes == ("TAG_INVALID",) or status in {409, 412} or (status in {400, 403, 405} and immutable)


def _check_stored(answer: Answer, raw: bytes, *, subject: str) -> None:
    """Compare what the registry says it stored with what was sent, where it says it in words we know."""
    stored = _stored_digest(answer)
    if stored is not None:
        stored.check(raw, subject=f"{subject} as the registry stored it")


def _stored_digest(answer: Answer) -> Digest | None:
    try:
        return Digest.parse(answer.header("docker-content-digest"))
    except UsageError:
        return None
