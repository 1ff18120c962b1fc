"""A plan becomes jobs, and each job the flags of one ``dagger call build``."""

from __future__ import annotations

import csv

import pytest
from anyarch.oci.platforms import Platform
from anyarch.release.config import BuildSettings, Config, PlatformSettings
from anyarch.release.matrix import build_arguments, github_matrix
from anyarch.release.plan import make_plan
from hypothesis import given
from hypothesis import strategies as st

from tests.releases import REVISION, a_plan, planned

ARM64 = Platform("linux", "arm64")


def test_a_plain_plan_needs_few_flags() -> None:
    plan = make_plan(Config())
    assert build_arguments(plan, ARM64) == [
        "--platform=linux/arm64",
        "--dockerfile=Dockerfile",
        f"--plan={plan.digest}",
    ]


def test_every_setting_becomes_a_flag() -> None:
    build = BuildSettings(
        target="runtime",
        args={"A": "x=y", "B": ""},
        secrets={"npm": "env:NPM", "key": "file:k.pem"},
        labels={"team": "shop"},
        annotations={"of": "a, b"},
    )
    plan = a_plan("linux/arm64", build=build)
    assert build_arguments(plan, ARM64) == [
        "--platform=linux/arm64",
        "--dockerfile=Dockerfile",
        "--target=runtime",
        "--build-arg=A=x=y",
        "--build-arg=B=",
        "--secret=env:NPM",
        "--secret-id=npm",
        "--secret=file:k.pem",
        "--secret-id=key",
        "--label=team=shop",
        '--annotation="of=a, b"',
        f"--plan={plan.digest}",
        f"--revision={REVISION}",
    ]


@given(st.text(st.sampled_from("a ,\"'#=é\\"), max_size=6))
def test_dagger_reads_each_value_of_a_list_as_it_was_meant(value: str) -> None:
    plan = a_plan("linux/arm64", build=BuildSettings(args={"A": value}))
    (flag,) = [each for each in build_arguments(plan, ARM64) if each.startswith("--build-arg=")]
    (read,) = csv.reader([flag.removeprefix("--build-arg=")], strict=True)
    assert read == [f"A={value}"]


def test_a_quote_is_doubled_since_dagger_refuses_a_bare_one() -> None:
    """Go's reader of CSV, unlike Python's, takes no quote in the middle of an unquoted field."""
    plan = a_plan("linux/arm64", build=BuildSettings(args={"A": 'say "hi"'}))
    assert '--build-arg="A=say ""hi"""' in build_arguments(plan, ARM64)


@pytest.mark.parametrize(
    ("platform", "runner"),
    [
        ("linux/amd64", "ubuntu-latest"),
        ("linux/386", "ubuntu-latest"),
        ("linux/arm64", "ubuntu-24.04-arm"),
        ("linux/arm/v7", "ubuntu-24.04-arm"),
        ("linux/riscv64", "ubuntu-latest"),
    ],
)
def test_each_platform_has_its_default_runner(platform: str, runner: str) -> None:
    (job,) = github_matrix(a_plan(platform))["include"]
    assert job["runner"] == runner


def test_a_job_carries_what_its_steps_need() -> None:
    config = Config(platforms=(PlatformSettings(platform=ARM64, runner="big-arm", required=False),))
    plan = make_plan(config)
    assert github_matrix(plan) == {
        "include": [
            {
                "platform": "linux/arm64",
                "slug": "linux-arm64",
                "runner": "big-arm",
                "required": False,
                "arguments": build_arguments(plan, ARM64),
            }
        ]
    }


def test_no_two_jobs_share_a_slug() -> None:
    names = ["linux/arm/v6", "linux/arm/v7", "linux/arm64", "linux/amd64/v3", "linux/amd64"]
    slugs = [planned(name).platform.slug for name in names]
    assert len(set(slugs)) == len(names)
