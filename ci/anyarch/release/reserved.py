"""The tags under which anyarch keeps its own books, beside the releases: no release is published there."""

from __future__ import annotations

from typing import Final

from anyarch.errors import UsageError
from anyarch.oci.reference import Tag

RESERVED_PREFIX: Final = "_anyarch."


def release_tag(text: str) -> Tag:
    """Read a tag that is to point at a release.

    Raises:
        UsageError: no registry takes it, or it is one of our own.
    """
    tag = Tag.parse(text)
    if text.startswith(RESERVED_PREFIX):
        raise UsageError(
            f"the tag {text} is anyarch's own: no release can have it",
            hint=f"under {RESERVED_PREFIX}* it keeps what tags pointed at, and what a prune has left to do; "
            "choose another tag",
            tag=text,
        )
    return tag
