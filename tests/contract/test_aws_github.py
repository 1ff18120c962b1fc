"""A role taken by a job of GitHub Actions: GitHub's token service and AWS's STS, each in this process.

STS is moto's, a stranger's reading of AWS's model; it trusts every token, so refusals are of our own making.
"""

from __future__ import annotations

import base64
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from anyarch.errors import AnyarchError, AuthenticationError, DeniedError
from anyarch.registry import aws_github
from anyarch.registry import ecr as api
from anyarch.registry.ecr_host import EcrHost
from botocore.exceptions import BotoCoreError
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

PRIVATE = cast("EcrHost", EcrHost.parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com"))
CHINA = cast("EcrHost", EcrHost.parse("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"))
ROLE = "arn:aws:iam::123456789012:role/shop-api-build"
BEARER = "canary-bearer"
SUBJECT = "repo:shop@1001/api@2002:environment:release"
SIGNATURE = "canary-signature"


def a_token(**claims: Any) -> str:  # noqa: ANN401  any JSON
    parts = [json.dumps(each).encode() for each in ({"alg": "RS256"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in parts), SIGNATURE])


@dataclass
class World:
    """GitHub's token service, and an STS that refuses as often as it is told; then it is like moto's."""

    url: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    refusals: int = 0
    refusal: str = "AccessDenied"
    asked: list[tuple[str, str]] = field(default_factory=list)
    sessions: list[dict[str, list[str]]] = field(default_factory=list)

    def token(self, bearer: str, audience: str) -> tuple[int, bytes]:
        self.asked.append((bearer, audience))
        if self.answers:
            return self.answers.pop(0)
        return 200, json.dumps({"value": a_token(sub=SUBJECT, aud=audience)}).encode()

    def role(self, form: dict[str, list[str]]) -> tuple[int, bytes]:
        self.sessions.append(form)
        if len(self.sessions) <= self.refusals:
            words = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
            error = f"<Error><Type>Sender</Type><Code>{self.refusal}</Code><Message>{words}</Message></Error>"
            return 403, f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>".encode()
        keys = "<AccessKeyId>ASIATEST</AccessKeyId><SecretAccessKey>canary-secret</SecretAccessKey>"
        keys += f"<SessionToken>session-{len(self.sessions)}</SessionToken>"
        keys += "<Expiration>2099-01-01T00:00:00Z</Expiration>"
        action = "AssumeRoleWithWebIdentity"
        inner = f"<{action}Result><Credentials>{keys}</Credentials></{action}Result>"
        return 200, f"<{action}Response>{inner}</{action}Response>".encode()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            assert query["api-version"] == ["2.0"]
            self._answer(*made.token(self.headers["Authorization"], query["audience"][0]))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(*made.role(parse_qs(body)))

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{world.url}/token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": BEARER,
        "AWS_ROLE_ARN": ROLE,
        "AWS_ROLE_SESSION_NAME": "anyarch-7",
        "AWS_ENDPOINT_URL_STS": world.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws_github.GitHubRole.__init__, "__defaults__", (lambda _: None,))


@pytest.fixture
def moto() -> Iterator[str]:
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


def keys(where: EcrHost = PRIVATE) -> Any:  # noqa: ANN401  of an SDK without types
    """What the SDK would sign with, fetched as for a call."""
    found = api.Account(where)._opened().get_credentials()  # noqa: SLF001  what no public method shows
    return found.get_frozen_credentials() if found else None


async def test_a_job_gets_a_password_for_ecr(
    world: World, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    account = api.Account(PRIVATE)
    credential = await account.credential()
    assert credential.username == "AWS"
    assert credential.password
    session = account.session()
    assert (session.source, session.renews) == ("a role by this job's GitHub token (OIDC)", True)
    assert session.ends_at is not None
    arn = account.call("sts:GetCallerIdentity", lambda client: client.get_caller_identity())["Arn"]
    assert arn.endswith("assumed-role/shop-api-build/anyarch-7")
    assert world.asked == [(f"Bearer {BEARER}", "sts.amazonaws.com")]


def test_the_role_is_asked_for_with_the_token_of_the_job(world: World) -> None:
    assert keys().token == "session-1"
    (form,) = world.sessions
    assert form["RoleArn"] == [ROLE]
    assert form["RoleSessionName"] == ["anyarch-7"]
    assert form["WebIdentityToken"][0].endswith(SIGNATURE)


def test_china_has_an_audience_of_its_own(world: World) -> None:
    keys(CHINA)
    assert [audience for _, audience in world.asked] == ["sts.amazonaws.com.cn"]


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
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv(name, value)
    with suppress(AnyarchError, OSError, BotoCoreError):
        keys()
    assert world.asked == []


@pytest.mark.parametrize("refusals", [1, 4])
def test_a_refusal_that_passes_is_tried_again_with_another_token(world: World, refusals: int) -> None:
    world.refusals = refusals
    assert keys().access_key == "ASIATEST"
    assert len(world.asked) == len(world.sessions) == refusals + 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((500, b""), id="out of order"),
        pytest.param((200, b"<html>"), id="no JSON"),
        pytest.param((200, b'{"count": 1}'), id="no token"),
        pytest.param((200, b'["value"]'), id="a list"),
    ],
)
async def test_github_s_service_may_stumble(world: World, answer: tuple[int, bytes]) -> None:
    world.answers = [answer]
    assert keys().access_key == "ASIATEST"
    world.answers = [answer] * 9
    with pytest.raises(AuthenticationError) as caught:
        await api.Account(PRIVATE).credential()
    assert "GitHub's identity tokens" in caught.value.what
    assert world.url not in str(caught.value)
    assert BEARER not in str(caught.value)


async def test_a_trust_policy_that_does_not_know_the_job_is_told_with_the_job_s_subject(world: World) -> None:
    world.refusals = 99
    with pytest.raises(DeniedError) as caught:
        await api.Account(PRIVATE).credential()
    assert f"take on {ROLE}" in caught.value.what
    assert SUBJECT in caught.value.what
    assert "--trust-policy" in caught.value.hint
    assert len(world.sessions) == 5
    assert SIGNATURE not in f"{caught.value.what}{caught.value.hint}{caught.value!r}"


async def test_a_role_without_a_permission_to_take_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL")
    with pytest.raises(AuthenticationError) as caught:
        await api.Account(PRIVATE).credential()
    assert "id-token: write" in caught.value.hint


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
