"""Events as tests need them, and rules out of a pasted block."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from anyarch.release.tags.compute import Tags, compute_tags
from anyarch.release.tags.context import Context
from anyarch.release.tags.flavor import parse_flavor
from anyarch.release.tags.lines import block
from anyarch.release.tags.rules import TagRules, parse_rules

SHA = "860c1904a1ce19322e91ac35af1ab07466440c37"
NOW = datetime(2020, 1, 10, 0, 30, tzinfo=UTC)


def happened(ref: str, event: str = "push", **changes: Any) -> Context:  # noqa: ANN401  fields of Context
    """An event in a repository whose default branch is ``master``."""
    known = {"now": NOW, "sha": SHA, "default_branch": "master", "commit_date": NOW, **changes}
    return Context(event=event, ref=ref, **known)


def rules(text: str, flavor: str = "", **changes: int) -> TagRules:
    """A pasted block; it must be without fault."""
    problems: list[str] = []
    read = TagRules(
        rules=parse_rules(block(text, where="rules"), problems),
        flavor=parse_flavor(block(flavor, where="flavor"), problems),
        **changes,
    )
    assert problems == []
    return read


def tags(text: str, context: Context, flavor: str = "") -> list[str]:
    """The tags that a block gives."""
    return list(computed(text, context, flavor).names)


def computed(text: str, context: Context, flavor: str = "") -> Tags:
    """The tags that a block gives, and what came of each rule."""
    return compute_tags(rules(text, flavor), context)


def faults(text: str, flavor: str = "") -> list[str]:
    """What is wrong with a block."""
    problems: list[str] = []
    parse_rules(block(text, where="rules"), problems)
    parse_flavor(block(flavor, where="flavor"), problems)
    return problems
