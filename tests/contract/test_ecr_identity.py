"""Whose credentials count on Amazon ECR: where AWS has any, its own, for the API and for pushes alike."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.oci.reference import Repository, Tag
from anyarch.registry import credentials
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore

from tests.builders import an_image, an_index, upload
from tests.fake_ecr import HOST, SECRET_KEY, SESSION_TOKEN, FakeEcr
from tests.fake_repositories import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.fake_repositories import Seen

REPOSITORY = f"{HOST}/shop/api"
PUBLIC = "public.ecr.aws"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
IMAGE, OTHER = an_image("linux/amd64"), an_image("linux/arm64")
LONG_SECONDS = 3600
START = "https://example.com/start"


class Aws(FakeEcr):
    """With the portal of IAM Identity Center."""

    def reply(self, seen: Seen) -> Reply:
        if not seen.headers.get("Host", "").startswith("portal.sso."):
            return super().reply(seen)
        if seen.headers.get("x-amz-sso_bearer_token") != "an-access-token":
            return Reply(401, {}, b"{}")
        ends = int((time.time() + LONG_SECONDS) * 1000)
        keys = {"accessKeyId": "AKIASECOND", "secretAccessKey": SECRET_KEY, "sessionToken": SESSION_TOKEN}
        return Reply(200, {}, json.dumps({"roleCredentials": {**keys, "expiration": ends}}).encode())


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """We are the second of two, who has AWS keys."""
    monkeypatch.setattr(credentials, "_refused", set())
    with Aws(tmp_path, "shop/api") as started:
        started.use(monkeypatch, "AKIASECOND")
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        yield started


@pytest.fixture
def docker_login(ecr: Aws, monkeypatch: pytest.MonkeyPatch) -> str:
    """The first has logged in; returns the password."""
    with monkeypatch.context() as before:
        ecr.use(before, "AKIAFIRST")
        assert run(["login", HOST]) == 0
    ecr.seen.clear()
    return next(iter(ecr.issued))


@pytest.fixture
def _no_keys(docker_login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert docker_login
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(answers: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A service of a machine or container that hands out credentials: its address, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = answers.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815  as http.server calls it

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def keys_of(key: str) -> str:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + LONG_SECONDS))
    keys = {"AccessKeyId": key, "SecretAccessKey": SECRET_KEY, "Token": SESSION_TOKEN, "Expiration": ends}
    return json.dumps({**keys, "Code": "Success"})


def machine(key: str) -> dict[str, str]:
    """What a machine's metadata service answers."""
    role = "/latest/meta-data/iam/security-credentials/"
    return {"/latest/api/token": "a-token", role: "the-role", f"{role}the-role": keys_of(key)}


def shown_by(ecr: FakeEcr) -> set[str]:
    """Whose passwords the registry was shown."""
    seen = [each for each in ecr.seen if each.path.startswith("/v2/") and each.authorization]
    pairs = [base64.b64decode(each.authorization.partition(" ")[2]).decode() for each in seen]
    return {ecr.issued[pair.partition(":")[2]][0].key for pair in pairs}


def asking() -> None:
    async def ask() -> None:
        async with RegistryStore(Repository.parse(REPOSITORY)) as store:
            await store.head(Tag("v1"))

    anyio.run(ask)


@pytest.mark.usefixtures("docker_login")
def test_one_identity_makes_the_repository_and_writes_to_it(ecr: Aws, tmp_path: Path) -> None:
    async def fill() -> None:
        async with LayoutStore(tmp_path / "stage") as store:
            await upload(store, IMAGE, OTHER)
            await store.put(Tag("v1"), an_index(IMAGE, OTHER))

    anyio.run(fill)
    (tmp_path / "anyarch.toml").write_text(f'[registries."{HOST}".create]\n')
    assert run(["merge", "oci:stage:v1", "--to", f"{HOST}/shop/new", "--tag", "v1"]) == 0
    assert ecr.operations("CreateRepository") == 1
    assert shown_by(ecr) == {"AKIASECOND"}


@pytest.mark.usefixtures("docker_login")
def test_a_session_that_has_ended_is_said_and_nobody_else_takes_its_place(
    ecr: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.principals["AKIASECOND"].expired = True
    assert run(["verify", f"{REPOSITORY}:v1"]) == 21
    assert "the AWS session" in capsys.readouterr().err
    assert shown_by(ecr) == set()


@pytest.mark.usefixtures("ecr")
def test_a_helper_that_does_not_work_is_no_obstacle_where_aws_has_credentials(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"credsStore": "nowhere"}))
    asking()


@pytest.mark.usefixtures("_no_keys")
def test_docker_login_is_enough_where_aws_has_none_and_the_sdk_is_not_loaded(ecr: Aws) -> None:
    script = (
        "import sys\nfrom anyarch.cli.main import run\ncode = run(sys.argv[1:])\n"
        "sys.exit(100 if 'boto3' in sys.modules else code)\n"
    )
    words = [sys.executable, "-c", script, "verify", f"{REPOSITORY}:v1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 23, done.stderr  # there is no such tag
    assert shown_by(ecr) == {"AKIAFIRST"}


@pytest.mark.usefixtures("_no_keys")
def test_the_machines_own_role_comes_last_and_is_not_waited_for(
    ecr: Aws, docker_login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region is set as on most laptops, which have no role: finding that out takes seconds."""
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    with serving(machine("AKIASECOND")) as (address, asked):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        asking()
        assert (shown_by(ecr), asked) == ({"AKIAFIRST"}, [])
        ecr.expire_tokens()
        asking()
        assert shown_by(ecr) == {"AKIAFIRST", "AKIASECOND"}
        ecr.seen.clear()
        asking()
        assert shown_by(ecr) == {"AKIASECOND"}, f"{docker_login} was refused before"


def by_container(address: str, _: Path) -> dict[str, str]:
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{address}/role"}


def by_sso(_: str, home: Path) -> dict[str, str]:
    """As ``aws sso login`` leaves it."""
    (home / ".aws" / "sso" / "cache").mkdir(parents=True)
    name = hashlib.sha1(START.encode(), usedforsecurity=False).hexdigest()
    token = {"startUrl": START, "region": "eu-west-1", "accessToken": "an-access-token"}
    token["expiresAt"] = "2099-01-01T00:00:00Z"
    (home / ".aws" / "sso" / "cache" / f"{name}.json").write_text(json.dumps(token))
    (home / "config").write_text(
        f"[profile dev]\nsso_start_url = {START}\nsso_region = eu-west-1\n"
        "sso_account_id = 123456789012\nsso_role_name = release\n"
    )
    return {"AWS_CONFIG_FILE": str(home / "config"), "AWS_PROFILE": "dev"}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        pytest.param(by_container, "the container's role", id="container role"),
        pytest.param(by_sso, "IAM Identity Center (SSO)", id="SSO"),
    ],
)
@pytest.mark.usefixtures("_no_keys")
def test_a_role_of_a_container_and_an_sso_session_come_before_docker_login(
    ecr: Aws, tmp_path: Path, where: Callable[[str, Path], dict[str, str]], said: str
) -> None:
    with serving({"/role": keys_of("AKIASECOND")}) as (address, _):
        environ = os.environ | where(address, tmp_path)  # the SDK reads HOME when it is loaded

        def anyarch(*words: str) -> str:
            command = [sys.executable, "-m", "anyarch", *words]
            done = subprocess.run(
                command, env=environ, capture_output=True, text=True, check=False, timeout=60
            )
            return done.stdout + done.stderr

        anyarch("verify", f"{REPOSITORY}:v1")
        assert shown_by(ecr) == {"AKIASECOND"}
        lines = anyarch("doctor", "aws", REPOSITORY)
    assert f"from {said}; ends " in lines
    assert ", and is renewed" in lines
    assert "asked only after" not in lines


@pytest.mark.usefixtures("_no_keys")
def test_the_doctor_says_what_comes_before_the_machines_role(
    ecr: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    with serving(machine("AKIASECOND")) as (address, _):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        run(["doctor", "aws", REPOSITORY])
    assert f"asked only after the entry of {HOST} in " in capsys.readouterr().out
    capsys.readouterr()
    ecr.use(monkeypatch, "AKIASECOND")
    run(["doctor", "registry", REPOSITORY])
    assert f"from AWS credentials, else the entry of {HOST} in " in capsys.readouterr().out


def test_anybody_still_reads_in_public_when_a_session_has_ended(
    ecr: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.create("shop/api", PUBLIC)
    ecr.principals["AKIASECOND"].expired = True
    assert run(["verify", f"{PUBLIC}/shop/api:v1"]) == 23
    assert "v1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("there", "keys", "who"),
    [
        pytest.param(True, True, {"AKIAFIRST"}, id="it is there, and comes before the job's keys"),
        pytest.param(False, True, {"AKIASECOND"}, id="a CI job without it has keys of its own"),
        pytest.param(False, False, set(), id="neither"),
    ],
)
def test_a_profile_of_the_file_counts_where_it_is(
    ecr: Aws,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    there: bool,
    keys: bool,
    who: set[str],
) -> None:
    profiles = tmp_path / "credentials"
    name = "prd" if there else "other"
    profiles.write_text(f"[{name}]\naws_access_key_id=AKIAFIRST\naws_secret_access_key={SECRET_KEY}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    (tmp_path / "anyarch.toml").write_text(f'[registries."{HOST}"]\naws-profile = "prd"\n')
    if not keys:
        for each in KEYS:
            monkeypatch.delenv(each)
    assert run(["verify", f"{REPOSITORY}:v1"]) == (23 if who else 21)
    assert shown_by(ecr) == who
    assert ("there is no AWS profile 'prd'" in capsys.readouterr().err) is not bool(who)
    assert run(["login", HOST, "--print"]) == (0 if who else 21)
    assert {principal.key for principal, _, _ in ecr.issued.values()} == who
    assert run(["login", HOST, "--profile=prd", "--print"]) == (0 if there else 21), "who says it means it"
