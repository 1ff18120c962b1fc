"""What happened to which commit: out of a workflow's environment, or out of a checkout on a laptop."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from anyarch.cli.output import note
from anyarch.errors import UsageError
from anyarch.release.tags.context import SHORT_SHA_LENGTH, SHORT_SHA_MIN, Context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.cli.checkout import Checkout

SOURCE_DATE_VARIABLE: Final = "SOURCE_DATE_EPOCH"
SHORT_SHA_VARIABLE: Final = "DOCKER_METADATA_SHORT_SHA_LENGTH"
_KINDS: Final = ("refs/heads/", "refs/tags/", "refs/pull/")
_DATE_MAX_SECONDS: Final = 253_402_300_799  # the end of the year 9999


def tag_context(
    checkout: Checkout, environ: Mapping[str, str], *, ref: str = "", now: datetime | None = None
) -> Context:
    """What tag rules and labels look at.

    Args:
        checkout: The folder's git.
        environ: The environment variables.
        ref: ``--ref``, which counts more than what either of them says.
        now: The moment of the run.

    Raises:
        UsageError: the ref, ``SOURCE_DATE_EPOCH`` or the length of a short commit cannot be understood.
        FileProblemError: the file with GitHub's event cannot be read.
    """
    from anyarch.github.event import context_from_environ  # noqa: PLC0415  merge and verify need none

    now = now or datetime.now(UTC)
    wanted = parse_ref(ref) if ref else ""
    commit = checkout.commit()
    found = context_from_environ(environ, now=now)
    if found is None:
        found = Context(
            now=now,
            ref=wanted or _ref_of(checkout, commit),
            sha=commit,
            source=checkout.source(),
        )
    return replace(
        found,
        ref=wanted or found.ref,
        default_branch=found.default_branch or checkout.default_branch(),
        short_sha_length=_short_sha_length(environ.get(SHORT_SHA_VARIABLE, "")),
        commit_date=(checkout.commit_date() if commit else None) or found.commit_date,
        source_date=_source_date(environ.get(SOURCE_DATE_VARIABLE, "")),
    )


def parse_ref(text: str) -> str:
    """Read ``--ref``.

    Raises:
        UsageError: not the whole name of a branch, a tag or a pull request.
    """
    if not text.startswith(_KINDS) or text in _KINDS or not text.isprintable() or " " in text:
        raise UsageError(
            f"--ref {text[:160]!r} is not the whole name of a ref",
            hint="for example refs/tags/v1.2.3, refs/heads/main or refs/pull/7/merge",
        )
    return text


def _ref_of(checkout: Checkout, commit: str) -> str:
    ref = checkout.ref() if commit else ""
    if commit and not ref and (tags := checkout.tags()):
        note(
            f"no branch is checked out, and {', '.join(tags)} are at this commit: --ref says which one counts"
        )
    return ref


def _short_sha_length(text: str) -> int:
    """docker/metadata-action's variable; a length beyond that of a commit id is the whole of it."""
    if not text:
        return SHORT_SHA_LENGTH
    if not text.isascii() or not text.isdigit() or len(text) > 4 or int(text) < SHORT_SHA_MIN:
        raise UsageError(
            f"{SHORT_SHA_VARIABLE} is {text[:80]!r}: expected a number from {SHORT_SHA_MIN} up",
            hint=f"unset it to have {SHORT_SHA_LENGTH} characters",
        )
    return int(text)


def _source_date(text: str) -> datetime | None:
    """https://reproducible-builds.org/specs/source-date-epoch."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > _DATE_MAX_SECONDS:
        raise UsageError(
            f"{SOURCE_DATE_VARIABLE} is {text[:80]!r}: expected seconds since 1970",
            hint="unset it to have the commit's date instead",
        )
    return datetime.fromtimestamp(int(text), UTC)
