"""Host names of Amazon ECR, read into account, region and endpoint."""

from __future__ import annotations

import pytest
from anyarch.registry.ecr_advice import aws_command
from anyarch.registry.ecr_host import EcrHost, hosts_in
from anyarch.registry.ecr_typo import meant
from hypothesis import given
from hypothesis import strategies as st

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-3", "us-gov-west-1", "cn-northwest-1", "us-isob-east-1")


@pytest.mark.parametrize(
    ("host", "region", "partition", "fips", "dual_stack"),
    [
        pytest.param(
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1", "aws", False, False, id="private"
        ),
        pytest.param(
            "123456789012.dkr.ecr-fips.us-east-2.amazonaws.com", "us-east-2", "aws", True, False, id="FIPS"
        ),
        pytest.param(
            "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com",
            "us-gov-west-1",
            "aws-us-gov",
            False,
            False,
            id="GovCloud",
        ),
        pytest.param(
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
            "aws-cn",
            False,
            False,
            id="China",
        ),
        pytest.param(
            "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
            "eusc-de-east-1",
            "aws-eusc",
            False,
            False,
            id="the European sovereign cloud",
        ),
        pytest.param(
            "123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1", "aws", False, True, id="dual-stack"
        ),
        pytest.param(
            "123456789012.dkr-ecr-fips.us-gov-east-1.on.aws",
            "us-gov-east-1",
            "aws-us-gov",
            True,
            True,
            id="GovCloud, FIPS and dual-stack",
        ),
        pytest.param(
            "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
            "cn-north-1",
            "aws-cn",
            False,
            True,
            id="China, dual-stack",
        ),
    ],
)
def test_a_private_registry_is_known_by_its_name(
    host: str, region: str, partition: str, fips: bool, dual_stack: bool
) -> None:
    assert EcrHost.parse(host) == EcrHost(
        host=host,
        service="ecr",
        account="123456789012",
        region=region,
        partition=partition,
        fips=fips,
        dual_stack=dual_stack,
    )


@pytest.mark.parametrize("host", ["public.ecr.aws", "ecr-public.aws.com"])
def test_the_public_registry_is_asked_in_one_region(host: str) -> None:
    found = EcrHost.parse(host)
    assert found is not None
    assert (found.service, found.region, found.account) == ("ecr-public", "us-east-1", "")
    assert found.repository_name("alias/team/app") == "team/app"
    assert (
        aws_command(found, "create-repository", "alias/app")
        == "aws ecr-public create-repository --region us-east-1 --repository-name app"
    )


@pytest.mark.parametrize(
    ("profile", "ending"),
    [
        pytest.param("", "", id="the environment's"),
        pytest.param("two words", " --profile 'two words'", id="a profile"),
    ],
)
def test_a_command_names_account_region_and_profile(profile: str, ending: str) -> None:
    """Without the account, it would be done in that of whoever asks."""
    found = EcrHost.parse("999999999999.dkr.ecr.eu-west-1.amazonaws.com")
    assert found is not None
    assert aws_command(found, "create-repository", "shop/api", profile=profile) == (
        "aws ecr create-repository --region eu-west-1 --registry-id 999999999999 --repository-name shop/api"
        + ending
    )


@pytest.mark.parametrize(
    "host",
    [
        "registry.example.com",
        "localhost:5000",
        "",
        "dkr.ecr.eu-west-1.amazonaws.com",
        "12345.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com",
        "123456789012.dkr.ecr.eu-west-1.example.com",
        "123456789012xdkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.on.aws",
        "123456789012.dkr-ecr.eu-west-1.amazonaws.com",
        "evil.com/123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com\n",
        "\uff11\uff12\uff13456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "s3.eu-west-1.amazonaws.com",
        "public.ecr.aws.example.com",
    ],
)
def test_no_other_host_is_taken_for_one(host: str) -> None:
    """A stranger's host must never be shown a token of AWS."""
    assert EcrHost.parse(host) is None


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = EcrHost.parse(text)
    assert found is None or found.host == text


@given(st.integers(0, 10**12 - 1), st.sampled_from(REGIONS), st.booleans())
def test_account_and_region_come_back_out_of_any_name(number: int, region: str, fips: bool) -> None:
    account, suffix = f"{number:012d}", "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    found = EcrHost.parse(f"{account}.dkr.ecr{'-fips' if fips else ''}.{region}.{suffix}")
    assert found is not None
    assert (found.account, found.region, found.fips) == (account, region, fips)


PLAIN = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("dockerfile", "found"),
    [
        pytest.param(f"FROM {PLAIN}/base:1\n", {PLAIN}, id="FROM"),
        pytest.param(f"FROM --platform=$BUILDPLATFORM {PLAIN}/base AS b\n", {PLAIN}, id="FROM a platform"),
        pytest.param(f"FROM scratch\nCOPY --from={PLAIN}/tools /a /b\n", {PLAIN}, id="COPY --from"),
        pytest.param(f'ARG BASE="{PLAIN}/base"\nFROM ${{BASE}}:1\n', {PLAIN}, id="ARG"),
        pytest.param(
            "ARG REGION=eu-west-1\nARG HOST=123456789012.dkr.ecr.$REGION.amazonaws.com\nFROM ${HOST}/base\n",
            {PLAIN},
            id="a name put together",
        ),
        pytest.param(
            "ARG REGION\nFROM 123456789012.dkr.ecr.${REGION:-eu-north-1}.amazonaws.com/base\n",
            {PLAIN.replace("west", "north")},
            id="a default",
        ),
        pytest.param("ARG HOST\nFROM ${SET}/base\n", {PLAIN}, id="an argument of the build"),
        pytest.param("FROM public.ecr.aws/docker/library/debian\n", {"public.ecr.aws"}, id="public"),
        pytest.param("FROM debian\nFROM r.example.com/a.b/c\n", set(), id="others"),
        pytest.param(f"FROM {PLAIN}.example.com/base\n", set(), id="a name that only begins like one"),
    ],
)
def test_the_registries_that_a_dockerfile_names(dockerfile: str, found: set[str]) -> None:
    assert hosts_in(dockerfile, {"SET": PLAIN}) == found


@pytest.mark.parametrize(
    ("host", "said"),
    [
        pytest.param(
            "123456789012.dkr.ecr.eu-west-1.amazonws.com",
            "did you mean 123456789012.dkr.ecr.eu-west-1.amazonaws.com?",
            id="its domain",
        ),
        pytest.param(
            "123456789012.drk.ecr.eu-west-1.amazonaws.com",
            "did you mean 123456789012.dkr.ecr.eu-west-1.amazonaws.com?",
            id="dkr",
        ),
        pytest.param(
            "123456789012.dkr.erc-fips.us-east-1.amazonaws.com",
            "did you mean 123456789012.dkr.ecr-fips.us-east-1.amazonaws.com?",
            id="ecr",
        ),
        pytest.param(
            "123456789012.dkr.ecr.cn-north-1.amazonaws.cn",
            "did you mean 123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn?",
            id="China's domain",
        ),
        pytest.param(
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "an AWS account has 12 digits, and 12345678901 has 11",
            id="a digit too few",
        ),
        pytest.param(
            "123456789012.dkr.ecr.euwest1.amazonaws.com",
            "euwest1 is no region of amazonaws.com",
            id="its region",
        ),
        pytest.param("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "", id="nothing"),
        pytest.param("registry.example.com", "", id="another registry"),
        pytest.param("123456789012.dkr.example.eu-west-1.amazonaws.com", "", id="another service"),
        pytest.param("123456789012.dkr.ecr.eu-west-1.example.com", "", id="another domain"),
    ],
)
def test_a_mistyped_name_is_noticed(host: str, said: str) -> None:
    assert meant(host) == said
