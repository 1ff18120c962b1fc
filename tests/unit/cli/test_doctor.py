"""``anyarch doctor registry`` as a program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from anyarch.cli.main import run

from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Fault
from tests.unit.release.test_schemas import validator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SCHEMA = validator("doctor")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as started:
        yield started


def test_each_line_is_ok_or_says_what_to_do(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "registry", f"{registry.host}/shop/api"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("ok push allowed; an upload was begun and given up") for line in lines)
    assert "→ many registries make it with the first push; Amazon ECR and some others do not" in lines


def test_what_publishing_needs_and_is_not_there_has_an_exit_code(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.faults.append(Fault("status", status=403, code="DENIED", method="POST", times=9))
    assert run(["doctor", "registry", f"{registry.host}/shop/api", "--format", "json"]) == 40
    output = capsys.readouterr()
    document = json.loads(output.out)
    SCHEMA.validate(document)
    assert (document["schema"], document["ok"]) == (1, False)
    checks = {each["name"]: each for each in document["checks"]}
    assert checks["push"]["verdict"] == "fail"
    assert checks["pull"]["verdict"] == "warn"
    assert output.err == ""


def test_what_was_not_looked_at_takes_one_line(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.switches.auth = "basic"
    assert run(["doctor", "registry", f"{registry.host}/shop/api"]) == 40
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("skipped  pull, manifest, push, ")
    assert last.endswith(", which need what failed")


def test_the_source_of_the_credentials_is_named_and_they_are_not_shown(
    registry: FakeRegistry,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    registry.switches.auth = "bearer"
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", USERNAME)
    monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", PASSWORD)
    assert run(["doctor", "registry", registry.host]) == 0
    output = capsys.readouterr()
    assert "accepted, from ANYARCH_REGISTRY_USERNAME (robot)" in output.out
    monkeypatch.delenv("ANYARCH_REGISTRY_USERNAME")
    entry = {"username": USERNAME, "password": PASSWORD}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert run(["doctor", "registry", registry.host]) == 0
    output = capsys.readouterr()
    assert f"accepted, from the entry of {registry.host} in {tmp_path}/config.json" in output.out
    assert PASSWORD not in output.out


def test_without_a_name_the_destination_of_the_configuration_counts(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "anyarch.toml").write_text(f'image = "{registry.host}/shop/api"\n')
    assert run(["doctor", "registry", "--path", str(tmp_path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["subject"] == f"{registry.host}/shop/api"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param([], "no registry is named", id="nothing"),
        pytest.param(["oci:dist"], "is a directory", id="a layout"),
        pytest.param(["registry.example.com/Shop"], "is not a repository", id="upper case"),
        pytest.param(["https://registry.example.com"], "is not a repository", id="a URL"),
        pytest.param(["registry.example.com/a:b:c"], "is not", id="two tags"),
    ],
)
def test_words_that_make_no_sense(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["doctor", "registry", *words]) == 2
    assert said in capsys.readouterr().err
