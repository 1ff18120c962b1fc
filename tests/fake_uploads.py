"""The upload sessions of the fake registry, as the distribution specification words them."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fake_repositories import Reply, digest_of, failure

if TYPE_CHECKING:
    from tests.fake_repositories import Seen


@dataclass
class Uploads:
    """Every session that was begun and not ended, with the bytes it has."""

    open: dict[str, bytearray] = field(default_factory=dict)

    def begin(self) -> str:
        session = secrets.token_hex(8)
        self.open[session] = bytearray()
        return session

    def keep(self, session: str, part: bytes) -> None:
        """Bytes of a request that broke off."""
        if session in self.open:
            self.open[session] += part

    def status(self, seen: Seen, session: str) -> Reply:
        if session not in self.open:
            return unknown()
        return Reply(204, self._headers(seen, session))

    def chunk(self, seen: Seen, session: str) -> Reply:
        """PATCH: the next bytes, and no others."""
        if session not in self.open:
            return unknown()
        if not self._fits(seen, session):
            return Reply(416, self._headers(seen, session))
        self.open[session] += seen.body
        return Reply(202, self._headers(seen, session))

    def cancel(self, session: str) -> Reply:
        return unknown() if self.open.pop(session, None) is None else Reply(204)

    def finish(self, seen: Seen, session: str) -> bytes | Reply:
        """PUT: the last bytes and the digest of all; a session ends with it, whatever comes out."""
        if session not in self.open:
            return unknown()
        if not self._fits(seen, session):
            return Reply(416, self._headers(seen, session))
        content = bytes(self.open.pop(session)) + seen.body
        if digest_of(content) != seen.argument("digest"):
            return failure(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        return content

    def _fits(self, seen: Seen, session: str) -> bool:
        written = {name.lower(): value for name, value in seen.headers.items()}.get("content-range")
        if written is None:
            return True
        match = re.fullmatch(r"(\d+)-(\d+)", written)
        if match is None:
            return False
        first, last = int(match[1]), int(match[2])
        return first == len(self.open[session]) and last - first + 1 == len(seen.body)

    def _headers(self, seen: Seen, session: str) -> dict[str, str]:
        last = max(0, len(self.open[session]) - 1)
        return {"Location": f"{seen.path}?_state=canary-state%3D{last}", "Range": f"0-{last}"}


def unknown() -> Reply:
    return failure(404, "BLOB_UPLOAD_UNKNOWN", "upload session unknown or used")
