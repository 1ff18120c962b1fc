"""The commands on Amazon ECR, as a user calls them: with AWS credentials and nothing else."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Repository
from anyarch.registry.store import RegistryStore
from anyarch.release.config import Config
from anyarch.release.ledger import bring_empty
from anyarch.release.plan import make_plan

from tests.builders import upload
from tests.fake_dagger import FakeDagger, an_engine
from tests.fake_ecr import HOST, PASSWORD_PREFIX, SECRET_KEY, SESSION_TOKEN, FakeEcr
from tests.run_bench import sources_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AMD, ARM = "linux/amd64", "linux/arm64"
REPOSITORY = f"{HOST}/shop/api"


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    with FakeEcr(tmp_path) as started:
        started.use(monkeypatch)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        yield started


@pytest.fixture
def dagger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDagger:
    """A dagger whose builds have been pushed, an application beside it, and us in its folder."""
    played = FakeDagger(tmp_path / "dagger")
    played.builds(AMD, ARM)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYARCH_DAGGER", str(played.program))
    return played


def push_all(dagger: FakeDagger) -> None:
    """What the engines would have pushed, and the records about it."""
    platforms = (Platform.parse(AMD), Platform.parse(ARM))
    plan = make_plan(Config(), platforms=platforms, destination=REPOSITORY)
    plan = replace(plan, changes=sources_in(Path("app")).changes)
    dagger.builds(AMD, ARM, plan=str(plan.digest))
    dagger.records(REPOSITORY, AMD, ARM)

    async def push() -> None:
        async with RegistryStore(Repository.parse(REPOSITORY)) as store:
            await upload(store, *dagger.images.values())
            await bring_empty(store)

    anyio.run(push)


def run_app(tmp_path: Path, *more: str) -> int:
    socket = tmp_path / "engine.sock"
    socket.unlink(missing_ok=True)
    with an_engine(socket) as url:
        engines = [f"--engine={platform}={url}" for platform in (AMD, ARM)]
        return run(["run", "app", *engines, "--to", REPOSITORY, *more])


def test_a_run_asks_for_the_token_itself_and_hands_it_to_the_engine(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    repository = ecr.create("shop/api")
    push_all(dagger)
    assert run_app(tmp_path, "--tag", "1.4.2", "--tag", "latest") == 0
    assert set(repository.tags) >= {"1.4.2", "latest"}
    note = dagger.called(ARM)
    assert note is not None
    assert "--username=AWS" in note["argv"]
    password = note["environ"]["ANYARCH_REGISTRY_PASSWORD"]
    assert password in ecr.issued
    shown = capfd.readouterr()
    everything = "\n".join([*note["argv"], shown.out, shown.err])
    assert [
        each for each in (password, PASSWORD_PREFIX, SECRET_KEY, SESSION_TOKEN) if each in everything
    ] == []


def test_the_engine_is_told_where_another_password_is(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path
) -> None:
    """Asked as the client asks it: by ``sh -c``, and only when the engine says so."""
    ecr.create("shop/api")
    push_all(dagger)
    assert run_app(tmp_path) == 0
    note = dagger.called(AMD)
    assert note is not None
    assert "--password=env:ANYARCH_REGISTRY_PASSWORD" in note["argv"]
    (source,) = (word for word in note["argv"] if word.startswith("--another-password="))
    command, _, key = source.removeprefix("--another-password=cmd:").partition("?")
    assert key == "cacheKey=another", "without it the client runs the command at once"

    (tmp_path / "app" / ".anyarch" / "tmp" / "linux-amd64").mkdir(parents=True)  # there while it runs

    def asked(**changed: str) -> subprocess.CompletedProcess[str]:
        environ = note["environ"] | changed
        return subprocess.run(
            ["sh", "-c", command], env=environ, capture_output=True, text=True, check=False, timeout=60
        )

    renewed = asked().stdout
    assert renewed in ecr.issued
    assert renewed != note["environ"]["ANYARCH_REGISTRY_PASSWORD"]
    refused = asked(AWS_ACCESS_KEY_ID="AKIAUNKNOWN")
    assert (bool(refused.returncode), refused.stdout, refused.stderr) == (True, "", "")
    (words,) = (tmp_path / "app").rglob("renewal")
    assert "AWS does not accept the credentials" in words.read_text()


def test_a_stale_docker_login_does_not_reach_the_engine(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path
) -> None:
    ecr.create("shop/api")
    assert run(["login", HOST]) == 0
    ecr.expire_tokens()
    stale = set(ecr.issued)
    push_all(dagger)
    assert run_app(tmp_path) == 0
    note = dagger.called(AMD)
    assert note is not None
    assert note["environ"]["ANYARCH_REGISTRY_PASSWORD"] in set(ecr.issued) - stale


def test_base_images_in_ecr_need_no_login_either(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The client is shown the user's own configuration of Docker, with a password for what FROM names."""
    ecr.create("shop/api")
    base = HOST.replace("eu-west-1", "eu-central-1")
    (tmp_path / "app" / "Dockerfile").write_text(f"FROM {base}/base:1\n")
    push_all(dagger)
    own = {"auths": {"r.example.com": {"auth": "eDp5"}}, "credsStore": "vault", "currentContext": "mine"}
    (tmp_path / "docker" / "contexts").mkdir(parents=True)
    config = tmp_path / "docker" / "config.json"
    config.write_text(json.dumps(own))
    dagger.plays({AMD: {"reads": "DOCKER_CONFIG"}})
    assert run_app(tmp_path) == 0
    note = dagger.called(AMD)
    assert note is not None
    folder = Path(note["environ"]["DOCKER_CONFIG"])
    assert not folder.exists(), "nothing stays"
    assert note["read"]["mode"] == 0o700
    assert set(note["read"]["names"]) == {"config.json", "contexts"}
    lent = note["read"]["config"]
    assert lent["auths"].pop("r.example.com") == {"auth": "eDp5"}
    username, _, password = base64.b64decode(lent["auths"].pop(base)["auth"]).decode().partition(":")
    assert (username, ecr.issued[password][1], lent["auths"]) == ("AWS", "eu-central-1", {})
    assert (lent["credHelpers"], lent["credsStore"], lent["currentContext"]) == ({base: ""}, "vault", "mine")
    assert json.loads(config.read_text()) == own
    shown = capfd.readouterr()
    assert PASSWORD_PREFIX not in shown.out + shown.err


def test_login_to_all_that_a_dockerfile_names(
    ecr: FakeEcr, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a dagger call by hand."""
    far = HOST.replace("eu-west-1", "eu-central-1")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("ARG HOST\nFROM $HOST/base:1\nFROM debian\n")
    (tmp_path / "app" / "anyarch.toml").write_text(f'[build]\nargs = {{ HOST = "{far}" }}\n')
    ecr.principals["AKIAFIRST"].expired = True
    assert run(["login", "--bases", str(tmp_path / "app")]) == 0, "it may be a stage that is not built"
    assert "which the Dockerfile names: the AWS session" in capsys.readouterr().err
    ecr.principals["AKIAFIRST"].expired = False
    assert run(["login", "--bases", str(tmp_path / "app")]) == 0
    written = json.loads((tmp_path / "docker" / "config.json").read_text())
    assert list(written["auths"]) == [far]
    assert [region for _, region, _ in ecr.issued.values()] == ["eu-central-1"]
    assert f"logged in to {far} as AWS" in capsys.readouterr().out
    config = tmp_path / "docker" / "config.json"
    config.write_text(json.dumps({"credHelpers": {far: "ecr-login"}}))
    assert run(["login", "--bases", str(tmp_path / "app")]) == 0
    assert "there is nothing to do" in capsys.readouterr().err
    assert run(["login", HOST, "--bases", "app"]) == 2
    assert run(["login"]) == 2


@pytest.mark.parametrize(
    "dockerfile", ["FROM debian\n", "FROM public.ecr.aws/docker/library/debian\n"], ids=["none", "public"]
)
def test_where_no_password_is_needed_docker_s_configuration_is_the_user_s(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path, dockerfile: str
) -> None:
    ecr.create("shop/api")
    ecr.deny("ecr-public:GetAuthorizationToken")
    (tmp_path / "app" / "Dockerfile").write_text(dockerfile)
    push_all(dagger)
    assert run_app(tmp_path) == 0
    note = dagger.called(AMD)
    assert note is not None
    assert note["environ"]["DOCKER_CONFIG"] == str(tmp_path / "docker")


def test_a_missing_repository_is_told_before_anything_is_built(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(tmp_path) == 23
    shown = capsys.readouterr().err
    assert f"error: there is no repository {REPOSITORY}; Amazon ECR makes none by itself\n" in shown
    command = "aws ecr create-repository --region eu-west-1 --registry-id 123456789012"
    assert f"create it: {command} --repository-name shop/api;" in shown
    assert dagger.called(AMD) is None
    assert ecr.operations("CreateRepository") == 0


@pytest.mark.usefixtures("dagger")
def test_a_missing_repository_is_made_as_configured(
    ecr: FakeEcr, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expiry = {
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": 14,
        "tagStatus": "untagged",
    }
    policy = json.dumps({"rules": [{"rulePriority": 1, "selection": expiry, "action": {"type": "expire"}}]})
    (tmp_path / "app" / "lifecycle.json").write_text(policy)
    (tmp_path / "app" / "anyarch.toml").write_text(
        f'[registries."{HOST}".create]\n'
        'mutability = "immutable"\nexceptions = ["latest", "main-*"]\nscan-on-push = true\n'
        'encryption = "KMS"\nkms-key = "alias/images"\ntags = { team = "shop" }\n'
        'lifecycle-policy = "lifecycle.json"\n'
    )
    run_app(tmp_path)  # whose images nobody pushed: that is another story
    assert f"created {REPOSITORY}" in capsys.readouterr().err
    repository = ecr.registries[HOST]["shop/api"]
    assert repository.lifecycle_policy == policy
    assert repository.created_with == {
        "registryId": "123456789012",
        "repositoryName": "shop/api",
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [
            {"filterType": "WILDCARD", "filter": pattern} for pattern in ("latest", "main-*", "_anyarch.*")
        ],
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/images"},
        "tags": [{"Key": "team", "Value": "shop"}],
    }


def test_a_release_in_a_repository_of_fixed_tags_can_be_repeated_and_rolled_back(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.create(
        "shop/api",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[
            {"filterType": "WILDCARD", "filter": "latest"},
            {"filterType": "WILDCARD", "filter": "_anyarch.*"},
        ],
    )
    push_all(dagger)
    assert run_app(tmp_path, "--tag", "1.4.2", "--tag", "latest") == 0
    first = ecr.registries[HOST]["shop/api"].tags["1.4.2"]
    before = len(ecr.writes)
    assert run_app(tmp_path, "--tag", "1.4.2", "--tag", "latest") == 0
    assert len(ecr.writes) == before
    words = ["merge", "--records", "app/.anyarch/records", "--to", REPOSITORY, "--platform", "linux/amd64"]
    (tmp_path / "app" / ".anyarch" / "records" / "linux-arm64.json").unlink()
    capsys.readouterr()
    assert run([*words, "--tag", "1.4.2"]) == 24, "another release under a fixed tag"
    assert "forbids moving it" in capsys.readouterr().err
    assert run([*words, "--tag", "latest"]) == 0
    tags = ecr.registries[HOST]["shop/api"].tags
    assert tags["latest"] != first == tags["1.4.2"]
    assert run(["rollback", f"{REPOSITORY}:latest"]) == 0
    assert ecr.registries[HOST]["shop/api"].tags["latest"] == first


@pytest.mark.parametrize("name", ["1.0", "2026-11", "nightly"])
def test_a_fixed_tag_of_any_name_is_refused_before_latest_moves(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    repository = ecr.create(
        "shop/api",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[
            {"filterType": "WILDCARD", "filter": "latest"},
            {"filterType": "WILDCARD", "filter": "_anyarch.*"},
        ],
    )
    push_all(dagger)
    tags, smaller = ["--tag", name, "--tag", "latest"], ["--platform", "linux/amd64"]
    assert run_app(tmp_path, *tags) == 0
    first = dict(repository.tags)
    (tmp_path / "app" / ".anyarch" / "records" / "linux-arm64.json").unlink()
    merged = ["merge", "--records", "app/.anyarch/records", "--to", REPOSITORY, *smaller]
    assert run([*merged, "--tag", "other"]) == 0
    for words in ([*merged, *tags], ["promote", f"{REPOSITORY}:other", *tags, *smaller]):
        capsys.readouterr()
        assert run(words) == 24
        said = capsys.readouterr().err
        assert "publish under a new tag" in said
        assert "no tag was moved" in said
        assert "do the same again" not in said
        assert (repository.tags[name], repository.tags["latest"]) == (first[name], first["latest"])
    capsys.readouterr()
    assert run(["promote", f"{REPOSITORY}:other", "--tag", "latest", *smaller]) == 0
    assert "an earlier anyarch" not in capsys.readouterr().err


def test_a_merge_role_may_not_upload_and_keeps_the_history_all_the_same(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The builds have brought the one blob that a history names."""
    repository = ecr.create("shop/api")
    push_all(dagger)
    ecr.deny("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:ListImages")
    assert run_app(tmp_path, "--tag", "1.4.2", "--tag", "latest") == 0
    assert "warning" not in capsys.readouterr().out
    assert any(tag.startswith("_anyarch.history") for tag in repository.tags)


def test_promote_and_rollback_need_no_layer_permission(
    ecr: FakeEcr, dagger: FakeDagger, tmp_path: Path
) -> None:
    """Reading images and configs, and writing manifests: nothing of an upload."""
    ecr.create("shop/api")
    push_all(dagger)
    assert run_app(tmp_path, "--tag", "1.4.2", "--tag", "latest") == 0
    ecr.deny(
        *("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload"),
        *("ecr:BatchCheckLayerAvailability", "ecr:ListImages"),
    )
    assert run(["promote", f"{REPOSITORY}:1.4.2", "--tag", "stable"]) == 0
    assert run(["promote", f"{REPOSITORY}:1.4.2", "--tag", "latest"]) == 0
    assert (
        run(["rollback", f"{REPOSITORY}:stable", "--to", ecr.registries[HOST]["shop/api"].tags["1.4.2"]]) == 0
    )


def expire_session(ecr: FakeEcr, _: pytest.MonkeyPatch) -> None:
    ecr.principals["AKIAFIRST"].expired = True


def deny_token(ecr: FakeEcr, _: pytest.MonkeyPatch) -> None:
    ecr.deny("ecr:GetAuthorizationToken")


def put_the_clock_ahead(ecr: FakeEcr, _: pytest.MonkeyPatch) -> None:
    ecr.clock_ahead = 1200.0


def take_the_keys(_: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)


def by_aws_login(ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    take_the_keys(ecr, monkeypatch)
    config = ecr.authority.path.with_name("config")
    config.write_text("[profile work]\nlogin_session = arn:aws:iam::123456789012:user/me\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "work")


def change(name: str, value: str) -> Callable[[FakeEcr, pytest.MonkeyPatch], None]:
    return lambda _, monkeypatch: monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("trouble", "code", "said"),
    [
        pytest.param(
            expire_session,
            21,
            r"(?s)session for .* has expired\n  → it is in AWS_ACCESS_KEY_ID … of the environment",
            id="expired session",
        ),
        pytest.param(deny_token, 22, "allow ecr:GetAuthorizationToken", id="denied"),
        pytest.param(put_the_clock_ahead, 21, "clock is 20 min ahead of AWS's", id="clock"),
        pytest.param(
            change("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN"),
            21,
            "does not accept the credentials",
            id="unknown key",
        ),
        pytest.param(take_the_keys, 21, "no AWS credentials", id="no credentials"),
        pytest.param(
            change("AWS_PROFILE", "nobody"),
            21,
            "no AWS profile 'nobody', which the env",
            id="unknown profile",
        ),
        pytest.param(
            change("AWS_DEFAULT_PROFILE", "nobody"),
            21,
            "no AWS profile 'nobody', which the environment names",
            id="unknown profile under the older name",
        ),
        pytest.param(
            change("AWS_SECRET_ACCESS_KEY", ""),
            21,
            "half of a pair of AWS keys: the environment has no AWS_SECRET_ACCESS_KEY",
            id="no secret key",
        ),
        pytest.param(
            change("AWS_ACCESS_KEY_ID", ""),
            21,
            "half of a pair of AWS keys: the environment has no AWS_ACCESS_KEY_ID",
            id="no key",
        ),
        pytest.param(
            by_aws_login,
            21,
            r"(?s)aws login.*aws configure export-credentials --profile work --format env",
            id="what only the AWS CLI reads",
        ),
        pytest.param(
            change("HTTPS_PROXY", "http://127.0.0.1:9"), 20, "is eu-west-1 the right region", id="no way"
        ),
    ],
)
def test_each_trouble_with_aws_is_one_clear_message(
    ecr: FakeEcr,
    trouble: Callable[[FakeEcr, pytest.MonkeyPatch], None],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trouble(ecr, monkeypatch)
    assert run(["login", HOST]) == code
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) <= 2
    assert re.search(said, shown)
    assert [each for each in (SECRET_KEY, SESSION_TOKEN) if each in shown] == []


def test_login_leaves_what_docker_login_leaves(
    ecr: FakeEcr, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    config = folder / "config.json"
    config.write_text(json.dumps({"currentContext": "mine", "auths": {"r.example.com": {"auth": "eDp5"}}}))
    assert run(["login", HOST]) == 0
    written = json.loads(config.read_text())
    assert written["currentContext"] == "mine"
    assert written["auths"]["r.example.com"] == {"auth": "eDp5"}
    username, _, password = base64.b64decode(written["auths"][HOST]["auth"]).decode().partition(":")
    assert (username, password in ecr.issued) == ("AWS", True)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert list(folder.iterdir()) == [config]
    shown = capsys.readouterr()
    assert "good until" in shown.out
    assert PASSWORD_PREFIX not in shown.out + shown.err


def test_login_hands_the_password_to_the_helper_that_is_configured(
    ecr: FakeEcr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").write_text('{"credsStore": "vault"}')
    helper = tmp_path / "docker-credential-vault"
    helper.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/verb; cat > {tmp_path}/stored\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert run(["login", HOST]) == 0
    stored = json.loads((tmp_path / "stored").read_text())
    assert (tmp_path / "verb").read_text() == "store\n"
    assert (stored["ServerURL"], stored["Username"]) == (HOST, "AWS")
    assert stored["Secret"] in ecr.issued
    assert PASSWORD_PREFIX not in (folder / "config.json").read_text()


def test_login_prints_the_password_alone_for_another_tool(ecr: FakeEcr, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "anyarch", "login", HOST, "--print"],
        env=os.environ | ecr.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout in ecr.issued
    assert done.stderr == ""
    assert not (tmp_path / "docker").exists()


@pytest.mark.usefixtures("ecr")
def test_login_to_any_registry_checks_the_password_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", "AWS")
    monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", "wrong-password")
    assert run(["login", HOST]) == 21
    assert "wrong-password" not in capsys.readouterr().err
    assert not (tmp_path / "docker").exists()
