"""What happened to which commit: all that tag rules look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

SHORT_SHA_LENGTH: Final = 7
SHORT_SHA_MIN: Final = 4  # what git itself allows
_BRANCHES: Final = "refs/heads/"
_TAGS: Final = "refs/tags/"
_PULLS: Final = "refs/pull/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """An event and the commit it is about. What is not known is empty or None.

    Args:
        now: The moment of the run, with a time zone.
        event: As GitHub names events; a laptop's is a push.
        ref: ``refs/heads/…``, ``refs/tags/…`` or ``refs/pull/N/merge``.
        sha: The whole commit id.
        default_branch: The repository's, such as ``main``.
        base_ref: The branch that a pull request goes to, or that a pushed tag was made on.
        commit_date: When the commit was made, with a time zone.
        source_date: ``SOURCE_DATE_EPOCH``, which says what an image's date is to be.
        source: The repository's address, ``https://…``.
        short_sha_length: How many characters a short commit id has where the rules say nothing.
    """

    now: datetime
    event: str = "push"
    ref: str = ""
    sha: str = ""
    default_branch: str = ""
    base_ref: str = ""
    commit_date: datetime | None = None
    source_date: datetime | None = None
    source: str = ""
    short_sha_length: int = SHORT_SHA_LENGTH

    @property
    def branch(self) -> str:
        """The branch's name; empty if the ref is none."""
        return _after(self.ref, _BRANCHES)

    @property
    def tag(self) -> str:
        """The git tag's name; empty if the ref is none."""
        return _after(self.ref, _TAGS)

    @property
    def pull_request(self) -> str:
        """The pull request's number; empty if the ref is none."""
        return _after(self.ref, _PULLS).removesuffix("/merge")


def _after(ref: str, prefix: str) -> str:
    return ref.removeprefix(prefix) if ref.startswith(prefix) else ""
