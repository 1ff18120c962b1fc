"""The doctor's questions, as moto takes them: a stranger's reading of AWS's model of each request.

moto authorises nobody and has no data plane, so whatever it answers is "allowed"; here counts that every
question is one that the service knows, and that none of them leaves anything behind. All of moto's servers
in a process share what they hold: the names here are nobody else's.
"""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any, cast

import anyio.to_thread
import boto3
import pytest
from anyarch.checks import examine
from anyarch.errors import AuthenticationError
from anyarch.registry import aws_mfa
from anyarch.registry import ecr as api
from anyarch.registry.aws_policy import JOBS, TOKEN, needs
from anyarch.registry.doctor_aws import AwsDoctor
from anyarch.registry.doctor_aws_lifecycle import read_lifecycle
from anyarch.registry.doctor_aws_repository import Wanted
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.ecr_lifecycle import hazards, safe
from anyarch.registry.ecr_probe import NEEDS_REPOSITORY, NO_REPOSITORY, ask
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PRIVATE = cast("EcrHost", EcrHost.parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com"))
ACTIONS = sorted({action for job in JOBS for action in needs(job, PRIVATE).all})
# moto keeps an image whatever digest is told of it, has no downloads, and knows no upload of another's.
GAPS = {"PutImage", "GetDownloadUrlForLayer"}
ONLY_DOING_TELLS = {"TagResource", "PutLifecyclePolicy"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture(autouse=True)
def _aws(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def client() -> Any:  # noqa: ANN401  boto3 makes clients out of data files at run time
    return boto3.client("ecr", region_name="eu-west-1")


async def asked(path: str, action: str, *, exists: bool) -> Any:  # noqa: ANN401  a permission
    account = api.Account(PRIVATE)
    return await anyio.to_thread.run_sync(lambda: ask(account, path, action, exists=exists))


@pytest.mark.parametrize("host", [PRIVATE.host, "public.ecr.aws"])
async def test_every_action_in_a_policy_is_one_of_the_service(host: str) -> None:
    where = cast("EcrHost", EcrHost.parse(host))
    model = boto3.client(where.service, region_name=where.region).meta.service_model
    wanted = {TOKEN, *(action for job in JOBS for action in needs(job, where).all)}
    assert wanted <= set(model.operation_names)


@pytest.mark.parametrize("action", [each for each in ACTIONS if each not in GAPS])
async def test_each_question_is_understood_and_changes_nothing(client: Any, action: str) -> None:  # noqa: ANN401  as above
    path = f"doctor/{action.lower()}"
    client.create_repository(repositoryName=path)
    before = client.describe_repositories(repositoryNames=[path])["repositories"]
    found = await asked(path, action, exists=True)
    assert found.answer == ("unknown" if action in ONLY_DOING_TELLS else "allowed"), found
    assert client.describe_repositories(repositoryNames=[path])["repositories"] == before
    assert client.list_images(repositoryName=path)["imageIds"] == []


@pytest.mark.parametrize("action", [each for each in ACTIONS if each not in GAPS | ONLY_DOING_TELLS])
async def test_a_repository_that_is_missing_stays_so(client: Any, action: str) -> None:  # noqa: ANN401  as above
    found = await asked("doctor/never", action, exists=False)
    if action in NEEDS_REPOSITORY:
        assert found.answer == "unknown"
    else:
        assert (found.answer, found.code) == ("allowed", NO_REPOSITORY), found
    names = [each["repositoryName"] for each in client.describe_repositories()["repositories"]]
    assert "doctor/never" not in names


async def test_who_we_are_and_what_time_it_is_there() -> None:
    """The check of the registry itself fails: moto has none."""
    doctor = AwsDoctor(Wanted(where=PRIVATE, path="doctor/never", jobs=("create",)))
    lines = {each.name: each for each in await examine(doctor.checks()[:6])}
    assert "123456789012" in lines["identity"].found
    assert lines["clock"].verdict == "ok"
    assert lines["session"].found.endswith("keys of a user, which have no end")
    assert lines["password"].verdict == "ok"


async def test_the_proposed_lifecycle_policy_is_one(client: Any) -> None:  # noqa: ANN401  as above
    client.create_repository(repositoryName="doctor/old")
    assert (await read_lifecycle(PRIVATE, "doctor/old", profile="")).rules is None
    client.put_lifecycle_policy(repositoryName="doctor/old", lifecyclePolicyText=json.dumps(safe(())))
    found = await read_lifecycle(PRIVATE, "doctor/old", profile="")
    assert hazards(found.rules or ()) == []
    assert found.proposal() == safe(())


async def session_found() -> str:
    doctor = AwsDoctor(Wanted(where=PRIVATE, path="doctor/never", profile="", jobs=("create",)))
    lines = {each.name: each for each in await examine(doctor.checks()[:3])}
    assert "assumed-role/release/" in lines["identity"].found
    assert lines["identity"].found.endswith("(role release)")
    assert lines["session"].verdict == "ok"
    return lines["session"].found


async def test_a_role_that_a_profile_assumes_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment variables come before a default profile, as in every tool of AWS."""
    (tmp_path / "config").write_text(
        "[default]\nrole_arn = arn:aws:iam::123456789012:role/release\nsource_profile = keys\n"
        "[profile keys]\naws_access_key_id = AKIATEST\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    found = await session_found()
    assert found.startswith("from a role that a profile assumes; ends ")
    assert found.endswith(" min, and is renewed")


@pytest.fixture
def _wants_a_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default profile takes a role with what another one holds, and with a code."""
    (tmp_path / "config").write_text(
        "[default]\nrole_arn = arn:aws:iam::123456789012:role/release\nsource_profile = keys\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/me\n"
        "[profile keys]\naws_access_key_id = AKIATEST\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


@pytest.mark.usefixtures("_wants_a_code")
async def test_a_code_is_asked_for_once_and_remembered_where_the_aws_cli_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def typed(prompt: str) -> str:
        asked.append(prompt)
        return "123456"

    monkeypatch.setattr(aws_mfa, "_TERMINAL", tmp_path / "terminal")
    (tmp_path / "terminal").touch()
    monkeypatch.setattr("getpass.getpass", typed)
    for _ in range(2):  # two commands
        await api.Account(PRIVATE).credential()
    assert asked == ["Enter MFA code for arn:aws:iam::123456789012:mfa/me: "]
    (kept,) = (tmp_path / ".aws" / "cli" / "cache").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


@pytest.mark.usefixtures("_wants_a_code")
async def test_a_code_that_nobody_can_type_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_mfa, "_TERMINAL", tmp_path / "no terminal")
    with pytest.raises(AuthenticationError, match="no terminal to type it in") as failed:
        await api.Account(PRIVATE).credential()
    assert "aws sts get-caller-identity --profile default" in failed.value.hint


async def test_a_role_by_web_identity_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("a.token.of-github")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/release")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert (await session_found()).startswith("from a role by web identity (OIDC); ends ")


async def test_an_end_that_the_environment_tells_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As aws configure export-credentials --format env does."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2099-01-01T00:00:00Z")
    doctor = AwsDoctor(Wanted(where=PRIVATE, path="doctor/never", jobs=("create",)))
    lines = {each.name: each for each in await examine(doctor.checks()[:3])}
    assert "ends 2099-01-01 00:00 UTC" in lines["session"].found
