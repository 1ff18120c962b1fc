"""What a lifecycle policy of Amazon ECR would take from a repository of multi-platform releases. Pure.

What the service does, and what follows:

- An image belongs to the first rule, by priority, whose tags it meets; no later rule takes it.
- What an index names is kept as long as the index is there, whatever a rule says. What was pushed and is not
  merged yet has no index: it is an untagged image like any other.
- Rules count all manifests: a release of two platforms with attestations is five.
- Ages count from the push. A tag that moves to an old image, by promote or rollback, makes it no younger.
- Several patterns in one rule must all be met, each by one of the image's tags.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from anyarch.errors import ContentError
from anyarch.oci import strict_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

POLICY_MAX_BYTES: Final = 4 * 30_720  # as many characters, of at most four bytes
UNMERGED_DAYS: Final = 7  # a merge may wait for an approval, or be run again next week
ROLLBACK_DAYS: Final = 30
YOUNGEST_KEPT: Final = 1000
_TAGS_SHOWN: Final = 3

# Tags that are there, or will be: rules are for the future, too. The last is anyarch's own bookkeeping.
_OWN: Final = "_anyarch."
_USUAL: Final = tuple(frozenset({tag}) for tag in ("latest", "1.4.2", f"{_OWN}history.latest"))
_UNTAGGED: Final = frozenset[str]()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Args:
        priority: Which comes first; each number once.
        status: ``tagged``, ``untagged`` or ``any``.
        patterns: What tags must be like, ``*`` standing for any characters; all of them.
        counts: ``imageCountMoreThan``, ``sinceImagePushed`` …
        number: Images or days.
        archives: Whether images are put away instead of deleted: then they cannot be pulled.
        of_archive: Whether it is about images that are put away already.
        document: As it was written.
    """

    priority: int
    status: str
    patterns: tuple[str, ...]
    counts: str
    number: int
    archives: bool
    of_archive: bool
    document: Mapping[str, Any] = field(hash=False)

    @property
    def by_count(self) -> bool:
        """Whether it keeps the youngest, however old."""
        return self.counts == "imageCountMoreThan"

    def takes(self, tags: frozenset[str]) -> bool:
        """Whether an image with these tags belongs to it, if to no rule before."""
        if self.of_archive or (self.status == "untagged" and tags) or (self.status == "tagged" and not tags):
            return False
        return all(any(_meets(tag, pattern) for tag in tags) for pattern in self.patterns)

    def __str__(self) -> str:
        which = ", ".join(self.patterns) or self.status
        days = f"{self.number} day{'s' if self.number != 1 else ''}"
        how = f"more than {self.number} images" if self.by_count else days
        return f"rule {self.priority} ({which}, {how})"


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """A manifest in the repository.

    Args:
        digest: Its digest.
        tags: Those that point at it.
        days: Since its push.
        is_index: Whether it names images: with no tag, a release that a tag was moved away from.
    """

    digest: str
    tags: frozenset[str]
    days: float
    is_index: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """What a rule takes that is still needed, in words."""

    rule: Rule
    taken: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rule} {'archives' if self.rule.archives else 'expires'} {'; '.join(self.taken)}"


def read_policy(text: str, *, subject: str) -> tuple[Rule, ...]:
    """The rules of a policy, first the one that is applied first.

    Raises:
        ContentError: it is none.
    """
    document = strict_json.loads_object(text.encode(), subject=subject, max_bytes=POLICY_MAX_BYTES)
    rules = document.get("rules")
    if not isinstance(rules, list):
        raise ContentError(f"{subject} holds no rules", hint="expected a lifecycle policy of Amazon ECR")
    try:
        read = [_read_rule(each) for each in rules]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ContentError(f"{subject} holds a rule that is none of Amazon ECR's") from None
    return tuple(sorted(read, key=lambda rule: rule.priority))


def hazards(rules: Sequence[Rule], tagged: Iterable[frozenset[str]] = ()) -> list[Hazard]:
    """What the rules would take from us; each rule once, in their order.

    Args:
        rules: In their order.
        tagged: The tags of each image that has some.
    """
    lost: dict[int, dict[str, None]] = {}
    for tags in [*tagged, *_USUAL]:
        first = _first(rules, tags)
        if first is not None:
            lost.setdefault(first.priority, {}).update(dict.fromkeys(_lost_tags(first, tags)))
    found = []
    for rule in rules:
        taken = _of_untagged(rule) if _first(rules, _UNTAGGED) is rule else []
        taken += _of_tags(list(lost.get(rule.priority, ())))
        if taken:
            found.append(Hazard(rule=rule, taken=tuple(taken)))
    return found


def former_releases(rules: Sequence[Rule], there: Sequence[There]) -> list[There]:
    """Releases without a tag that would go today: there would be no rollback to them. The youngest first.

    A rule also counts what belongs to one before it.
    """
    rule = _first(rules, _UNTAGGED)
    if rule is None:
        return []
    its = sorted(
        (each for each in there if rule.takes(each.tags)),
        key=lambda each: (each.days, each.digest),
    )
    going = its[rule.number :] if rule.by_count else [each for each in its if each.days > rule.number]
    return [each for each in going if each.is_index and not each.tags]


def safe(rules: Sequence[Rule], tagged: Iterable[frozenset[str]] = ()) -> dict[str, Any]:
    """A policy like the one given that takes nothing which is needed; that one itself, if it does not.

    Rules that take what is needed are left out, and so are those that would take it in their place. What is
    untagged goes after a month then.
    """
    images = list(tagged)
    if rules and not hazards(rules, images):
        return {"rules": [dict(rule.document) for rule in rules]}
    kept = list(rules)
    while dangerous := {hazard.rule.priority for hazard in hazards(kept, images)}:
        kept = [rule for rule in kept if rule.priority not in dangerous]
    documents = [dict(rule.document) for rule in kept]
    if not any(rule.takes(_UNTAGGED) for rule in kept):
        unused = max((rule.priority for rule in kept), default=0) + 1
        documents.append(_untagged_rule(unused))
    return {"rules": documents}


def _of_untagged(rule: Rule) -> list[str]:
    """What goes of what has no tag: builds that are not merged, and releases that have lost their tags."""
    if rule.by_count:
        if rule.number >= YOUNGEST_KEPT:
            return []
        why = "the platforms of every release are counted, too"
        return [f"builds that are not merged yet, and releases to roll back to: {why}"]
    if rule.number < UNMERGED_DAYS:
        return ["builds that are not merged yet, and releases to roll back to, so soon after their push"]
    if rule.number < ROLLBACK_DAYS:
        return ["releases that only a tag which moved on pointed at: there is no rollback to them"]
    return []


def _lost_tags(rule: Rule, tags: frozenset[str]) -> list[str]:
    """Which of an image's tags are not meant to go with it."""
    if rule.status == "any":
        return sorted(tags)
    if rule.by_count and all("*" not in pattern for pattern in rule.patterns):
        return []  # one image at a time has such a tag, so that it is always among the youngest
    if rule.counts == "sinceImagePulled":
        return sorted(tag for tag in tags if tag.startswith(_OWN))
    return sorted(tag for tag in tags if _moves(tag) or not any(_meets(tag, each) for each in rule.patterns))


def _of_tags(tags: list[str]) -> list[str]:
    own = [tag for tag in tags if tag.startswith(_OWN)]
    others = [tag for tag in tags if tag not in own]
    shown = ", ".join(others[:_TAGS_SHOWN]) + (" …" if others[_TAGS_SHOWN:] else "")
    why = "moving a tag makes an image no younger"
    found = [f"what tags such as {shown} point at, however new they are there: {why}"] if others else []
    return found + (["_anyarch.* tags: what rollback and history read"] if own else [])


def _moves(tag: str) -> bool:
    """Whether a tag is one that moves from release to release: names without a number do, and our own."""
    return tag.startswith(_OWN) or not any(c.isdigit() for c in tag)


def _first(rules: Sequence[Rule], tags: frozenset[str]) -> Rule | None:
    return next((rule for rule in rules if rule.takes(tags)), None)


def _untagged_rule(priority: int) -> dict[str, Any]:
    return {
        "rulePriority": priority,
        "description": "never merged, or no tag points at it any more",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": ROLLBACK_DAYS,
        },
        "action": {"type": "expire"},
    }


def _read_rule(document: Mapping[str, Any]) -> Rule:
    selection = document["selection"]
    patterns = [str(each) for each in selection.get("tagPatternList") or ()]
    patterns += [f"{each}*" for each in selection.get("tagPrefixList") or ()]
    return Rule(
        priority=int(document["rulePriority"]),
        status=str(selection["tagStatus"]),
        patterns=tuple(patterns),
        counts=str(selection["countType"]),
        number=int(selection["countNumber"]),
        archives=document.get("action", {}).get("type") == "transition",
        of_archive=selection.get("storageClass") == "archive",
        document=MappingProxyType(dict(document)),
    )


def _meets(tag: str, pattern: str) -> bool:
    """Whether a tag is as a pattern says."""
    return fnmatch.fnmatchcase(tag, pattern.replace("[", "[[]").replace("?", "[?]"))
