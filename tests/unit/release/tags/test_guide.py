"""The guide says what is true: its configurations are read, its rules give tags."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from anyarch.release.config import parse_config

from tests.unit.release.tags.happenings import faults, happened, tags

GUIDE = (Path(__file__).parents[4] / "docs" / "tags.md").read_text()
CONFIGURATIONS = re.findall(r"```toml\n(.*?)```", GUIDE, flags=re.DOTALL)
RULES = [
    rule
    for rule in re.findall(r"`((?:type|enable)=[^`…]+)`", GUIDE)
    if "${{" not in rule and rule != "type=ref"
]


@pytest.mark.parametrize("text", CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
def test_its_configurations_are_read(text: str) -> None:
    parse_config(text, path="anyarch.toml")


@pytest.mark.parametrize("rule", RULES)
def test_its_rules_have_a_meaning(rule: str) -> None:
    text = rule.replace(r"\|false", "")
    assert faults(f"x,{text}" if text.startswith("enable") else text) == []


def test_its_example_gives_what_it_shows() -> None:
    config = parse_config(CONFIGURATIONS[0], path="anyarch.toml")
    assert config.tags is not None
    rules = "\n".join(rule.text for rule in config.tags.rules)
    shown = [line.split()[0] for line in re.findall(r"(?m)^(?:\S+) +(?:type=|flavor).*$", GUIDE)]
    tagged = happened("refs/tags/v1.4.2", sha="c3b9412" + "0" * 33)
    assert tags(rules, tagged) == [word for word in shown if word != "-"]
