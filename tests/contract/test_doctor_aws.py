"""``anyarch doctor aws`` on a strict Amazon ECR: each line is true, and nothing is written."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from anyarch.cli.main import run
from anyarch.registry.aws_policy import JOBS, needs
from anyarch.registry.ecr_host import EcrHost

from tests.fake_ecr import ACCOUNT, HOST, PASSWORD_PREFIX, SECRET_KEY, SESSION_TOKEN, FakeEcr
from tests.fake_ecr_public import ALIAS
from tests.unit.release.test_schemas import validator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REPOSITORY = f"{HOST}/shop/api"
ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/release/akiafirst"
INDEX = "application/vnd.oci.image.index.v1+json"
SCHEMA = validator("doctor")
WHERE = cast("EcrHost", EcrHost.parse(HOST))


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    with FakeEcr(tmp_path) as started:
        started.use(monkeypatch)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.chdir(tmp_path)
        yield started
    assert started.unhandled == []


def a_policy(days: int, status: str = "untagged") -> str:
    chosen = {"tagStatus": status, "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days}
    return json.dumps({"rules": [{"rulePriority": 1, "selection": chosen, "action": {"type": "expire"}}]})


class Doctor:
    """Calls the command and reads its lines."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.status = -1
        self.text = ""

    def __call__(self, *words: str, subject: str = REPOSITORY) -> dict[str, dict[str, Any]]:
        self._capsys.readouterr()
        self.status = run(["doctor", "aws", subject, *words, "--format", "json"])
        shown = self._capsys.readouterr()
        self.text = shown.out + shown.err
        document = json.loads(shown.out)
        SCHEMA.validate(document)
        assert document["ok"] is (self.status == 0)
        assert [each for each in (SECRET_KEY, SESSION_TOKEN, PASSWORD_PREFIX) if each in self.text] == []
        return {each["name"]: each for each in document["checks"]}


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(capsys)


def test_whoever_may_do_everything_hears_it_and_nothing_is_written(ecr: FakeEcr, doctor: Doctor) -> None:
    repository = ecr.create("shop/api")
    lines = doctor()
    assert doctor.status == 0
    assert [(name, line["verdict"]) for name, line in lines.items() if line["verdict"] != "ok"] == [
        ("session", "unknown")
    ]
    assert lines["identity"]["found"] == f"{ROLE} (role release)"
    assert [seen for seen in ecr.writes if seen.path.startswith("/v2/")] == []
    assert (repository.manifests, repository.blobs, repository.tags) == ({}, {}, {})
    assert list(ecr.registries[HOST]) == ["shop/api"]


NEEDED = [(job, action) for job in JOBS for action in ("GetAuthorizationToken", *needs(job, WHERE).needed)]


@pytest.mark.parametrize(("job", "action"), NEEDED, ids=[f"{job} without {action}" for job, action in NEEDED])
def test_each_action_that_is_denied_is_named_with_the_statement_that_allows_it(
    ecr: FakeEcr, doctor: Doctor, job: str, action: str
) -> None:
    """Of the role that a job has, which is allowed nothing that other jobs need."""
    ecr.create("shop/api")
    ecr.deny(f"ecr:{action}")
    line = doctor("--job", job)[job]
    assert f"not allowed: {action}" in line["found"]
    resource = (
        "*" if action == "GetAuthorizationToken" else f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/shop/api"
    )
    wanted = {"Effect": "Allow", "Action": [f"ecr:{action}"], "Resource": resource}
    assert line["advice"].partition("role release: ")[2] == json.dumps(wanted)
    assert (line["verdict"], doctor.status) == ("fail", 40)


def test_to_make_a_repository_that_is_there_needs_nobody(ecr: FakeEcr, doctor: Doctor) -> None:
    ecr.create("shop/api")
    ecr.deny("ecr:CreateRepository")
    line = doctor()["create"]
    assert (line["verdict"], doctor.status) == ("ok", 0)
    assert line["found"].startswith("not needed, the repository is there; ")


def test_without_a_job_only_what_a_run_needs_must_work(ecr: FakeEcr, doctor: Doctor) -> None:
    ecr.create("shop/api")
    ecr.deny("ecr:BatchDeleteImage", "ecr:ListImages")
    lines = doctor()
    assert (lines["prune"]["verdict"], doctor.status) == ("warn", 0)
    ecr.deny("ecr:InitiateLayerUpload")
    lines = doctor()
    assert (lines["build"]["verdict"], lines["merge"]["verdict"], doctor.status) == ("fail", "ok", 40)
    assert "build" not in doctor("--job", "merge")
    assert doctor.status == 0


def test_what_a_job_can_do_without_is_no_failure(ecr: FakeEcr, doctor: Doctor) -> None:
    ecr.create("shop/api")
    ecr.deny("ecr:BatchCheckLayerAvailability")
    line = doctor("--job", "merge")["merge"]
    assert (line["verdict"], doctor.status) == ("ok", 0)
    assert line["advice"].startswith("it works without; better: add")


def test_a_repository_that_is_missing_is_not_made(ecr: FakeEcr, doctor: Doctor) -> None:
    """Other permissions are told all the same. A push could make one, where the account has it so."""
    lines = doctor()
    assert (lines["repository"]["verdict"], doctor.status) == ("fail", 40)
    assert "--registry-id 123456789012 --repository-name shop/api" in lines["repository"]["advice"]
    assert (lines["build"]["verdict"], lines["create"]["verdict"]) == ("unknown", "unknown")
    assert lines["build"]["found"].endswith("without doing it: InitiateLayerUpload, PutImage")
    writing = ("CreateRepository", "InitiateLayerUpload", "PutImage")
    assert [each for each in writing if ecr.operations(each)] == []
    ecr.deny("ecr:UploadLayerPart")
    assert "not allowed: UploadLayerPart" in doctor()["build"]["found"]
    assert ecr.registries == {}


def test_who_may_not_look_is_told_so(ecr: FakeEcr, doctor: Doctor) -> None:
    ecr.create("shop/api")
    ecr.deny("ecr:BatchGetImage", "ecr:BatchCheckLayerAvailability")
    lines = doctor()
    assert lines["repository"]["verdict"] == "unknown"
    assert "is there cannot be told: " in lines["repository"]["found"]
    assert (lines["merge"]["verdict"], doctor.status) == ("fail", 40)


def test_a_repository_that_anyarch_will_make_need_not_be_there(
    ecr: FakeEcr, doctor: Doctor, tmp_path: Path
) -> None:
    """Then making it is among what must work, as far as that can be told."""
    (tmp_path / "anyarch.toml").write_text(
        f'[registries."{HOST}".create]\nlifecycle-policy = "lifecycle.json"\n'
    )
    (tmp_path / "lifecycle.json").write_text(a_policy(1))
    lines = doctor()
    assert (lines["repository"]["verdict"], lines["create"]["verdict"], doctor.status) == ("ok", "unknown", 0)
    assert "make it, as anyarch.toml says" in lines["repository"]["found"]
    assert lines["lifecycle"]["found"].startswith("rule 1 (untagged, 1 day) expires builds")
    assert lines["lifecycle"]["advice"].startswith("mend it before")
    (tmp_path / "lifecycle.json").write_text(a_policy(60))
    ecr.deny("ecr:BatchGetImage")
    lines = doctor()
    assert (lines["lifecycle"]["verdict"], lines["create"]["verdict"], doctor.status) == ("ok", "fail", 40)
    assert ecr.registries == {}


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"AWS_REGION": "us-east-1"}, id="today's name"),
        pytest.param({"AWS_DEFAULT_REGION": "us-east-1"}, id="the older name"),
        pytest.param({"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "eu-north-1"}, id="both differ"),
    ],
)
def test_a_repository_in_the_region_that_is_configured_is_found(
    ecr: FakeEcr, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, region in variables.items():
        monkeypatch.setenv(name, region)
    other = HOST.replace("eu-west-1", "us-east-1")
    ecr.create("shop/api", host=other)
    lines = doctor()
    assert lines["region"]["verdict"] == "warn"
    assert "in eu-west-1, and the configured region is us-east-1" in lines["region"]["found"]
    assert f"did you mean {other}/shop/api?" in lines["repository"]["advice"]


def test_another_accounts_registry_is_said_so(ecr: FakeEcr, doctor: Doctor) -> None:
    ecr.create("shop/api")
    ecr.principals["AKIAFIRST"].account = "210987654321"
    line = doctor()["identity"]
    assert line["verdict"] == "warn"
    assert f"the registry is another account's, {ACCOUNT}" in line["found"]


@pytest.mark.parametrize(
    ("filters", "verdict"),
    [
        pytest.param(["latest"], "warn", id="the history of tags could not be written"),
        pytest.param(["latest", "_anyarch.*"], "ok", id="as anyarch makes it"),
    ],
)
def test_fixed_tags_must_leave_the_history_alone(
    ecr: FakeEcr, doctor: Doctor, filters: list[str], verdict: str
) -> None:
    ecr.create(
        "shop/api",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": each} for each in filters],
    )
    line = doctor()["repository"]
    assert line["verdict"] == verdict
    assert f"tags are immutable, except {', '.join(filters)}" in line["found"]


def test_a_lifecycle_policy_that_takes_builds_before_their_merge_is_a_warning_and_mended(
    ecr: FakeEcr, doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = ecr.create("shop/api")
    assert doctor()["lifecycle"]["found"] == "no policy: nothing expires by itself"
    repository.lifecycle_policy = a_policy(1)
    line = doctor()["lifecycle"]
    assert (line["verdict"], doctor.status) == ("warn", 0)
    assert line["found"].startswith("rule 1 (untagged, 1 day) expires builds that are not merged yet")
    assert "put-lifecycle-policy --region eu-west-1 --registry-id 123456789012" in line["advice"]
    assert run(["doctor", "aws", REPOSITORY, "--lifecycle"]) == 0
    repository.lifecycle_policy = capsys.readouterr().out
    assert doctor()["lifecycle"]["verdict"] == "ok"


def test_the_tags_that_are_there_count(ecr: FakeEcr, doctor: Doctor) -> None:
    repository = ecr.create("shop/api")
    policy = json.loads(a_policy(14, "tagged"))
    policy["rules"][0]["selection"]["tagPatternList"] = ["sha-*"]
    repository.lifecycle_policy = json.dumps(policy)
    assert doctor()["lifecycle"]["verdict"] == "ok"
    repository.manifests = dict.fromkeys(("sha256:1", "sha256:2"), (INDEX, b"{}"))
    repository.tags = {"sha-1f2e": "sha256:1", "stable": "sha256:1", "sha-77ab": "sha256:2"}
    assert "what tags such as stable point at" in doctor()["lifecycle"]["found"]
    ecr.deny("ecr:DescribeImages")
    assert doctor()["lifecycle"]["found"].endswith("it could be told better with ecr:DescribeImages")
    ecr.deny("ecr:GetLifecyclePolicy")
    assert doctor()["lifecycle"]["verdict"] == "unknown"


def test_a_release_that_lost_its_tag_and_is_about_to_go_is_told(ecr: FakeEcr, doctor: Doctor) -> None:
    """A month after its push, not after the day when the tag was moved."""
    repository = ecr.create("shop/api")
    repository.lifecycle_policy = a_policy(30)
    repository.manifests = {"sha256:1": (INDEX, b"{}"), "sha256:2": (INDEX, b"{}")}
    repository.tags = {"latest": "sha256:2"}
    repository.pushed = dict.fromkeys(repository.manifests, time.time() - 29 * 86_400)
    assert doctor()["lifecycle"]["verdict"] == "ok"
    repository.pushed = dict.fromkeys(repository.manifests, time.time() - 31 * 86_400)
    line = doctor()["lifecycle"]
    assert line["verdict"] == "warn"
    assert line["found"].endswith("1 of them, such as sha256:1")


def expire_session(ecr: FakeEcr, _: pytest.MonkeyPatch) -> None:
    ecr.principals["AKIAFIRST"].expired = True


def put_the_clock_ahead(ecr: FakeEcr, _: pytest.MonkeyPatch) -> None:
    ecr.clock_ahead = 1200.0


def take_the_keys(_: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)


def change(name: str, value: str) -> Callable[[FakeEcr, pytest.MonkeyPatch], None]:
    return lambda _, monkeypatch: monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param([], "no repository is named", id="nothing"),
        pytest.param([HOST], "names no repository", id="a registry"),
        pytest.param(["oci:dist"], "is a directory", id="a layout"),
        pytest.param(["registry.example.com/api"], "is no registry of Amazon ECR", id="another registry"),
        pytest.param(
            ["123456789012.dkr.ecr.eu-west-1.amazonws.com/api"], f"did you mean {HOST}?", id="a typo"
        ),
        pytest.param([REPOSITORY, "--branch", "main"], "--trust-policy OWNER/REPO", id="trust in nobody"),
        pytest.param(
            ["public.ecr.aws/shop/api", "--trust-policy", "shop/api"],
            "--account",
            id="no account in the name",
        ),
        pytest.param(
            ["public.ecr.aws/shop/api", "--lifecycle"], "nothing expires", id="nothing expires there"
        ),
        pytest.param([REPOSITORY, "--policy", "everything"], "Choose from", id="no such job"),
        pytest.param([REPOSITORY, "--principal", "111122223333"], "for which job?", id="a policy for no job"),
    ],
)
def test_words_that_make_no_sense(
    ecr: FakeEcr, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run(["doctor", "aws", *words]) == 2
    assert said in capsys.readouterr().err
    assert ecr.asked_of_api == []


def test_a_better_lifecycle_policy_is_for_a_repository_that_is_there(
    ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "aws", REPOSITORY, "--lifecycle"]) == 23
    assert "aws ecr create-repository" in capsys.readouterr().err
    assert ecr.registries == {}


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        pytest.param(expire_session, f"the AWS session for {HOST} has expired", id="expired session"),
        pytest.param(put_the_clock_ahead, "clock is 20 min ahead of AWS's", id="clock"),
        pytest.param(take_the_keys, f"there are no AWS credentials for {HOST}", id="no credentials"),
        pytest.param(change("AWS_ACCESS_KEY_ID", "AKIANOBODY"), "does not accept", id="unknown key"),
        pytest.param(change("AWS_PROFILE", "nobody"), "there is no AWS profile", id="unknown profile"),
    ],
)
def test_who_is_nobody_hears_one_clear_sentence(
    ecr: FakeEcr,
    doctor: Doctor,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[FakeEcr, pytest.MonkeyPatch], None],
    said: str,
) -> None:
    trouble(ecr, monkeypatch)
    lines = doctor()
    assert doctor.status == 40
    assert said in lines["identity"]["found"]
    assert lines["identity"]["advice"]
    assert {line["verdict"] for name, line in lines.items() if name != "identity"} == {"skipped"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        pytest.param(
            "AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token", "/nowhere/token: No such file", id="no token"
        ),
        pytest.param("AWS_ENDPOINT_URL", "garbage", "not understood (ValueError)", id="no URL"),
        pytest.param("AWS_CREDENTIAL_EXPIRATION", "soon", "not understood (ParserError)", id="no time"),
        pytest.param("AWS_CONFIG_FILE", "[default\n", "Unable to parse config file", id="no configuration"),
        pytest.param(
            "AWS_CONFIG_FILE",
            "[default]\ncredential_process = /nowhere/program\n",
            "/nowhere/program: No such file",
            id="no program",
        ),
        pytest.param(
            "AWS_CONFIG_FILE",
            f"[default]\ncredential_process = /bin/echo {SECRET_KEY}\n",
            "not understood (JSONDecodeError)",
            id="a program that prints something else",
        ),
    ],
)
def test_a_setting_of_aws_that_makes_no_sense_is_no_bug_of_ours(
    ecr: FakeEcr,
    doctor: Doctor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    said: str,
) -> None:
    ecr.create("shop/api")
    monkeypatch.setenv("AWS_ROLE_ARN", f"arn:aws:iam::{ACCOUNT}:role/release")
    if name in {"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE"}:
        take_the_keys(ecr, monkeypatch)
    if name == "AWS_CONFIG_FILE":
        (tmp_path / "config").write_text(value)
        value = str(tmp_path / "config")
    monkeypatch.setenv(name, value)
    assert said in doctor()["identity"]["found"]
    assert doctor.status == 40


def test_an_api_that_does_not_answer_is_told_once(
    ecr: FakeEcr, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even STS does: who we are cannot be told then, and publishing needs no STS."""
    ecr.create("shop/api")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    lines = doctor()
    assert (lines["identity"]["verdict"], doctor.status) == ("unknown", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", "http://127.0.0.1:9")
    lines = doctor()
    assert [name for name, line in lines.items() if line["verdict"] == "fail"] == ["API"]
    assert doctor.status == 40


def test_a_clock_that_is_off_a_little_is_a_warning(ecr: FakeEcr, doctor: Doctor) -> None:
    ecr.create("shop/api")
    ecr.clock_ahead = 90.0
    line = doctor()["clock"]
    assert (line["verdict"], doctor.status) == ("warn", 0)
    assert "s ahead of AWS" in line["found"]


def test_a_profile_counts_by_flag_and_by_configuration(
    ecr: FakeEcr, doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ecr.create("shop/api")
    take_the_keys(ecr, monkeypatch)
    credentials = tmp_path / "credentials"
    credentials.write_text(f"[prod]\naws_access_key_id = AKIASECOND\naws_secret_access_key = {SECRET_KEY}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    lines = doctor("--profile", "prod")
    assert "akiasecond" in lines["identity"]["found"]
    assert "keys of a user, which have no end" in lines["session"]["found"]
    (tmp_path / "anyarch.toml").write_text(f'[registries."{HOST}"]\naws-profile = "prod"\n')
    assert "akiasecond" in doctor()["identity"]["found"]


def test_what_counts_before_aws_is_said(
    ecr: FakeEcr, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ecr.create("shop/api")
    assert "asked only after" not in doctor()["password"]["found"]
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", "AWS")
    assert doctor()["password"]["found"].endswith("asked only after ANYARCH_REGISTRY_USERNAME")


def test_a_fips_name_asks_ecrs_endpoint_and_not_everybodys(ecr: FakeEcr, doctor: Doctor) -> None:
    """STS has such endpoints in some regions only, and who we are is no secret."""
    host = f"{ACCOUNT}.dkr.ecr-fips.us-east-1.amazonaws.com"
    ecr.create("shop/api", host=f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com")
    assert doctor(subject=f"{host}/shop/api")["identity"]["verdict"] == "ok"
    hosts = {asked for asked, _ in ecr.asked_of_api}
    assert "sts.us-east-1.amazonaws.com" in hosts
    assert [each for each in hosts if "ecr" in each and "fips" not in each] == []


def test_in_ecr_public_reading_needs_no_permission(ecr: FakeEcr, doctor: Doctor) -> None:
    ecr.create(f"{ALIAS}/api", host="public.ecr.aws")
    subject = f"public.ecr.aws/{ALIAS}/api"
    lines = doctor(subject=subject)
    assert (lines["registry"]["verdict"], doctor.status) == ("ok", 0)
    ecr.deny("ecr-public:PutImage")
    lines = doctor("--job", "merge", subject=subject)
    assert "not allowed: PutImage" in lines["merge"]["found"]
    assert "BatchGetImage" not in lines["merge"]["found"]
    assert '"Resource": "arn:aws:ecr-public::*:repository/api"' in lines["merge"]["advice"]


def test_policies_are_printed_without_asking_anybody(
    ecr: FakeEcr, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_the_keys(ecr, monkeypatch)
    assert run(["doctor", "aws", REPOSITORY, "--policy", "merge"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "ecr:PutImage" in document["Statement"][1]["Action"]
    assert "ecr:InitiateLayerUpload" not in document["Statement"][1]["Action"]
    assert run(["doctor", "aws", REPOSITORY, "--trust-policy", "shop/api", "--branch", "main"]) == 0
    assert "repo:shop/api:ref:refs/heads/main" in capsys.readouterr().out
    assert ecr.asked_of_api == []


def test_the_list_of_doctors_says_what_this_one_looks_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--help"]) == 0
    assert "Look at AWS credentials" in capsys.readouterr().out
    assert run(["doctor", "aws", "--help"]) == 0
    assert f"Example: anyarch doctor aws {REPOSITORY}" in " ".join(capsys.readouterr().out.split())


def test_the_doctor_for_any_registry_sends_here(ecr: FakeEcr, capsys: pytest.CaptureFixture[str]) -> None:
    ecr.create("shop/api")
    assert run(["doctor", "registry", REPOSITORY]) == 0
    assert f"anyarch doctor aws {REPOSITORY} asks AWS" in capsys.readouterr().out
