"""``[tags]`` of anyarch.toml: a pasted block or a list of rules, and a flavor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyarch.release.tags.context import SHORT_SHA_MIN
from anyarch.release.tags.flavor import parse_flavor
from anyarch.release.tags.lines import Line, block, entries
from anyarch.release.tags.rules import (
    RULES_MAX,
    SHORT_SHA_MAX,
    TagRules,
    parse_rules,
)

if TYPE_CHECKING:
    from anyarch.release.fields import Fields


def read_tag_rules(fields: Fields) -> TagRules:
    """Read the table; what is wrong with it goes to the problems of ``fields``."""
    length = fields.integer_or_none("short-sha-length", least=SHORT_SHA_MIN, most=SHORT_SHA_MAX)
    lines = _lines(fields, "rules")
    if len(lines) > RULES_MAX:
        fields.problem("rules", f"{len(lines)} rules are more than the {RULES_MAX} allowed")
    rules = TagRules(
        rules=parse_rules(lines, fields.problems),
        flavor=parse_flavor(_lines(fields, "flavor"), fields.problems),
        short_sha_length=length,
    )
    fields.end()
    return rules


def _lines(fields: Fields, key: str) -> list[Line]:
    found, where = fields.lines(key), fields.place(key)
    return block(found, where=where) if isinstance(found, str) else entries(found, where=where)
