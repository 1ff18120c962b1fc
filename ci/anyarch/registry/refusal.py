"""Answers that are not success: the error envelope, and which of our errors it amounts to.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from anyarch.errors import (
    AuthenticationError,
    ContentError,
    DeniedError,
    NotFoundError,
    RegistryError,
    RegistryProtocolError,
)
from anyarch.registry.retry import RetryableError, retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyarch.registry.requests import Request
    from anyarch.registry.wire import Answer

_BODY_MAX_BYTES: Final = 64 * 1024
_WORDS_MAX_CHARACTERS: Final = 600  # a denial by AWS names principal, action, resource and reason

_CODE: Final = re.compile(r"[A-Z_]{1,60}", re.ASCII)
_EXPIRED: Final = "authorization token has expired"  # https://github.com/aws/aws-cli/issues/6580
_TEMPORARY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 522})
_TEMPORARY_CODES: Final = frozenset({"TOOMANYREQUESTS", "UNAVAILABLE", "UNKNOWN"})
_THROTTLING_STATUSES: Final = frozenset({429, 503})
_CODES: Final[dict[str, type[RegistryError]]] = {
    "UNAUTHORIZED": AuthenticationError,
    "DENIED": DeniedError,
    "BLOB_UNKNOWN": NotFoundError,
    "MANIFEST_BLOB_UNKNOWN": NotFoundError,
    "MANIFEST_UNKNOWN": NotFoundError,
    "NAME_UNKNOWN": NotFoundError,
    "BLOB_UPLOAD_INVALID": ContentError,  # what olareg says to bytes that are not their digest
    "DIGEST_INVALID": ContentError,
    "MANIFEST_INVALID": ContentError,
    "SIZE_INVALID": ContentError,
}
_STATUSES: Final[dict[int, type[RegistryError]]] = {
    401: AuthenticationError,
    403: DeniedError,
    404: NotFoundError,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a registry said instead of doing what it was asked."""

    request: str
    status: int
    codes: tuple[str, ...] = ()
    message: str = ""
    retry_after_seconds: float | None = None

    @property
    def words(self) -> str:
        """The registry's own words, or at least its status."""
        named = ", ".join(self.codes)
        if named and self.message:
            return f"{named}: {self.message}"
        return named or self.message or f"status {self.status}"

    @property
    def credential_expired(self) -> bool:
        """Whether a credential that was good is no longer: ECR says so with a 403."""
        return self.status == 403 and _EXPIRED in self.message.lower()

    def error(
        self,
        subject: str,
        *,
        scrub: Callable[[str], str],
        advise: Callable[[Refusal], str] = lambda _: "",
    ) -> RegistryError | RetryableError:
        """The exception to raise: temporary or final.

        Args:
            subject: What was asked for: reference or repository.
            scrub: Removes secrets from the registry's words.
            advise: What to do next, where this registry's kind is known; empty for the usual.
        """
        words = scrub(self.words)[:_WORDS_MAX_CHARACTERS]
        if self._is_temporary:
            throttled = self.status in _THROTTLING_STATUSES or self.retry_after_seconds is not None
            said = f"status {self.status}" if not self.codes else f"status {self.status} ({words})"
            return RetryableError(said, retry_after_seconds=self.retry_after_seconds, throttled=throttled)
        kind = _STATUSES.get(self.status) or next(
            (_CODES[code] for code in self.codes if code in _CODES), RegistryProtocolError
        )
        return kind(
            f"{subject}: {words}",
            hint=advise(self) or _hint(kind, self.status),
            request=self.request,
            status=self.status,
            codes=self.codes,
        )

    @property
    def _is_temporary(self) -> bool:
        if self.status in _TEMPORARY_STATUSES:
            return True
        return (
            self.status >= 400
            and self.status not in {401, 404}
            and bool(_TEMPORARY_CODES.intersection(self.codes))
        )


async def read_refusal(request: Request, answer: Answer, *, wall: float) -> Refusal:
    """Read an answer that is not success; what cannot be read of it is left out."""
    body = b""
    if request.method != "HEAD":
        try:
            body = await answer.read_up_to(_BODY_MAX_BYTES)
        except RetryableError:
            body = b""
    codes, message = _envelope(body)
    return Refusal(
        request=str(request),
        status=answer.status,
        codes=codes,
        message=message,
        retry_after_seconds=retry_after_seconds(answer.header("retry-after"), wall=wall),
    )


def _envelope(body: bytes) -> tuple[tuple[str, ...], str]:
    """The codes and messages of an error envelope; other bodies are usually pages for people."""
    try:
        errors = json.loads(body)["errors"]
        entries = [entry for entry in errors[:10] if isinstance(entry, dict)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return (), ""
    codes = [entry["code"] for entry in entries if _CODE.fullmatch(str(entry.get("code")))]
    messages = [entry["message"] for entry in entries if isinstance(entry.get("message"), str)]
    details = [entry["detail"] for entry in entries if isinstance(entry.get("detail"), str)]
    # In one line: a registry's words must not look like lines of ours.
    said = (" ".join(words.split()) for words in messages + details)
    return tuple(dict.fromkeys(codes)), "; ".join(dict.fromkeys(filter(None, said)))


def _hint(kind: type[RegistryError], status: int) -> str:
    if kind is DeniedError:
        return "the credentials are known, but lack the permission; ask the registry's owner for it"
    if status == 413:
        return "the registry's own limit on sizes"
    return ""
