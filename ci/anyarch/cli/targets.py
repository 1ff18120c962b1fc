"""What a command acts on: one manifest in a registry or in a layout directory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
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

    The directory of a layout may hold colons itself: the last one starts the tag. Other tools give images in
    a layout whole references for names: ``oci:DIR:docker.io/library/app:v1`` is one if ``DIR`` is a layout.

    Returns:
        The destination as ``open_store`` takes it, and what to look for there.

    Raises:
        UsageError: neither of them.
    """
    if not text.startswith(LAYOUT_PREFIX):
        reference = Reference.parse(text)
        return str(reference.repository), reference.target
    words = text.removeprefix(LAYOUT_PREFIX)
    folder, at, digest = words.rpartition("@sha256:")
    tag = ""
    if not at:
        folder, _, tag = words.rpartition(":")
        if not _is_layout(folder) and (named := _by_reference(words)):
            return named
    if not folder or "/" in tag:
        raise UsageError(
            f"{text[:160]!r} names no tag and no digest in the layout",
            hint="write oci:DIR:TAG or oci:DIR@sha256:…, for example oci:dist:latest",
        )
    return f"{LAYOUT_PREFIX}{folder}", Digest.parse(f"sha256:{digest}") if at else Tag.parse(tag)


def _by_reference(words: str) -> tuple[str, Target] | None:
    """``DIR:REFERENCE``, where the shortest ``DIR`` that is a layout leaves a whole reference."""
    folder, colon, name = words.partition(":")
    while colon:
        if _is_layout(folder):
            with suppress(UsageError):
                Reference.parse(name)
                return f"{LAYOUT_PREFIX}{folder}", Tag(name)
        more, colon, name = name.partition(":")
        folder = f"{folder}:{more}"
    return None


def _is_layout(folder: str) -> bool:
    try:
        return bool(folder) and Path(folder, "oci-layout").is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
