"""What is asked of a registry, as data; and how requests are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.registry.urls import Url

Kind = Literal["manifest", "blob", "upload", "tags", "token"]
Body = bytes | Callable[[], AsyncIterator[bytes]] | None

_WRITING: Final = frozenset({"PUT", "POST", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. A body that is a function is called anew for every try.

    Args:
        kind: What the path is about, for counting.
        size: Bytes of a streamed body.
        is_transfer: Whether a blob travels, which may take long.
    """

    method: str
    url: Url
    kind: Kind
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Body = field(default=None, repr=False)
    size: int | None = None
    is_transfer: bool = False

    def to(self, url: Url) -> Request:
        """The same request, sent elsewhere."""
        return replace(self, url=url)

    @property
    def writes(self) -> bool:
        """Whether this may change what the registry holds."""
        return self.kind != "token" and self.method in _WRITING

    def __str__(self) -> str:
        return f"{self.method} {self.url.redacted}"


# Called once for every request sent, with the answer's status, 0 if none came.
Observer = Callable[[Request, int], None]


@dataclass(slots=True)
class RequestCounter:
    """Counts requests by method, kind and status; passes each on to another observer, if there is one."""

    then: Observer | None = None
    counts: Counter[tuple[str, Kind, int]] = field(default_factory=Counter)
    writes: int = 0

    def __call__(self, request: Request, status: int) -> None:
        """Count one request."""
        self.counts[request.method, request.kind, status] += 1
        self.writes += request.writes
        if self.then is not None:
            self.then(request, status)

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.counts.values())

    def by_method(self) -> Mapping[str, int]:
        """How many requests of each method."""
        totals: Counter[str] = Counter()
        for (method, _, _), count in self.counts.items():
            totals[method] += count
        return MappingProxyType(totals)
