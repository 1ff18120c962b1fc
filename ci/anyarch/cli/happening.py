"""What happened to which commit: out of a workflow's environment, or out of a checkout on a laptop."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from anyarch.cli.output import note
from anyarch.errors import UsageError
from anyarch.release.tags.context import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.cli.checkout import Checkout

SOURCE_DATE_VARIABLE: Final = "SOURCE_DATE_EPOCH"
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
        UsageError: the ref or ``SOURCE_DATE_EPOCH`` cannot be understood.
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
            default_branch=checkout.default_branch(),
            source=checkout.source(),
        )
    return replace(
        found,
        ref=wanted or found.ref,
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
