"""From rules and what happened to tags: the same on a laptop as in a workflow."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from anyarch.errors import ConfigError, UsageError
from anyarch.oci.reference import Tag
from anyarch.release.fields import quoted
from anyarch.release.tags.expansion import expand, short_sha
from anyarch.release.tags.rules import Rule, RuleType, TagRules
from anyarch.release.tags.versions import Version, read_pep440, read_semver

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyarch.release.tags.context import Context
    from anyarch.release.tags.template import Template

_NO_DEFAULT_BRANCH: Final = "the default branch is not known: git remote set-head origin --auto"
_NOT_IN_A_TAG: Final = re.compile(r"[^a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one rule: a tag, or why there is none. ``latest`` without a rule is the flavor's."""

    rule: Rule | None
    tag: str | None
    reason: str = ""

    @property
    def source(self) -> str:
        """The rule as it was written."""
        return self.rule.text if self.rule else "flavor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """The tags, first the one that is the version; then what came of every rule."""

    names: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    @property
    def version(self) -> str | None:
        """The tag of the rule with the highest priority."""
        return self.names[0] if self.names else None


@dataclass(frozen=True, slots=True)
class _Value:
    """What a rule found, whether it is a release that ``latest`` may point at, and what is odd about it."""

    text: str
    latest: bool = False
    odd: str = ""


def compute_tags(rules: TagRules, context: Context) -> Tags:
    """Apply rules to what happened.

    Raises:
        ConfigError: a rule gives what no registry takes as a tag, or no answer to whether it counts.
    """
    outcomes: list[Outcome] = []
    latest: bool | None = None
    for rule in rules.rules:
        found = _apply(rule, rules, context)
        if isinstance(found, str):
            outcomes.append(Outcome(rule=rule, tag=None, reason=found))
            continue
        if latest is None:
            latest = found.latest
        tag = _tag(rule.where, rule.text, found.text)
        twice = any(each.tag == tag for each in outcomes)
        outcomes.append(Outcome(rule=rule, tag=tag, reason="there already" if twice else found.odd))
    if rules.flavor.latest != "auto" and latest is not None:
        latest = rules.flavor.latest == "true"
    if latest:
        outcomes.append(_latest(rules, context))
    names = dict.fromkeys(each.tag for each in outcomes if each.tag is not None)
    return Tags(names=tuple(names), outcomes=tuple(outcomes))


def _apply(rule: Rule, rules: TagRules, context: Context) -> _Value | str:
    """The text of the rule's tag before it is made valid, or why there is none."""

    def expanded(template: Template) -> str:
        return expand(template, context, rules.short_sha_length)

    enabled = expanded(rule.enable)
    if enabled not in {"true", "false"}:
        raise ConfigError(f"{rule.where} {quoted(rule.text)}: enable is {enabled!r}; expected true or false")
    if enabled == "false":
        return _disabled(rule, context)
    found = _FINDERS[rule.type](rule, rules, context)
    if isinstance(found, str):
        return found
    prefix = rules.flavor.prefix if rule.prefix is None else rule.prefix
    suffix = rules.flavor.suffix if rule.suffix is None else rule.suffix
    text = f"{expanded(prefix)}{found.text}{expanded(suffix)}"
    return replace(found, text=text) if text else "its value is empty"


def _disabled(rule: Rule, context: Context) -> str:
    if rule.enable.fixed is not None:
        return "disabled"
    asks = any("default_branch" in each.name for each in rule.enable.expressions)
    unknown = f"; {_NO_DEFAULT_BRANCH}" if asks and not context.default_branch else ""
    return f"disabled: its enable= is false here{unknown}"


def _schedule(rule: Rule, rules: TagRules, context: Context) -> _Value | str:
    if "schedule" not in context.event:
        return f"the event is {context.event or 'not known'}, not schedule"
    return _Value(expand(rule.pattern, context, rules.short_sha_length))


def _semver(rule: Rule, rules: TagRules, context: Context) -> _Value | str:
    return _version(rule, rules, context, read_semver)


def _pep440(rule: Rule, rules: TagRules, context: Context) -> _Value | str:
    return _version(rule, rules, context, read_pep440)


def _version(
    rule: Rule, rules: TagRules, context: Context, read: Callable[[str], Version | None]
) -> _Value | str:
    text = _value_or_tag(rule, rules, context)
    if text is None:
        return _not_a("git tag", context)
    odd = ""
    if rule.matcher is not None:
        groups = rule.matcher.match(text)
        odd = "" if groups else f"match= does not match {quoted(text)}, so all of it counts"
        text = (groups[1] or "") if groups else text
    text = text.replace("/", "-")
    version = read(text)
    if version is None:
        return f"{quoted(text)} is not a valid {rule.type} version{f': {odd}' if odd else ''}"
    if version.is_final:
        return _Value(rule.pattern.render(lambda each: version.value(each.name)), latest=True, odd=odd)
    return _Value(version.raw if rule.pattern.is_only("raw") else version.text, odd=odd)


def _match(rule: Rule, rules: TagRules, context: Context) -> _Value | str:
    text = _value_or_tag(rule, rules, context)
    if text is None:
        return _not_a("git tag", context)
    assert rule.matcher is not None  # noqa: S101  parse_rules gives every such rule one
    groups = rule.matcher.match(text)
    if not groups:
        return f"the pattern does not match {quoted(text)}"
    found = groups[rule.group] if rule.group < len(groups) else None
    if found is None:
        return f"there is no group {rule.group} in the match"
    return _Value(found, latest=True)


def _value_or_tag(rule: Rule, rules: TagRules, context: Context) -> str | None:
    if rule.value is not None:
        return expand(rule.value, context, rules.short_sha_length)
    return context.tag or None


def _ref(rule: Rule, _: TagRules, context: Context) -> _Value | str:
    match rule.event:
        case "branch":
            return _Value(context.branch) if context.branch else _not_a("branch", context)
        case "tag":
            return _Value(context.tag, latest=True) if context.tag else _not_a("git tag", context)
        case _:
            number = context.pull_request
            return _Value(number) if number else _not_a("pull request", context)


def _edge(rule: Rule, _: TagRules, context: Context) -> _Value | str:
    branch = rule.branch or context.default_branch
    if not context.branch:
        return _not_a("branch", context)
    if not branch:
        return f"{_NO_DEFAULT_BRANCH}; or write branch=…"
    return _Value("edge") if branch == context.branch else f"the branch is {context.branch}, not {branch}"


def _raw(rule: Rule, rules: TagRules, context: Context) -> _Value | str:
    return _Value("" if rule.value is None else expand(rule.value, context, rules.short_sha_length))


def _sha(rule: Rule, rules: TagRules, context: Context) -> _Value | str:
    if not context.sha:
        return "the commit is not known"
    return _Value(context.sha if rule.format == "long" else short_sha(context, rules.short_sha_length))


_FINDERS: Final = {
    RuleType.SCHEDULE: _schedule,
    RuleType.SEMVER: _semver,
    RuleType.PEP440: _pep440,
    RuleType.MATCH: _match,
    RuleType.EDGE: _edge,
    RuleType.REF: _ref,
    RuleType.RAW: _raw,
    RuleType.SHA: _sha,
}


def _not_a(what: str, context: Context) -> str:
    return f"not a {what}: {context.ref}" if context.ref else f"not a {what}: nothing is known of a ref"


def _latest(rules: TagRules, context: Context) -> Outcome:
    flavor = rules.flavor
    name = "latest"
    if flavor.prefix_on_latest:
        name = expand(flavor.prefix, context, rules.short_sha_length) + name
    if flavor.suffix_on_latest:
        name += expand(flavor.suffix, context, rules.short_sha_length)
    return Outcome(rule=None, tag=_tag("flavor", f"latest={flavor.latest}", name))


def _tag(where: str, rule: str, text: str) -> str:
    """The text as a tag: what may not stand in one becomes a dash."""
    name = _NOT_IN_A_TAG.sub("-", text)
    try:
        return str(Tag.parse(name))
    except UsageError as error:
        raise ConfigError(
            f"{where} {quoted(rule)} gives {name[:160]!r}, which is no tag",
            hint=f"{error.hint}; prefix=… may help",
        ) from error
