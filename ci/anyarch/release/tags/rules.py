"""Tag rules as docker/metadata-action words them: ``type=semver,pattern={{version}}``.

https://github.com/docker/metadata-action#tags-input. What that action takes in silence and does not know,
an attribute or an expression, is an error here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from anyarch.errors import UsageError
from anyarch.release.fields import nearest, quoted
from anyarch.release.tags.expressions import Matcher
from anyarch.release.tags.flavor import Flavor
from anyarch.release.tags.lines import Line, attributes
from anyarch.release.tags.template import DATES, GLOBALS, NOTHING, Template
from anyarch.release.tags.versions import VERSION_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHORT_SHA_MAX: Final = 64  # a whole commit id of SHA-256
RULES_MAX: Final = 200


class RuleType(StrEnum):
    """What a rule makes its tag of."""

    SCHEDULE = "schedule"
    SEMVER = "semver"
    PEP440 = "pep440"
    MATCH = "match"
    EDGE = "edge"
    REF = "ref"
    RAW = "raw"
    SHA = "sha"


_PRIORITIES: Final = {
    RuleType.SCHEDULE: 1000,
    RuleType.SEMVER: 900,
    RuleType.PEP440: 900,
    RuleType.MATCH: 800,
    RuleType.EDGE: 700,
    RuleType.REF: 600,
    RuleType.RAW: 200,
    RuleType.SHA: 100,
}
_EVERYWHERE: Final = ("type", "enable", "priority", "prefix", "suffix")
_KEYS: Final = {
    RuleType.SCHEDULE: ("pattern",),
    RuleType.SEMVER: ("pattern", "value", "match"),
    RuleType.PEP440: ("pattern", "value", "match"),
    RuleType.MATCH: ("pattern", "group", "value"),
    RuleType.EDGE: ("branch",),
    RuleType.REF: ("event",),
    RuleType.RAW: ("value",),
    RuleType.SHA: ("format",),
}
_REQUIRED: Final = {
    RuleType.SEMVER: "pattern",
    RuleType.PEP440: "pattern",
    RuleType.MATCH: "pattern",
    RuleType.REF: "event",
    RuleType.RAW: "value",
}
_CHOICES: Final = {"event": ("branch", "tag", "pr"), "format": ("short", "long")}
_PATTERN_NAMES: Final = {
    RuleType.SCHEDULE: DATES,
    RuleType.SEMVER: VERSION_NAMES,
    RuleType.PEP440: VERSION_NAMES,
}
_COMMA: Final = 'a comma in a value needs quotes around the whole attribute: "pattern=a,b"'
_PRIORITY: Final = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_GROUP: Final = re.compile(r"\d{1,3}", re.ASCII)
_DEFAULTS: Final = ("type=schedule", "type=ref,event=branch", "type=ref,event=tag", "type=ref,event=pr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. Which fields count depends on ``type``; an affix of None leaves it to the flavor."""

    type: RuleType
    text: str
    where: str
    priority: int
    enable: Template
    prefix: Template | None = None
    suffix: Template | None = None
    value: Template | None = None
    pattern: Template = NOTHING
    matcher: Matcher | None = None
    group: int = 0
    event: str = ""
    branch: str = ""
    format: str = "short"


@dataclass(frozen=True, kw_only=True)
class TagRules:
    """All rules in the order in which they count, and what holds for every tag.

    ``short_sha_length`` None: the context's.
    """

    rules: tuple[Rule, ...]
    flavor: Flavor = field(default_factory=Flavor)
    short_sha_length: int | None = None


def parse_rules(lines: Sequence[Line], problems: list[str]) -> tuple[Rule, ...]:
    """Read rules; none: those that the action has by default. The highest priority comes first.

    Args:
        lines: The rules.
        problems: Where to note what is wrong with them.
    """
    read = []
    for line in lines or [Line(text, "default") for text in _DEFAULTS]:
        try:
            read.append(_rule(line))
        except UsageError as error:
            problems.append(line.problem(error))
    return tuple(sorted(read, key=lambda rule: -rule.priority))


def _rule(line: Line) -> Rule:
    given: dict[str, str] = {}
    bare = []
    for key, value in attributes(line.text):
        if key:
            given[key] = value
        else:
            bare.append(value)
    kind = _type(given.get("type"))
    _check_keys(kind, given, bare)
    if bare:
        given["value"] = bare[-1]
    required = _REQUIRED.get(kind)
    if required and required not in given:
        raise UsageError(f"type={kind} needs {required}=…")
    return Rule(
        type=kind,
        text=line.text,
        where=line.where,
        priority=_priority(given, kind),
        enable=_enable(given.get("enable", "true")),
        prefix=_affix(given, "prefix", {RuleType.SHA: "sha-"}.get(kind) or _pull_prefix(given)),
        suffix=_affix(given, "suffix", None),
        value=Template.parse(given["value"], names=GLOBALS) if given.get("value") else None,
        pattern=_pattern(given, kind),
        matcher=_matcher(given, kind),
        group=_group(given),
        event=_choice(given, "event", ""),
        branch=given.get("branch", ""),
        format=_choice(given, "format", "short"),
    )


def _type(word: str | None) -> RuleType:
    if word is None:
        return RuleType.RAW
    try:
        return RuleType(word)
    except ValueError:
        near = nearest(word, [*RuleType])
        known = f"did you mean {near}?" if near else f"expected one of {', '.join(RuleType)}"
        raise UsageError(f"unknown type {word!r}; {known}") from None


def _check_keys(kind: RuleType, given: Mapping[str, str], bare: Sequence[str]) -> None:
    known = (*_EVERYWHERE, *_KEYS[kind])
    for key in given:
        if key not in known:
            near = nearest(key, known)
            proposal = f"did you mean {near}?" if near else f"known for type={kind}: {', '.join(known)}"
            raise UsageError(f"unknown attribute {key!r}; {proposal}")
    if bare and kind is not RuleType.RAW:
        near = nearest(bare[0], known)
        raise UsageError(
            f"{quoted(bare[0])} is no attribute: expected name=value",
            hint=f"did you mean {near}=…?" if near else _COMMA,
        )
    if len(bare) > 1 or (bare and "value" in given):
        raise UsageError("more than one value", hint=f"one tag a line; {_COMMA}")


def _priority(given: Mapping[str, str], kind: RuleType) -> int:
    word = given.get("priority")
    if word is None:
        return _PRIORITIES[kind]
    if not _PRIORITY.fullmatch(word):
        raise UsageError(f"priority={word[:80]}: expected a whole number")
    return int(word)


def _enable(word: str) -> Template:
    template = Template.parse(word, names=GLOBALS)
    if template.fixed not in {None, "true", "false"}:
        raise UsageError(f"enable={word[:80]}: expected true, false or an expression")
    return template


def _pull_prefix(given: Mapping[str, str]) -> str | None:
    return "pr-" if given.get("event") == "pr" else None


def _affix(given: Mapping[str, str], key: str, default: str | None) -> Template | None:
    text = given.get(key, default)
    return None if text is None else Template.parse(text, names=GLOBALS)


def _pattern(given: Mapping[str, str], kind: RuleType) -> Template:
    if kind not in _PATTERN_NAMES:
        return NOTHING
    return Template.parse(given.get("pattern", "nightly"), names=_PATTERN_NAMES[kind])


def _matcher(given: Mapping[str, str], kind: RuleType) -> Matcher | None:
    if kind is RuleType.MATCH:
        return Matcher.parse(given["pattern"], flags=True)
    if not given.get("match"):
        return None
    matcher = Matcher.parse(given["match"], flags=False)
    if not matcher.groups:
        raise UsageError(
            f"match={given['match'][:80]}: there is no group in it", hint="for example match=v(\\d.\\d.\\d)$"
        )
    return matcher


def _group(given: Mapping[str, str]) -> int:
    word = given.get("group", "0")
    if not _GROUP.fullmatch(word):
        raise UsageError(f"group={word[:80]}: expected a number, 0 for the whole match")
    return int(word)


def _choice(given: Mapping[str, str], key: str, default: str) -> str:
    word = given.get(key, default)
    if key in given and word not in _CHOICES[key]:
        raise UsageError(f"{key}={word[:80]}: expected {' or '.join(_CHOICES[key])}")
    return word
