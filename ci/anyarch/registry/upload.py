"""One blob on its way up: POST, then one PUT with everything; picked up where it broke, if that can be.

One PUT is the only form that every registry takes: ECR answers 201 to chunks and drops all but the first.
When a large one breaks, the registry is asked how much it has (distribution 3 and olareg keep it), the
rest goes by PATCH, and only an answer that counts every byte is believed. Anything else, and the upload
begins anew: with what the specification calls a session of its own, never at a used address.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from anyarch.errors import ContentError, DeniedError, NotFoundError, RegistryError, RegistryProtocolError
from anyarch.registry.requests import Request
from anyarch.registry.retry import RetryableError
from anyarch.registry.urls import check_elsewhere

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from anyarch.oci.descriptor import Descriptor
    from anyarch.registry.client import Client
    from anyarch.registry.urls import Url

# Below this, asking costs as much as sending again.
RESUMED_MIN_BYTES: Final = 8 * 1024 * 1024
_BINARY: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"(?:bytes=)?0-(?P<last>\d{1,18})", re.ASCII)


class Upload:
    """Brings one blob to one repository, over as many tries as the retry policy gives it.

    Args:
        client: The registry's client.
        path: The repository's path there.
        blob: What it is.
        content: Opens the bytes, from the start.
    """

    def __init__(
        self, client: Client, path: str, blob: Descriptor, content: Callable[[], AsyncIterator[bytes]]
    ) -> None:
        self._client = client
        self._path = path
        self._blob = blob
        self._content = content
        self._scopes = frozenset({f"repository:{path}:pull,push"})
        self._subject = f"{client.host}/{path}@{blob.digest}"
        self._broken: Url | None = None

    async def send(self, mounted_from: str) -> None:
        """One try.

        Args:
            mounted_from: Path of another repository in this registry that has it; empty for none.

        Raises:
            RetryableError: it broke; the next try goes on from there.
            RegistryError: another try would not help.
        """
        if self._broken is not None and await self._pick_up(self._broken):
            return
        self._broken = None
        location = await self._begin(mounted_from)
        if location is None:
            return
        check_elsewhere(location, registry=self._client.origin, insecure=self._client.insecure)
        try:
            await self._finish(location, self._content, self._blob.size)
        except RetryableError:
            at_home = location.origin == self._client.origin
            self._broken = location if at_home and self._blob.size >= RESUMED_MIN_BYTES else None
            raise

    async def _pick_up(self, location: Url) -> bool:
        """Go on where an upload broke; False if it must begin anew.

        Raises:
            RetryableError: it broke again.
        """
        try:
            place = await self._stands(location)
            if place is None:
                return False
            self._broken, there = place
            if there < self._blob.size:
                place = await self._send_rest(self._broken, there)
                if place is None or place[1] != self._blob.size:
                    return False
                self._broken = place[0]
            await self._finish(self._broken, None, 0)
        except RegistryError:
            return False  # no such session, no chunks, or not the same bytes: the whole says what is wrong
        return True

    async def _stands(self, location: Url) -> tuple[Url, int] | None:
        """Where to go on, and how many bytes are there; None if the registry has none or does not tell."""
        return await self._progress(Request(method="GET", url=location, kind="upload"), {204})

    async def _send_rest(self, location: Url, begin: int) -> tuple[Url, int] | None:
        rest = self._blob.size - begin
        return await self._progress(
            Request(
                method="PATCH",
                url=location,
                kind="upload",
                headers={"Content-Type": _BINARY, "Content-Range": f"{begin}-{self._blob.size - 1}"},
                body=lambda: _from(self._content(), begin),
                size=rest,
                is_transfer=True,
            ),
            {202, 204},
        )

    async def _progress(self, request: Request, statuses: set[int]) -> tuple[Url, int] | None:
        async with self._client.exchange(request, scopes=self._scopes, subject=self._subject) as answer:
            match = _RANGE.fullmatch(answer.header("range"))
            target = answer.header("location")
            url = answer.url.join(target) if target else request.url
            # "0-0" is what registries say of one byte and of none.
            if answer.status not in statuses or match is None or not int(match["last"]):
                return None
            there = int(match["last"]) + 1
            return (url, there) if url.origin == self._client.origin and there <= self._blob.size else None

    async def _finish(
        self, location: Url, content: Callable[[], AsyncIterator[bytes]] | None, size: int
    ) -> None:
        """Send ``size`` more bytes, and say that this was all."""
        request = Request(
            method="PUT",
            url=location.with_query(f"digest={quote(str(self._blob.digest), safe='')}"),
            kind="upload",
            headers={"Content-Type": _BINARY},
            body=content or b"",
            size=size,
            is_transfer=True,
        )
        async with self._client.exchange(request, scopes=self._scopes, subject=self._subject) as answer:
            stored = answer.header("docker-content-digest")
            if stored.startswith(f"{self._blob.digest.algorithm}:") and stored != str(self._blob.digest):
                raise ContentError(f"{self._subject}: the registry stored it as {stored}")

    async def _begin(self, mounted_from: str) -> Url | None:
        """Where to upload to; None if a mount made that unnecessary."""
        query, scopes = "", self._scopes
        if mounted_from:
            query = f"?mount={quote(str(self._blob.digest), safe='')}&from={quote(mounted_from, safe='')}"
            scopes |= {f"repository:{mounted_from}:pull"}
        url = self._client.url(f"{self._path}/blobs/uploads/{query}")
        request = Request(method="POST", url=url, kind="upload", headers={"Content-Length": "0"})
        subject = self._subject
        try:
            async with self._client.exchange(request, scopes=scopes, subject=subject) as answer:
                if answer.status == 201 and mounted_from:
                    return None
                location = answer.header("location")
                if not location:
                    raise RegistryProtocolError(f"{subject}: the registry does not say where to upload to")
                return answer.url.join(location)
        except (DeniedError, NotFoundError):
            if not mounted_from:
                raise
        return await self._begin("")  # no mount from there: then the bytes must travel


async def _from(content: AsyncIterator[bytes], begin: int) -> AsyncGenerator[bytes]:
    """The bytes from ``begin`` on; those before are read too, as the source checks its digest with them."""
    passed = 0
    try:
        async for chunk in content:
            skip = min(len(chunk), max(0, begin - passed))
            passed += len(chunk)
            if skip < len(chunk):
                yield chunk[skip:]
    finally:
        close: Callable[[], Awaitable[None]] | None = getattr(content, "aclose", None)
        if close is not None:
            await close()
