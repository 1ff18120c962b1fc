"""``[registries."HOST"]``: what it may say, and how mistakes in it are told."""

from __future__ import annotations

import pytest
from anyarch.errors import ConfigError
from anyarch.release.config import parse_config
from anyarch.release.registries import CreateSettings, RegistrySettings

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def read(text: str) -> RegistrySettings:
    return parse_config(f'[registries."{HOST}"]\n{text}', path="anyarch.toml").registries[HOST]


def test_everything_has_a_default() -> None:
    assert read("") == RegistrySettings()
    assert read("[registries.'123456789012.dkr.ecr.eu-west-1.amazonaws.com'.create]") == RegistrySettings(
        create=CreateSettings()
    )


def test_a_repository_is_described_in_full() -> None:
    read_settings = read(
        'aws-profile = "prod"\n'
        'create.mutability = "immutable"\ncreate.exceptions = ["latest", "pr-*"]\n'
        'create.encryption = "KMS"\ncreate.kms-key = "alias/images"\ncreate.scan-on-push = true\n'
        'create.tags = { team = "shop", empty = "" }\ncreate.lifecycle-policy = "ecr/lifecycle.json"\n'
    )
    assert read_settings.aws_profile == "prod"
    assert read_settings.create == CreateSettings(
        mutability="immutable",
        exceptions=("latest", "pr-*"),
        encryption="KMS",
        kms_key="alias/images",
        scan_on_push=True,
        tags={"team": "shop", "empty": ""},
        lifecycle_policy="ecr/lifecycle.json",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param('aws-profil = "x"', "aws-profile", id="misspelt key"),
        pytest.param('aws-profile = "a b"', "not the name of an AWS profile", id="profile with a space"),
        pytest.param('create.mutability = "fixed"', "expected mutable or immutable", id="unknown mutability"),
        pytest.param('create.exceptions = ["v[0-9]"]', "not a pattern of tags", id="not a wildcard"),
        pytest.param('create.exceptions = ["a*b*c*"]', "not a pattern of tags", id="too many stars"),
        pytest.param('create.exceptions = ["a", "b", "c", "d", "e"]', "more than the 4", id="too many"),
        pytest.param('create.kms-key = "alias/x"', 'encryption = "KMS"', id="a key that nothing uses"),
        pytest.param('create.lifecycle-policy = "../x.json"', "outside the folder", id="file elsewhere"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert problem in str(refused.value)
    assert HOST in str(refused.value)
