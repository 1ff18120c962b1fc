"""A role taken by a job of GitHub Actions, with the strict fake for GitHub's tokens, STS and ECR."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest
from anyarch.errors import AnyarchError, AuthenticationError, DeniedError
from anyarch.registry import aws_github
from anyarch.registry import ecr as api
from anyarch.registry.ecr_host import EcrHost
from botocore.exceptions import BotoCoreError
from moto.server import ThreadedMotoServer

from tests.fake_ecr import FakeEcr
from tests.fake_github_tokens import BEARER, SIGNATURE, SUBJECT, TOKEN_HOST, a_token, job_environment
from tests.fake_repositories import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PRIVATE = cast("EcrHost", EcrHost.parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com"))
CHINA = cast("EcrHost", EcrHost.parse("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"))
ROLE = "arn:aws:iam::123456789012:role/shop-api-build"
KEY = "ASIABUILD"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    with FakeEcr(tmp_path, "shop/api") as fake:
        fake.use(monkeypatch)
        for name in (*KEYS, "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in job_environment(ROLE).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(aws_github.GitHubRole.__init__, "__defaults__", (lambda _: None,))
        fake.let_in(ROLE, KEY)
        yield fake


def keys(where: EcrHost = PRIVATE) -> Any:  # noqa: ANN401  of an SDK without types
    """What the SDK would sign with, fetched as for a call."""
    found = api.Account(where)._opened().get_credentials()  # noqa: SLF001  what no public method shows
    return found.get_frozen_credentials() if found else None


async def test_a_job_gets_a_password_for_ecr(ecr: FakeEcr) -> None:
    account = api.Account(PRIVATE)
    credential = await account.credential()
    assert credential.username == "AWS"
    assert ecr.issued[credential.password][0].key == KEY
    session = account.session()
    assert (session.source, session.renews) == ("a role by this job's GitHub token (OIDC)", True)
    assert session.ends_at is not None
    assert ecr.github.audiences == ["sts.amazonaws.com"]
    assert ecr.github.sessions == ["anyarch-7"]


async def test_a_stranger_s_sts_takes_the_request_too(ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto's: it trusts every token, but reads the request by AWS's own model."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://{host}:{port}")
        account = api.Account(PRIVATE)
        arn = account.call("sts:GetCallerIdentity", lambda client: client.get_caller_identity())["Arn"]
    finally:
        server.stop()
    assert arn.endswith("assumed-role/shop-api-build/anyarch-7")
    assert ecr.github.sessions == []


def test_china_has_an_audience_of_its_own(ecr: FakeEcr) -> None:
    keys(CHINA)
    assert ecr.github.audiences == ["sts.amazonaws.com.cn"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("AWS_ACCESS_KEY_ID", "AKIAOTHER", id="keys"),
        pytest.param("AWS_PROFILE", "other", id="a profile"),
        pytest.param("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token", id="a token file"),
        pytest.param("AWS_ROLE_ARN", "", id="no role"),
        pytest.param("ACTIONS_ID_TOKEN_REQUEST_URL", "", id="no permission to ask"),
    ],
)
def test_the_token_is_not_asked_for_where_the_environment_says_otherwise(
    ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv(name, value)
    with suppress(AnyarchError, OSError, BotoCoreError):
        keys()
    assert ecr.github.audiences == []


@pytest.mark.parametrize("refusals", [1, 4])
def test_a_refusal_that_passes_is_tried_again_with_another_token(ecr: FakeEcr, refusals: int) -> None:
    ecr.github.refusals = refusals
    assert keys().access_key == KEY
    assert len(ecr.github.audiences) == len(ecr.github.sessions) == refusals + 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Reply(500, {}, b""), id="out of order"),
        pytest.param(Reply(200, {}, b"<html>"), id="no JSON"),
        pytest.param(Reply(200, {}, b'{"count": 1}'), id="no token"),
        pytest.param(Reply(200, {}, b'["value"]'), id="a list"),
        pytest.param(Reply(302, {"Location": f"https://{TOKEN_HOST}/elsewhere"}, b""), id="a redirect"),
    ],
)
async def test_github_s_service_may_stumble(ecr: FakeEcr, answer: Reply) -> None:
    ecr.github.stumbles = [answer]
    assert keys().access_key == KEY
    ecr.github.stumbles = [answer] * 9
    with pytest.raises(AuthenticationError) as caught:
        await api.Account(PRIVATE).credential()
    assert "GitHub's identity tokens" in caught.value.what
    assert len(ecr.github.stumbles) == 4
    assert TOKEN_HOST not in str(caught.value)
    assert BEARER not in str(caught.value)


async def test_a_trust_policy_that_does_not_know_the_job_is_told_with_the_job_s_subject(ecr: FakeEcr) -> None:
    ecr.github.roles.clear()
    with pytest.raises(DeniedError) as caught:
        await api.Account(PRIVATE).credential()
    assert f"take on {ROLE}" in caught.value.what
    assert SUBJECT in caught.value.what
    assert "--trust-policy" in caught.value.hint
    assert len(ecr.github.sessions) == 5
    assert SIGNATURE not in f"{caught.value.what}{caught.value.hint}{caught.value!r}"


async def test_a_role_without_a_permission_to_take_it_says_which(
    ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL")
    with pytest.raises(AuthenticationError) as caught:
        await api.Account(PRIVATE).credential()
    assert "id-token: write" in caught.value.hint
    assert ecr.github.sessions == []


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="nothing"),
        pytest.param("a.b.c", id="not base64"),
        pytest.param(a_token(), id="no subject"),
        pytest.param(a_token(sub=7), id="a number"),
        pytest.param(a_token(sub="a\nb"), id="control characters"),
        pytest.param("a.e30.c", id="an empty object"),
        pytest.param("a.W10.c", id="a list"),
    ],
)
def test_a_subject_that_cannot_be_read_is_unknown(token: str) -> None:
    assert aws_github.subject_of(token) == "unknown"
