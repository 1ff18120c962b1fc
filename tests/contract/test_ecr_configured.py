"""What anyarch.toml says of a registry counts for every command, not only for ``anyarch run``."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore
from anyarch.release.ledger import bring_empty

from tests.builders import an_image, an_index, upload
from tests.fake_ecr import HOST, PASSWORD_PREFIX, SECRET_KEY, FakeEcr
from tests.releases import a_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

REPOSITORY = f"{HOST}/shop/api"
IMAGE, OTHER = an_image("linux/amd64"), an_image("linux/arm64")
INDEX = an_index(IMAGE, OTHER)
EXPIRY = {
    "rulePriority": 1,
    "selection": {
        "tagStatus": "untagged",
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": 14,
    },
    "action": {"type": "expire"},
}
AWS = "aws ecr {} --region eu-west-1 --registry-id 123456789012 --repository-name shop/api"
PUT = f"{AWS.format('put-lifecycle-policy')} --profile two --lifecycle-policy-text file://lifecycle.json"
CREATE = f'[registries."{HOST}".create]\nmutability = "immutable"\nscan-on-push = true\n'


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    """A registry where only the profile that anyarch.toml names may do anything; we are beside that file."""
    with FakeEcr(tmp_path) as started:
        started.use(monkeypatch, "AKIAFIRST")
        profiles = tmp_path / "credentials"
        profiles.write_text(f"[two]\naws_access_key_id=AKIASECOND\naws_secret_access_key={SECRET_KEY}\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        (tmp_path / "anyarch.toml").write_text(f'[registries."{HOST}"]\naws-profile = "two"\n')
        monkeypatch.chdir(tmp_path)
        started.deny("ecr:GetAuthorizationToken", "ecr:CreateRepository")
        yield started


@pytest.fixture
def released(ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> FakeEcr:
    """A release under two tags, put there by whoever was in charge before."""
    ecr.create("shop/api")

    async def push() -> None:
        async with RegistryStore(Repository.parse(REPOSITORY)) as store:
            await upload(store, IMAGE, OTHER)
            await bring_empty(store)
            for tag in ("v1", "latest"):
                await store.put(Tag(tag), INDEX)

    with monkeypatch.context() as before:
        ecr.principals["AKIAFIRST"].denied.clear()
        ecr.use(before, "AKIAFIRST")
        anyio.run(push)
    ecr.deny("ecr:GetAuthorizationToken", "ecr:CreateRepository")
    ecr.issued.clear()
    return ecr


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["verify", f"{REPOSITORY}:v1"], id="verify"),
        pytest.param(["diff", f"{REPOSITORY}:v1", f"{REPOSITORY}:latest"], id="diff"),
        pytest.param(["promote", f"{REPOSITORY}:v1", "--tag", "stable"], id="promote"),
        pytest.param(["rollback", f"{REPOSITORY}:latest", "--to", str(INDEX.digest)], id="rollback"),
        pytest.param(["history", f"{REPOSITORY}:v1"], id="history"),
        pytest.param(["prune", REPOSITORY, "--older-than", "7d", "--dry-run"], id="prune"),
        pytest.param(["merge", f"{REPOSITORY}:v1", "--to", REPOSITORY, "--tag", "next"], id="merge"),
        pytest.param(["merge", f"{REPOSITORY}:v1", "--to", "oci:dist"], id="merge from there"),
        pytest.param(["doctor", "registry", REPOSITORY], id="doctor"),
        pytest.param(["login", HOST], id="login"),
    ],
)
def test_the_profile_of_the_file_asks_for_the_token(released: FakeEcr, words: Sequence[str]) -> None:
    assert run(words) == 0
    assert {who.key for who, _, _ in released.issued.values()} == {"AKIASECOND"}


def test_the_doctor_says_whose_credential_it_is(
    released: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "registry", f"{REPOSITORY}:v1"]) == 0
    assert "from the AWS profile two, named in anyarch.toml" in capsys.readouterr().out
    assert released.issued


@pytest.mark.parametrize("profile", ["", "two"])
def test_a_profile_that_is_named_on_the_command_line_comes_before_the_file(
    released: FakeEcr, tmp_path: Path, profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also none: that is how a run makes sure that a renewed password is the same account's."""
    (tmp_path / "anyarch.toml").write_text(f'[registries."{HOST}"]\naws-profile = "nobody"\n')
    assert run(["login", HOST, f"--profile={profile}", "--print"]) == (0 if profile else 22)
    shown = capsys.readouterr()
    assert ("aws sts" in shown.err or "nobody" in shown.err) is False
    assert bool(profile) is shown.out.startswith(PASSWORD_PREFIX)
    assert {who.key for who, _, _ in released.issued.values()} == ({"AKIASECOND"} if profile else set())


def test_a_file_that_cannot_be_is_said_by_every_command(
    released: FakeEcr, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "anyarch.toml").write_text(f'[registries."{HOST}"]\naws-profil = "two"\n')
    assert run(["history", f"{REPOSITORY}:v1"]) == 3
    assert "aws-profile" in capsys.readouterr().err
    assert not released.issued


def layout(tmp_path: Path) -> str:
    async def fill() -> None:
        async with LayoutStore(tmp_path / "stage") as store:
            await upload(store, IMAGE, OTHER)
            await store.put(Tag("v1"), INDEX)

    anyio.run(fill)
    return f"oci:{tmp_path / 'stage'}:v1"


def test_a_merge_makes_the_repository_as_configured_and_only_when_it_writes(
    ecr: FakeEcr, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = layout(tmp_path)
    words = ["merge", source, "--to", REPOSITORY, "--tag", "v1"]
    assert run(words) == 23, "nobody said that it may be made"
    assert "aws ecr create-repository" in capsys.readouterr().err
    with (tmp_path / "anyarch.toml").open("a") as file:
        file.write(CREATE)
    assert run([*words, "--dry-run"]) == 0
    assert run([*words, "--platform", "linux/s390x"]) == 32
    assert ecr.registries == {}, "a merge that writes nothing makes nothing"
    capsys.readouterr()
    assert run(words) == 0
    assert f"created {REPOSITORY}" in capsys.readouterr().err
    repository = ecr.registries[HOST]["shop/api"]
    assert repository.created_with["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert repository.created_with["imageScanningConfiguration"] == {"scanOnPush": True}
    assert set(repository.tags) >= {"v1"}
    before = len(ecr.writes)
    assert run(words) == 0
    assert (len(ecr.writes), ecr.operations("CreateRepository")) == (before, 1)


def test_no_sdk_is_loaded_for_a_registry_that_is_not_amazons(tmp_path: Path) -> None:
    """The file's profile is for a host that this command does not ask."""
    (tmp_path / "anyarch.toml").write_text(f'[registries."{HOST}"]\naws-profile = "two"\n')
    source = layout(tmp_path)
    script = (
        "import sys, json\nfrom anyarch.cli.main import run\n"
        "code = run(sys.argv[1:])\nprint(json.dumps([code, 'boto3' in sys.modules]), file=sys.stderr)\n"
    )
    words = ["verify", source]
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stderr.splitlines()[-1]) == [0, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"{}", "has 2 characters; ECR takes 100 to 30720", id="too short"),
        pytest.param(b" " * 30_721, "has 30721 characters", id="too long"),
        pytest.param(b"\xff" * 200, "cannot be read: not UTF-8", id="no text"),
        pytest.param(None, "cannot be read: No such file", id="not there"),
    ],
)
def test_a_lifecycle_policy_that_cannot_be_one_is_said_before_anything_is_made(
    ecr: FakeEcr, tmp_path: Path, content: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "lifecycle.json").write_bytes(content)
    with (tmp_path / "anyarch.toml").open("a") as file:
        file.write(f'{CREATE}lifecycle-policy = "lifecycle.json"\n')
    assert run(["merge", layout(tmp_path), "--to", REPOSITORY, "--tag", "v1"]) == 5
    assert said in capsys.readouterr().err
    assert ecr.operations("CreateRepository") == 0


@pytest.mark.parametrize(
    ("action", "said", "made"),
    [
        pytest.param("ecr:CreateRepository", "allow ecr:CreateRepository", False, id="make it"),
        pytest.param("ecr:TagResource", "allow ecr:TagResource", False, id="tag it"),
        pytest.param(
            "ecr:PutLifecyclePolicy", "was created, but without its lifecycle policy", True, id="its policy"
        ),
    ],
)
def test_a_missing_permission_to_make_a_repository_is_named(
    ecr: FakeEcr, tmp_path: Path, action: str, said: str, made: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lifecycle.json").write_text(json.dumps({"rules": [EXPIRY]}))
    with (tmp_path / "anyarch.toml").open("a") as file:
        file.write(f'{CREATE}tags = {{ team = "shop" }}\nlifecycle-policy = "lifecycle.json"\n')
    ecr.deny(action, key="AKIASECOND")
    words = ["merge", layout(tmp_path), "--to", REPOSITORY, "--tag", "v1"]
    assert run(words) == 22
    assert said in capsys.readouterr().err
    assert bool(ecr.registries) is made
    ecr.principals["AKIASECOND"].denied.clear()
    assert run(words) == 0, "the same again goes on from there"
    shown = capsys.readouterr().err
    assert (PUT in shown) is (made and not ecr.registries[HOST]["shop/api"].lifecycle_policy)


def with_policy(tmp_path: Path) -> None:
    (tmp_path / "lifecycle.json").write_text(json.dumps({"rules": [EXPIRY]}))
    with (tmp_path / "anyarch.toml").open("a") as file:
        file.write(f'{CREATE}lifecycle-policy = "lifecycle.json"\n')


@pytest.mark.parametrize(
    ("policy", "denied", "said"),
    [
        pytest.param(
            "", "", f"has no lifecycle policy, though anyarch.toml names one: {PUT}", id="it has none"
        ),
        pytest.param(
            "",
            "ecr:GetLifecyclePolicy",
            "has the lifecycle policy of anyarch.toml cannot be told: ecr:GetLifecyclePolicy",
            id="nobody may look",
        ),
        pytest.param("{}", "", "", id="it has one"),
    ],
)
def test_a_repository_that_lacks_the_policy_it_should_be_made_with_is_told(
    released: FakeEcr, tmp_path: Path, policy: str, denied: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever made it may not have been able to put one. None is put now: there are images."""
    repository = released.registries[HOST]["shop/api"]
    repository.lifecycle_policy = policy
    with_policy(tmp_path)
    released.deny(denied, key="AKIASECOND")
    assert run(["merge", layout(tmp_path), "--to", REPOSITORY, "--tag", "v2"]) == 0
    shown = capsys.readouterr().err
    assert said in shown
    assert bool(said) is ("lifecycle policy" in shown)
    assert repository.lifecycle_policy == policy


@pytest.mark.usefixtures("released")
def test_the_doctor_warns_of_a_repository_without_the_policy_it_should_be_made_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "aws", REPOSITORY]) == 0
    assert "ok       lifecycle   no policy" in capsys.readouterr().out
    with_policy(tmp_path)
    assert run(["doctor", "aws", REPOSITORY]) == 0
    shown = capsys.readouterr().out
    assert "warn     lifecycle   no policy: nothing expires by itself, though anyarch.toml names one" in shown
    assert f"→ {PUT}\n" in shown


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["merge", f"{REPOSITORY}:v1", "--to", "oci:dist"], id="merge from there"),
        pytest.param(
            ["merge", "--records", "records", "--to", REPOSITORY, "--tag", "v1"], id="merge of records"
        ),
        pytest.param(["verify", f"{REPOSITORY}:v1"], id="verify"),
        pytest.param(["promote", f"{REPOSITORY}:v1", "--tag", "stable"], id="promote"),
        pytest.param(["prune", REPOSITORY, "--older-than", "7d"], id="prune"),
    ],
)
def test_every_command_says_the_same_of_a_missing_repository(
    ecr: FakeEcr, tmp_path: Path, words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "records").mkdir()
    record = a_record(IMAGE, repository=REPOSITORY)
    (tmp_path / "records" / "linux-amd64.json").write_bytes(record.to_json())
    assert run(words) == 23
    shown = capsys.readouterr().err
    assert f"there is no repository {REPOSITORY}; Amazon ECR makes none by itself" in shown
    assert f"{AWS.format('create-repository')} --profile two;" in shown
    assert ecr.registries == {}
