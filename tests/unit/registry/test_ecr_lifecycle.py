"""Which lifecycle policies take what is needed, and that the proposed ones never do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from anyarch.errors import ContentError
from anyarch.registry.ecr_lifecycle import There, former_releases, hazards, read_policy, safe
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.registry.ecr_lifecycle import Rule


def a_rule(
    priority: int = 1,
    status: str = "untagged",
    number: int = 30,
    *patterns: str,
    counts: str = "sinceImagePushed",
    **selection: Any,  # noqa: ANN401  as in the policy
) -> dict[str, Any]:
    chosen = {"tagStatus": status, "countType": counts, "countNumber": number, **selection}
    if counts != "imageCountMoreThan":
        chosen["countUnit"] = "days"
    if patterns:
        chosen["tagPatternList"] = list(patterns)
    return {"rulePriority": priority, "selection": chosen, "action": {"type": "expire"}}


def read(*rules: dict[str, Any]) -> tuple[Rule, ...]:
    return read_policy(json.dumps({"rules": rules}), subject="the policy")


def images(*tags: str) -> list[frozenset[str]]:
    """Each word is an image's tags, with commas between."""
    return [frozenset(each.split(",")) for each in tags]


COUNT = "imageCountMoreThan"


@pytest.mark.parametrize(
    ("rules", "tagged", "said"),
    [
        pytest.param(
            [a_rule(number=1)],
            [],
            "rule 1 (untagged, 1 day) expires builds that are not merged",
            id="untagged after a day",
        ),
        pytest.param([a_rule(number=14)], [], "there is no rollback to them", id="untagged after two weeks"),
        pytest.param(
            [a_rule(number=10, counts=COUNT)],
            [],
            "the platforms of every release are counted",
            id="ten untagged: a release alone has four",
        ),
        pytest.param(
            [a_rule(1, "any", 365)], [], "latest", id="everything after a year: a stable release may be older"
        ),
        pytest.param(
            [a_rule(1, "any", 100, counts=COUNT)],
            [],
            "the platforms of every release are counted",
            id="a hundred of everything",
        ),
        pytest.param(
            [a_rule(1, "tagged", 90, "*")], [], "_anyarch.* tags", id="every tag: the history of tags, too"
        ),
        pytest.param(
            [a_rule(1, "tagged", 90, "l*")],
            [],
            "what tags such as latest point at",
            id="a tag that moves, and was promoted to something old",
        ),
        pytest.param(
            [a_rule(1, "tagged", 14, "sha-*")],
            images("sha-1f2e,stable"),
            "such as stable",
            id="promoted under another tag",
        ),
        pytest.param(
            [a_rule(1, "tagged", 5, "sha-*", counts=COUNT)],
            images("sha-1f2e,stable"),
            "such as stable",
            id="the same by count",
        ),
        pytest.param(
            [a_rule(1, "tagged", 14, tagPrefixList=["sha-"])],
            images("sha-1f2e,stable"),
            "such as stable",
            id="the same by prefix",
        ),
        pytest.param(
            [
                a_rule(1, "tagged", 14, "sha-*")
                | {"action": {"type": "transition", "targetStorageClass": "archive"}}
            ],
            images("sha-1f2e,stable"),
            "archives what",
            id="put away: it cannot be pulled either",
        ),
    ],
)
def test_a_policy_that_takes_what_is_needed(
    rules: list[dict[str, Any]], tagged: list[frozenset[str]], said: str
) -> None:
    found = hazards(read(*rules), tagged)
    assert any(said in str(each) for each in found), list(map(str, found))


@pytest.mark.parametrize(
    ("rules", "tagged"),
    [
        pytest.param([a_rule(number=30)], images("stable"), id="untagged after a month"),
        pytest.param([a_rule(number=1000, counts=COUNT)], [], id="a thousand untagged"),
        pytest.param([a_rule(1, "tagged", 14, "pr-*")], images("pr-7", "1.0.0,latest"), id="pull requests"),
        pytest.param(
            [a_rule(1, "tagged", 1, "latest", counts=COUNT)], images("latest"), id="one image can have a tag"
        ),
        pytest.param(
            [a_rule(1, "tagged", 14, "pr-*", "sha-*")],
            images("pr-7,stable"),
            id="two patterns must both be met",
        ),
        pytest.param(
            [a_rule(1, "tagged", 1, "stable", counts=COUNT), a_rule(2, "tagged", 14, "sha-*")],
            images("sha-1f2e,stable"),
            id="an earlier rule has it, and keeps it",
        ),
        pytest.param(
            [a_rule(1, "any", 30, storageClass="archive")], images("stable"), id="what is put away already"
        ),
        pytest.param([a_rule(1, "tagged", 14, "lates?")], [], id="other wildcards are none"),
        pytest.param([a_rule(1, "tagged", 14, "[l]atest")], [], id="nor are sets of letters"),
    ],
)
def test_a_policy_that_takes_nothing_which_is_needed(
    rules: list[dict[str, Any]], tagged: list[frozenset[str]]
) -> None:
    assert list(map(str, hazards(read(*rules), tagged))) == []
    assert safe(read(*rules), tagged) == {"rules": rules}


def test_rules_count_in_the_order_of_their_priorities() -> None:
    keep, take = a_rule(5, "tagged", 1, "stable", counts=COUNT), a_rule(7, "tagged", 14, "sha-*")
    assert hazards(read(take, keep), images("sha-1f2e,stable")) == []


def test_a_proposal_keeps_what_is_harmless_and_mends_the_rest() -> None:
    pull_requests, once = a_rule(1, "tagged", 14, "pr-*"), a_rule(2, number=1)
    everything = a_rule(3, "any", 90)
    proposed = safe(read(pull_requests, once, everything))
    assert proposed["rules"][0] == pull_requests
    assert [each["selection"]["countNumber"] for each in proposed["rules"]] == [14, 30]


def test_where_there_is_no_policy_what_is_untagged_goes_after_a_month() -> None:
    """The service takes policies from 100 characters on."""
    (rule,) = safe(())["rules"]
    assert rule["selection"]["countNumber"] == 30
    assert len(json.dumps(safe(()))) >= 100


@pytest.mark.parametrize("text", ["{}", "[]", '{"rules": [{}]}', '{"rules": [1]}', "no JSON", '{"rules": 1}'])
def test_what_is_no_policy(text: str) -> None:
    with pytest.raises(ContentError, match="the policy"):
        read_policy(text, subject="the policy")


@dataclass(frozen=True)
class AnImage:
    """``age`` is days since the push; ``held`` by an index that is there."""

    tags: frozenset[str]
    age: int
    held: bool


TAGS = ["latest", "stable", "1.4.2", "1.4", "pr-7", "sha-1f2e", "_anyarch.history.latest"]
PATTERNS = ["*", "latest", "1.*", "pr-*", "sha-*", "_*", "s*e", "1.4.2"]
IMAGES = st.lists(
    st.builds(
        AnImage,
        tags=st.frozensets(st.sampled_from(TAGS), max_size=3),
        age=st.integers(0, 400),
        held=st.booleans(),
    ),
    max_size=12,
)


@st.composite
def policies(draw: st.DrawFn) -> list[dict[str, Any]]:
    """As the service takes them: one rule for untagged images, one for any, which is the last."""
    number = st.integers(1, 60)
    counts = st.sampled_from(["sinceImagePushed", COUNT])
    statuses = draw(st.lists(st.just("tagged"), max_size=3)) + draw(st.sampled_from([[], ["untagged"]]))
    statuses = [*draw(st.permutations(statuses)), *draw(st.sampled_from([[], ["any"]]))]
    rules = []
    for priority, status in enumerate(statuses, 1):
        patterns = (
            draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2)) if status == "tagged" else []
        )
        rules.append(a_rule(priority * 10, status, draw(number), *patterns, counts=draw(counts)))
    return rules


def expired(rules: Sequence[dict[str, Any]], there: Sequence[AnImage]) -> set[int]:
    """What the service would delete, written down anew from its documentation."""
    claimed: set[int] = set()
    gone: set[int] = set()
    for rule in sorted(rules, key=lambda each: int(each["rulePriority"])):
        chosen = rule["selection"]
        met = []
        for number, image in enumerate(there):
            if (chosen["tagStatus"], bool(image.tags)) in {("tagged", False), ("untagged", True)}:
                continue
            wanted = chosen.get("tagPatternList", [])
            if all(any(glob(tag, pattern) for tag in image.tags) for pattern in wanted):
                met.append(number)
        met.sort(key=lambda number: there[number].age)
        if chosen["countType"] == COUNT:
            old = met[chosen["countNumber"] :]
        else:
            old = [number for number in met if there[number].age > chosen["countNumber"]]
        gone |= {number for number in old if number not in claimed and not there[number].held}
        claimed |= set(met)
    return gone


def glob(tag: str, pattern: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return tag == pattern
    return len(tag) >= len(head) + len(tail) and tag.startswith(head) and tag.endswith(tail)


def is_needed(image: AnImage) -> bool:
    """Not merged yet or to be rolled back to; or where a moving tag, or our own, points."""
    if not image.tags:
        return image.age < 30
    return bool(image.tags & {"latest", "stable", "_anyarch.history.latest"})


def test_a_rule_counts_what_an_earlier_one_keeps() -> None:
    rules = read(a_rule(1, "tagged", 9, "v*", counts=COUNT), a_rule(2, "any", 2, counts=COUNT))
    there = [There(digest=str(age), tags=frozenset({f"v{age}"}), days=age, is_index=True) for age in (1, 2)]
    old = There(digest="3", tags=frozenset(), days=3, is_index=True)
    assert former_releases(rules, [old, *there]) == [old]
    assert former_releases(rules, [old, there[0]]) == []


@given(rules=policies(), there=IMAGES)
def test_former_releases_that_would_go_are_those_that_the_service_takes(
    rules: list[dict[str, Any]], there: list[AnImage]
) -> None:
    """Every image of no other age, as the service orders those of one age by what nobody knows."""
    unique = [AnImage(image.tags, number * 7, held=False) for number, image in enumerate(there)]
    given = [
        There(digest=str(number), tags=image.tags, days=image.age, is_index=True)
        for number, image in enumerate(unique)
    ]
    wanted = [str(number) for number in sorted(expired(rules, unique)) if not unique[number].tags]
    assert [each.digest for each in former_releases(read(*rules), given)] == wanted


@given(rules=policies(), there=IMAGES)
def test_no_proposed_policy_takes_what_is_needed(rules: list[dict[str, Any]], there: list[AnImage]) -> None:
    """A tag is at one image at a time."""
    seen: set[str] = set()
    unique = []
    for image in there:
        unique.append(AnImage(image.tags - seen, image.age, image.held))
        seen |= image.tags
    tagged = [image.tags for image in unique if image.tags]
    proposed = safe(read(*rules), tagged)["rules"]
    assert [unique[number] for number in expired(proposed, unique) if is_needed(unique[number])] == []
    again = read(*proposed)
    assert hazards(again, tagged) == []
    assert safe(again, tagged)["rules"] == proposed
    priorities = [rule["rulePriority"] for rule in proposed]
    assert len(set(priorities)) == len(priorities)
    assert [rule["rulePriority"] for rule in proposed if rule["selection"]["tagStatus"] == "any"] in (
        [],
        [max(priorities)],
    )
