"""What the expressions stand for that may be used everywhere, in rules and in labels."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from anyarch.release.tags.dates import format_date
from anyarch.release.tags.template import DATES

if TYPE_CHECKING:
    from anyarch.release.tags.context import Context
    from anyarch.release.tags.template import Expression, Template

# Events that always are about the newest commit of the default branch, wherever their name says so.
_ON_DEFAULT_BRANCH: Final = ("create", "discussion", "issues", "schedule")
_WORDS: Final = {True: "true", False: "false"}


def expand(template: Template, context: Context, short_sha_length: int | None) -> str:
    """Write a text with the values that its expressions have in this context."""
    return template.render(partial(_value, context=context, short_sha_length=short_sha_length))


def short_sha(context: Context, length: int | None) -> str:
    """The first characters of the commit id; with no length as many as the context has."""
    return context.sha[: length or context.short_sha_length]


def is_default_branch(context: Context) -> bool:
    """Whether this is about the default branch, as metadata-action sees it."""
    if not context.ref:
        return False
    if context.default_branch and context.default_branch == context.branch:
        return True
    return any(word in context.event for word in _ON_DEFAULT_BRANCH)


def _value(expression: Expression, *, context: Context, short_sha_length: int | None) -> str:
    if expression.name in DATES:
        of_commit = context.commit_date if expression.name == "commit_date" else None
        return format_date(of_commit or context.now, expression.format, zone=expression.zone)
    is_default = is_default_branch(context)
    return {
        "branch": context.branch,
        "tag": context.tag,
        "sha": short_sha(context, short_sha_length),
        "base_ref": context.base_ref if context.tag or context.pull_request else "",
        "is_default_branch": _WORDS[is_default],
        "is_not_default_branch": _WORDS[not is_default],
    }[expression.name]
