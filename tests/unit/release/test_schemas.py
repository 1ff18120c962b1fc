"""The published schemas and the code agree: what we write is valid, what we refuse is not."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, cast

import pytest
from anyarch.errors import AnyarchError
from anyarch.release.config import parse_config
from anyarch.release.plan import Plan, make_plan
from anyarch.release.record import Record
from hypothesis import given
from jsonschema import Draft202012Validator

from tests.releases import a_build, a_plan, a_record
from tests.unit.release.test_config import FULL
from tests.unit.release.test_plan import plans
from tests.unit.release.test_record import records

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT / "docs" / "schemas"


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


CONFIG, PLAN, RECORD = (validator(name) for name in ("anyarch.toml", "plan", "record"))


def properties(schema: Draft202012Validator) -> set[str]:
    return set(cast("dict[str, Any]", schema.schema)["properties"])


@given(plans)
def test_every_plan_is_valid(plan: Plan) -> None:
    PLAN.validate(json.loads(plan.to_json()))


@given(records)
def test_every_record_is_valid(record: Record) -> None:
    RECORD.validate(json.loads(record.to_json()))


def test_the_schemas_name_exactly_the_keys_that_are_written() -> None:
    assert properties(PLAN) == set(json.loads(a_plan().to_json()))
    assert properties(RECORD) == set(json.loads(a_record(a_build("linux/386")).to_json()))


def test_what_no_schema_knows_is_refused() -> None:
    """A key that is added to a document, or taken away, must be added to its schema, or taken away."""
    for name in ("diff", "doctor", "plan", "prune", "record", "verify"):
        schema = cast("dict[str, Any]", validator(name).schema)
        assert schema["additionalProperties"] is False, name
        assert set(schema["required"]) <= set(schema["properties"]), name


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(FULL, id="every key"),
        pytest.param("", id="empty"),
        *(
            pytest.param(path.read_text(), id=f"examples/{path.parent.name}")
            for path in sorted(ROOT.glob("examples/*/anyarch.toml"))
        ),
    ],
)
def test_a_configuration_that_is_read_is_valid(text: str) -> None:
    assert make_plan(parse_config(text, path="anyarch.toml")).platforms
    CONFIG.validate(tomllib.loads(text))


def test_the_full_example_has_every_key_of_the_schema() -> None:
    document, schema = tomllib.loads(FULL), cast("dict[str, Any]", CONFIG.schema)["properties"]
    assert set(document) == set(schema)
    for table in ("build", "tags"):
        assert set(document[table]) == set(schema[table]["properties"])
    for table in ("platforms", "registries"):
        used = {key for entry in document[table].values() for key in entry}
        assert used == set(schema[table]["additionalProperties"]["properties"])


def plan_with(**changes: object) -> dict[str, object]:
    return {**json.loads(a_plan().to_json()), **changes}


def record_with(**changes: object) -> dict[str, object]:
    return {**json.loads(a_record(a_build("linux/386")).to_json()), **changes}


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        pytest.param(PLAN, plan_with(schema=2), id="plan of a later schema"),
        pytest.param(PLAN, plan_with(platforms=[]), id="plan without platforms"),
        pytest.param(PLAN, plan_with(extra=1), id="plan with an unknown key"),
        pytest.param(PLAN, plan_with(tags=["a b"]), id="plan with an odd tag"),
        pytest.param(PLAN, plan_with(revision="a b"), id="plan with an odd revision"),
        pytest.param(PLAN, plan_with(changes="dirty"), id="plan with odd changes"),
        pytest.param(RECORD, record_with(platform="linux"), id="record with half a platform"),
        pytest.param(RECORD, record_with(image={}), id="record without image"),
        pytest.param(RECORD, record_with(plan="none"), id="record with an odd plan"),
        pytest.param(RECORD, record_with(execution="fast"), id="record with an odd execution"),
        pytest.param(RECORD, record_with(seconds={"A b": 1}), id="record with an odd phase"),
        pytest.param(RECORD, record_with(started="yesterday"), id="record with an odd time"),
        pytest.param(RECORD, record_with(run={"attempt": 0}), id="record of attempt 0"),
        pytest.param(RECORD, record_with(steps=-1), id="record with negative steps"),
        pytest.param(CONFIG, {"imge": "a/b"}, id="configuration with a misspelt key"),
        pytest.param(CONFIG, {"build": {"secrets": {"npm": "hunter2"}}}, id="configuration with a secret"),
        pytest.param(CONFIG, {"build": {"timeout": "2 hours"}}, id="configuration with an odd time"),
        pytest.param(CONFIG, {"build": {"dockerfile": "/x"}}, id="configuration with an absolute path"),
        pytest.param(CONFIG, {"platforms": {"linux": {}}}, id="configuration with half a platform"),
        pytest.param(CONFIG, {"tags": {"raw": ["latest"]}}, id="configuration with an unknown key for tags"),
        pytest.param(CONFIG, {"tags": {"rules": [1]}}, id="configuration with a number as rule"),
        pytest.param(CONFIG, {"tags": {"short-sha-length": 3}}, id="configuration with a commit id of 3"),
        pytest.param(
            CONFIG, {"build": {"annotations": {"dev.anyarch.plan": "x"}}}, id="an annotation of anyarch's"
        ),
    ],
)
def test_what_the_code_refuses_is_not_valid_either(
    schema: Draft202012Validator, document: dict[str, Any]
) -> None:
    assert not schema.is_valid(document)
    with pytest.raises(AnyarchError):
        READERS[id(schema)](document)


def _read_plan(document: dict[str, Any]) -> object:
    return Plan.from_json(json.dumps(document).encode(), subject="plan.json")


def _read_record(document: dict[str, Any]) -> object:
    return Record.from_json(json.dumps(document).encode(), subject="record.json")


def _read_config(document: dict[str, Any]) -> object:
    return parse_config(_toml(document), path="anyarch.toml")


READERS = {id(PLAN): _read_plan, id(RECORD): _read_record, id(CONFIG): _read_config}


def _toml(document: dict[str, Any]) -> str:
    """One line a key: JSON's strings and lists are TOML's too, and an inline table needs only ``=``."""
    return "\n".join(f"{key} = {_inline(value)}" for key, value in document.items())


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)
