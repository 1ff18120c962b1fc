"""Blobs on their way: downloads that resume, uploads (``upload``), and whether one is there at all."""

from __future__ import annotations

import math
import re
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final

from anyarch.errors import (
    ContentError,
    NotFoundError,
    RegistryError,
    RegistryProtocolError,
)
from anyarch.registry.requests import Request
from anyarch.registry.retry import RetryableError
from anyarch.registry.upload import Upload
from anyarch.registry.verified import Verifier
from anyarch.registry.written import Written

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from anyarch.oci.descriptor import Descriptor
    from anyarch.registry.client import Client
    from anyarch.registry.wire import Answer

_CONTENT_RANGE: Final = re.compile(r"bytes (?P<first>\d{1,18})-\d{1,18}/(?P<total>\d{1,18}|\*)", re.ASCII)


class Transfer:
    """Moves the blobs of one repository.

    Args:
        client: The registry's client.
        path: The repository's path there.
    """

    def __init__(self, client: Client, path: str) -> None:
        self._client = client
        self._path = path
        self.written = Written(client.clock)
        self._pull = frozenset({f"repository:{path}:pull"})

    async def has(self, blob: Descriptor) -> bool:
        """Whether the blob is there, in the size promised as far as the registry tells."""

        async def attempt() -> bool:
            try:
                length = await self._length(blob)
            except NotFoundError as error:
                self.written.excuse(blob.digest, error)
                return False
            return length is None or length == blob.size

        return await self._client.retrying(attempt, f"HEAD {self._subject(blob)}")

    async def stream(self, blob: Descriptor) -> AsyncGenerator[bytes]:
        """The blob's bytes; a connection that breaks is picked up where it broke.

        Raises:
            ContentError: size or digest is another one; the last chunk was held back.
        """
        verifier = Verifier(blob, subject=self._subject(blob))
        patience = self._client.retry.patience(f"GET {verifier.subject}", math.inf)
        while True:
            await patience.next_try()
            try:
                async with aclosing(self._rest(blob, verifier)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                verifier.finish()
            except RetryableError as error:
                patience.failed(_broken(verifier, error))
            else:
                return

    async def upload(
        self, blob: Descriptor, content: Callable[[], AsyncIterator[bytes]], *, mounted_from: str = ""
    ) -> bool:
        """Bring a blob here, unless it is here.

        Args:
            blob: What it is.
            content: Opens the bytes; called anew for every try, not at all after a mount.
            mounted_from: Path of another repository in this registry that has it.

        Returns:
            False if it was here already.
        """
        sending = Upload(self._client, self._path, blob, content)
        begun = False

        async def attempt() -> bool:
            nonlocal begun
            try:
                length = await self._length(blob)
            except NotFoundError:
                begun = True
                await sending.send(mounted_from)
                return True
            if length not in {None, blob.size}:
                raise ContentError(f"{self._subject(blob)} has {length} bytes instead of {blob.size}")
            return begun  # an earlier try brought it, and its answer was lost

        moved = await self._client.retrying(attempt, f"upload of {self._subject(blob)}", is_transfer=True)
        if moved:
            self.written.add(blob.digest)
        return moved

    async def _length(self, blob: Descriptor) -> int | None:
        """The blob's size as the registry tells it, None if it does not.

        Raises:
            NotFoundError: it is not there.
        """
        request = self._blob("HEAD", blob)
        subject = self._subject(blob)
        try:
            async with self._client.exchange(request, scopes=self._pull, subject=subject) as answer:
                return answer.length
        except RegistryError as error:
            # Storage behind a redirect may have signed the link for GET only.
            if isinstance(error, NotFoundError) or error.facts.get("status") not in {400, 403, 405, 501}:
                raise
        request = self._blob("GET", blob, {"Range": "bytes=0-0"})
        async with self._client.exchange(request, scopes=self._pull, subject=subject) as answer:
            match = _CONTENT_RANGE.fullmatch(answer.header("content-range"))
            if answer.status != 206:
                return answer.length
            return int(match["total"]) if match is not None and match["total"] != "*" else None

    async def _rest(self, blob: Descriptor, verifier: Verifier) -> AsyncGenerator[bytes]:
        """One download, from where the verifier stands to the end of the blob."""
        begun = verifier.seen
        request = self._blob("GET", blob, {"Range": f"bytes={begun}-"} if begun else {})
        async with AsyncExitStack() as stack:
            opening = self._client.exchange(request, scopes=self._pull, subject=verifier.subject)
            answer = await stack.enter_async_context(opening)
            skip = _bytes_to_skip(answer, begun, verifier)
            async with aclosing(answer.chunks()) as received:
                async for piece in received:
                    chunk, skip = piece[skip:], max(0, skip - len(piece))
                    if chunk:
                        verifier.take(chunk)
                        yield chunk

    def _blob(self, method: str, blob: Descriptor, headers: dict[str, str] | None = None) -> Request:
        return Request(
            method=method,
            url=self._client.url(f"{self._path}/blobs/{blob.digest}"),
            kind="blob",
            headers=headers or {},
            is_transfer=method == "GET",
        )

    def _subject(self, blob: Descriptor) -> str:
        return f"{self._client.host}/{self._path}@{blob.digest}"


def _bytes_to_skip(answer: Answer, begun: int, verifier: Verifier) -> int:
    """How much of this answer was read before; refuses an answer about other bytes."""
    expected = verifier.blob.size
    if answer.status == 206:
        match = _CONTENT_RANGE.fullmatch(answer.header("content-range"))
        if match is None or int(match["first"]) != begun or match["total"] not in {"*", str(expected)}:
            raise RegistryProtocolError(f"{verifier.subject}: the registry sent another range than asked for")
        return 0
    if answer.length not in {None, expected}:
        raise ContentError(f"{verifier.subject} has {answer.length} bytes instead of the {expected} promised")
    return begun


def _broken(verifier: Verifier, error: RetryableError) -> RetryableError:
    """The same failure, with how far it had come."""
    if verifier.seen:
        error.cause += f", after {verifier.seen} of {verifier.blob.size} bytes"
    return error
