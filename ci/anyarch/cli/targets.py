"""What a command acts on: one manifest in a registry or in a layout directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Reference, Tag
from anyarch.release.config import LAYOUT_PREFIX

if TYPE_CHECKING:
    from typing import TypeAlias

    Target: TypeAlias = Digest | Tag


def parse_target(text: str) -> tuple[str, Target]:
    """Read ``REPOSITORY:TAG``, ``REPOSITORY@DIGEST``, ``oci:DIR:TAG`` or ``oci:DIR@DIGEST``.

    The directory of a layout may hold colons itself: the last one starts the tag.

    Returns:
        The destination as ``open_store`` takes it, and what to look for there.

    Raises:
        UsageError: neither of them.
    """
    if not text.startswith(LAYOUT_PREFIX):
        reference = Reference.parse(text)
        return str(reference.repository), reference.target
    folder, at, digest = text.removeprefix(LAYOUT_PREFIX).rpartition("@sha256:")
    tag = ""
    if not at:
        folder, _, tag = text.removeprefix(LAYOUT_PREFIX).rpartition(":")
    if not folder or "/" in tag:
        raise UsageError(
            f"{text[:160]!r} names no tag and no digest in the layout",
            hint="write oci:DIR:TAG or oci:DIR@sha256:…, for example oci:dist:latest",
        )
    return f"{LAYOUT_PREFIX}{folder}", Digest.parse(f"sha256:{digest}") if at else Tag.parse(tag)
