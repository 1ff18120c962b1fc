"""The policies that ``anyarch doctor aws`` prints, and how it shows what is missing from one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from anyarch.cli.main import run

from tests.fake_ecr import HOST, FakeEcr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPOSITORY = f"{HOST}/shop/api"
OF_REPOSITORY = ["ecr:BatchGetImage", "ecr:CreateRepository"]


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    with FakeEcr(tmp_path, "shop/api") as started:
        started.use(monkeypatch)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.chdir(tmp_path)
        yield started


@pytest.mark.parametrize(
    ("configured", "actions"),
    [
        pytest.param("", [*OF_REPOSITORY, "ecr:TagResource", "ecr:PutLifecyclePolicy"], id="nothing"),
        pytest.param("scan-on-push = true", OF_REPOSITORY, id="without tags and lifecycle"),
        pytest.param('tags = { team = "shop" }', [*OF_REPOSITORY, "ecr:TagResource"], id="tags"),
        pytest.param(
            'lifecycle-policy = "lifecycle.json"',
            [*OF_REPOSITORY, "ecr:PutLifecyclePolicy", "ecr:GetLifecyclePolicy"],
            id="a lifecycle policy, whose file nobody reads for this",
        ),
        pytest.param(
            'encryption = "KMS"\nkms-key = "alias/images"',
            [*OF_REPOSITORY, "kms:CreateGrant", "kms:RetireGrant", "kms:DescribeKey"],
            id="a key",
        ),
        pytest.param('encryption = "KMS"', OF_REPOSITORY, id="Amazon's own key"),
    ],
)
def test_the_policy_for_making_repositories_is_as_anyarch_toml_makes_them(
    ecr: FakeEcr, tmp_path: Path, capsys: pytest.CaptureFixture[str], configured: str, actions: list[str]
) -> None:
    if configured:
        (tmp_path / "anyarch.toml").write_text(f'[registries."{HOST}".create]\n{configured}\n')
    assert run(["doctor", "aws", REPOSITORY, "--policy", "create"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    _, *statements = document["Statement"]
    assert [action for each in statements for action in each["Action"]] == actions
    assert ecr.asked_of_api == [], "it asks nobody"


def test_the_policy_of_a_repository_is_for_another_account(
    ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    role = "arn:aws:iam::999999999999:role/ci"
    assert run(["doctor", "aws", REPOSITORY, "--policy", "merge", "--principal", role]) == 0
    (only,) = json.loads(capsys.readouterr().out)["Statement"]
    assert only["Principal"] == {"AWS": [role]}
    assert "ecr:PutImage" in only["Action"]
    assert ecr.asked_of_api == []


def test_people_see_a_missing_statement_once_and_as_a_policy_has_it(
    ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.deny("ecr:PutImage")
    assert run(["doctor", "aws", REPOSITORY]) == 40
    lines = capsys.readouterr().out.splitlines()
    indent = " " * lines[0].index("arn:")
    begin = lines.index(f"{indent}→ add to the policy of role release:")
    statement = json.loads("".join(lines[begin + 1 : begin + 8]))
    assert statement["Action"] == ["ecr:PutImage"]
    assert lines.count(f"{indent}→ the same as for build") == 3, "merge, promote and prune"
    assert sum("ecr:PutImage" in line for line in lines) == 1
