"""What a repository allows, found out without leaving anything behind."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from anyarch.checks import Check, Line
from anyarch.errors import NotFoundError, RegistryError, RegistryUnavailableError
from anyarch.oci import strict_json
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Image, Index
from anyarch.oci.reference import Tag
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.referrers import list_referrers
from anyarch.registry.requests import Request
from anyarch.registry.retry import UNREACHED_HINT, RetryableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyarch.oci.descriptor import Descriptor
    from anyarch.registry.store import RegistryStore
    from anyarch.registry.urls import Url
    from anyarch.registry.wire import Answer

_LIST_MAX_BYTES: Final = 4 * 1024 * 1024
_NOBODY: Final = Digest("sha256", "0" * 64)


class RepositoryDoctor:
    """Looks at one repository.

    Args:
        store: The repository.
        target: A tag or digest to read; None: the first tag there is.
    """

    def __init__(self, store: RegistryStore, target: Digest | Tag | None) -> None:
        self._store = store
        self._client = store.client
        self._path = store.repository.path
        self._target = target
        self._blob: Descriptor | None = None
        self._pull = frozenset({f"repository:{self._path}:pull"})
        self._push = frozenset({f"repository:{self._path}:pull,push"})

    def checks(self, *, after: tuple[str, ...]) -> list[Check]:
        """Everything about the repository; ``after`` are checks that must not have failed."""
        read = ("pull",)
        return [
            Check(name="pull", look=self._look_at_tags, after=after),
            Check(name="manifest", look=self._read_manifest, after=read, needed=False),
            Check(name="push", look=self._begin_upload, after=after),
            Check(name="mount", look=self._mount, after=("manifest", "push"), needed=False),
            Check(name="delete", look=_delete, after=after, needed=False),
            Check(name="tag mutability", look=self._mutability, after=after, needed=False),
            Check(name="referrers", look=self._referrers, after=read, needed=False),
            Check(name="resumed downloads", look=self._ranges, after=("manifest",), needed=False),
        ]

    async def _look_at_tags(self) -> Line:
        """List one tag: that needs the permission to pull, and shows whether pages are kept."""
        request = self._request("GET", "tags/list?n=1", "tags")
        try:
            async with exchange(self._store, request, self._pull) as answer:
                raw = await answer.read(_LIST_MAX_BYTES, subject="tags")
                more = bool(answer.header("link"))
        except NotFoundError:
            return Line(
                name="pull",
                verdict="warn",
                found=f"there is no repository {self._path} yet",
                advice="many registries make it with the first push; Amazon ECR and some others do not",
            )
        listed = strict_json.loads_object(raw, subject="tags", max_bytes=_LIST_MAX_BYTES).get("tags")
        tags = [tag for tag in listed if isinstance(tag, str)] if isinstance(listed, list) else []
        if self._target is None and tags:
            self._target = Tag.parse(tags[0])
        if not tags:
            return Line(name="pull", verdict="ok", found="allowed; no tag yet")
        pages = "lists tags in pages" if more else "one tag" if len(tags) == 1 else "lists all tags at once"
        return Line(name="pull", verdict="ok", found=f"allowed; {pages}")

    async def _read_manifest(self) -> Line:
        """Read one image's manifest, and see whether a HEAD alone would have told its digest."""
        if self._target is None:
            return _nothing_there("manifest", "nothing there to read")
        manifest = await self._store.get(self._target)
        request = self._request("HEAD", f"manifests/{self._target}", "manifest")
        request = Request(
            method=request.method,
            url=request.url,
            kind="manifest",
            headers={"Accept": str(manifest.media_type)},
        )
        try:
            async with exchange(self._store, request, self._pull) as answer:
                told = answer.header("docker-content-digest") == str(manifest.digest)
        except RegistryError:
            told = False
        if isinstance(manifest, Index) and manifest.images:
            child = await self._store.get(manifest.images[0].digest)
            self._blob = child.config if isinstance(child, Image) else None
        elif isinstance(manifest, Image):
            self._blob = manifest.config
        found = f"{self._target} can be read; HEAD {'tells' if told else 'does not tell'} its digest"
        advice = "" if told else "it works, with one more request for each question"
        return Line(name="manifest", verdict="ok" if told else "warn", found=found, advice=advice)

    async def _begin_upload(self) -> Line:
        """Begin an upload and give it up: that needs the permission to push, and writes nothing."""
        request = self._request("POST", "blobs/uploads/", "upload", {"Content-Length": "0"})
        async with exchange(self._store, request, self._push) as answer:
            location = answer.header("location")
            chunk = answer.header("oci-chunk-min-length")
            ranged = bool(answer.header("range"))
            session = answer.url.join(location) if location else None
        cancelled = session is not None and await self._cancel(session)
        found = "allowed; an upload was begun and " + (
            "given up" if cancelled else "is left to expire: it cannot be given up here"
        )
        if chunk.isdigit():
            found += f"; chunks of at least {chunk[:15]} bytes"
        elif ranged:
            found += "; resumable"
        return Line(name="push", verdict="ok", found=found)

    async def _mount(self) -> Line:
        """Mount a blob of this repository into itself: nothing changes, and the answer tells."""
        if self._blob is None:
            return _nothing_there("mount", "no blob there to try it with")
        query = f"?mount={quote(str(self._blob.digest), safe='')}&from={quote(self._path, safe='')}"
        request = self._request("POST", f"blobs/uploads/{query}", "upload", {"Content-Length": "0"})
        async with exchange(self._store, request, self._push) as answer:
            status, location = answer.status, answer.header("location")
            session = answer.url.join(location) if location else None
        if status == 201:
            found = "layers are mounted from other repositories instead of being sent"
            return Line(name="mount", verdict="ok", found=found)
        if session is not None:
            await self._cancel(session)
        return Line(
            name="mount",
            verdict="ok",
            found=f"not done ({status}): layers from other repositories are sent anew",
        )

    async def _mutability(self) -> Line:
        return Line(
            name="tag mutability",
            verdict="unknown",
            found="only a write would tell; anyarch reports a tag that must not move (exit code 24)",
            advice=_mutability_advice(self._client.host, self._path),
        )

    async def _referrers(self) -> Line:
        listed = await list_referrers(self._store, _NOBODY)
        if listed is None:
            found = "no list of its own; clients keep one under tags sha256-…"
            return Line(name="referrers", verdict="ok", found=found)
        return Line(name="referrers", verdict="ok", found="listed by the registry (OCI 1.1)")

    async def _ranges(self) -> Line:
        name = "resumed downloads"
        if self._blob is None:
            return _nothing_there(name, "no blob there to try it with")
        request = self._request("GET", f"blobs/{self._blob.digest}", "blob", {"Range": "bytes=0-0"})
        async with exchange(self._store, request, self._pull) as answer:
            resumed = answer.status == 206
        if resumed:
            return Line(name=name, verdict="ok", found="a download that breaks is picked up where it broke")
        return Line(
            name=name,
            verdict="ok",
            found=f"not done ({answer.status}): what breaks is read from the beginning",
        )

    async def _cancel(self, session: Url) -> bool:
        if session.origin != self._client.origin:
            return False  # a storage service elsewhere, which must not see our credential
        request = Request(method="DELETE", url=session, kind="upload")
        try:
            async with exchange(self._store, request, self._push):
                return True
        except RegistryError:
            return False

    def _request(self, method: str, rest: str, kind: str, headers: dict[str, str] | None = None) -> Request:
        url = self._client.url(f"{self._path}/{rest}")
        return Request(method=method, url=url, kind=kind, headers=headers or {})  # type: ignore[arg-type]


@asynccontextmanager
async def exchange(store: RegistryStore, request: Request, scopes: frozenset[str]) -> AsyncIterator[Answer]:
    """One request, tried once: what fails now and then is to be seen.

    Raises:
        RegistryError: refused, or no answer.
    """
    try:
        async with store.client.exchange(request, scopes=scopes, subject=store.name) as answer:
            yield answer
    except RetryableError as error:
        busy = "try again; the registry may be in trouble, or be asked too much"
        hint = busy if error.reached else error.hint or UNREACHED_HINT
        raise RegistryUnavailableError(f"{request}: {error.cause}", hint=hint) from error


def _nothing_there(name: str, found: str) -> Line:
    return Line(name=name, verdict="unknown", found=found, advice="look again when an image has been pushed")


async def _delete() -> Line:
    return Line(
        name="delete",
        verdict="unknown",
        found="not tried: nothing is deleted to find out; only anyarch prune needs it",
        advice="the first anyarch prune tells, and breaks nothing: exit code 22 where it is not allowed, 27 "
        "where the registry does not delete; its --dry-run shows what would go",
    )


def _mutability_advice(host: str, path: str) -> str:
    where = EcrHost.parse(host)
    if where is None or where.is_public:
        return (
            "look in the repository's settings for immutable or protected tags, and except floating ones and "
            "_anyarch.* from that; or move a tag that nobody uses: anyarch promote"
        )
    return f"anyarch doctor aws {host}/{path} asks AWS, also about each permission and what expires"
