"""``anyarch prune`` on Amazon ECR: its own list knows what has no tag, and nothing in use goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.store import RegistryStore
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote

from tests.builders import a_referrer, an_attestation, an_image, an_index, upload
from tests.fake_ecr import HOST, EcrRepository, FakeEcr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPOSITORY = f"{HOST}/shop/api"
DAY = 86_400.0
MADE = {"created": "2025-01-31T12:00:00Z"}
AMD, ARM, OTHER = (an_image(f"linux/{each}", config_fields=MADE) for each in ("amd64", "arm64", "386"))
FAILED_BUILD = an_image("linux/riscv64")
PROVENANCE = an_attestation(OTHER)
OLD, NEW = an_index(ARM, OTHER, PROVENANCE), an_index(AMD, ARM)
SIGNATURE = a_referrer(FAILED_BUILD.manifest, b"signed")
LATEST = Tag("latest")
WORDS = ["prune", REPOSITORY, "--older-than", "30d"]


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    """``latest`` moved on from an old release by hand, a build was never merged; all is 90 days old."""
    with FakeEcr(tmp_path, "shop/api") as started:
        started.use(monkeypatch)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.chdir(tmp_path)

        async def fill() -> None:
            async with RegistryStore(Repository.parse(REPOSITORY)) as store:
                await upload(store, AMD, ARM, OTHER, PROVENANCE, FAILED_BUILD)
                await store.put(OLD.digest, OLD)
                await store.put(LATEST, NEW)

        anyio.run(fill)
        age(started.registries[HOST]["shop/api"], 90)
        started.seen.clear()
        yield started


def age(repository: EcrRepository, days: float) -> None:
    repository.pushed = dict.fromkeys(repository.manifests, time.time() - days * DAY)
    repository.pulled.clear()


@pytest.fixture
def repository(ecr: FakeEcr) -> EcrRepository:
    return ecr.registries[HOST]["shop/api"]


CURRENT = {str(each.digest) for each in (AMD, ARM, NEW)}
GOING = [str(each.digest) for each in (FAILED_BUILD, OLD, OTHER, PROVENANCE)]


def test_what_no_tag_needs_is_found_and_goes(
    ecr: FakeEcr, repository: EcrRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*WORDS, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert [digest for digest in GOING if digest not in shown] == []
    assert ecr.operations("BatchDeleteImage") == 0
    repository.pulled.clear()  # as by a role that is excluded from pull times
    assert run(WORDS) == 0
    assert set(repository.manifests) == CURRENT
    assert repository.tags == {"latest": str(NEW.digest)}, "and no note is left"
    assert ecr.operations("BatchDeleteImage") == len(GOING)
    assert not [seen for seen in ecr.seen if seen.method == "DELETE"]


def test_what_was_pulled_is_in_use(repository: EcrRepository, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that pins a digest needs no tag; pulling the index, it pulled one of its platforms."""
    repository.pulled[str(OLD.digest)] = time.time() - 2 * DAY
    assert run(WORDS) == 0
    assert str(FAILED_BUILD.digest) not in repository.manifests
    assert {str(each.digest) for each in (OLD, ARM, OTHER, PROVENANCE)} <= set(repository.manifests)
    shown = capsys.readouterr().out
    assert "without a tag: needed by nothing, but younger than 30 d, or pulled since" in shown
    assert "--ignore-pulls" in shown


def test_a_dry_run_is_no_obstacle_where_pulls_do_not_count(repository: EcrRepository) -> None:
    assert run([*WORDS, "--dry-run"]) == 0
    assert run(WORDS) == 0
    assert set(repository.manifests) > CURRENT, "the dry run's reads were pulls"
    assert run([*WORDS, "--ignore-pulls"]) == 0
    assert set(repository.manifests) == CURRENT


def test_what_was_pushed_and_is_not_merged_yet_is_young(repository: EcrRepository) -> None:
    repository.pushed[str(FAILED_BUILD.digest)] = time.time() - 3 * DAY
    assert run(WORDS) == 0
    assert str(FAILED_BUILD.digest) in repository.manifests


@pytest.mark.parametrize("together", [False, True])
def test_what_is_signed_stays_unless_signatures_go_too(repository: EcrRepository, together: bool) -> None:
    async def sign() -> None:
        async with RegistryStore(Repository.parse(REPOSITORY)) as store:
            await upload(store, SIGNATURE)

    anyio.run(sign)
    age(repository, 90)
    assert run([*WORDS, *(["--with-referrers"] if together else [])]) == 0
    there = {str(FAILED_BUILD.digest), str(SIGNATURE.digest)} & set(repository.manifests)
    assert len(there) == (0 if together else 2)
    assert set(repository.manifests) >= CURRENT


def test_a_release_that_can_be_rolled_back_to_stays(repository: EcrRepository) -> None:
    async def move() -> None:
        async with RegistryStore(Repository.parse(REPOSITORY)) as store:
            for digest in (OLD.digest, NEW.digest):
                await promote(
                    store, digest, [LATEST], mover=Mover(force=True, now=lambda: "2026-01-31T12:00:00Z")
                )

    anyio.run(move)
    age(repository, 90)
    assert run(WORDS) == 0
    assert str(OLD.digest) in repository.manifests
    repository.pulled.clear()
    assert run([*WORDS, "--keep-releases", "0"]) == 0
    assert str(OLD.digest) not in repository.manifests


def test_pages_are_all_read(ecr: FakeEcr, repository: EcrRepository) -> None:
    ecr.page_max = 2
    assert run(WORDS) == 0
    assert set(repository.manifests) == CURRENT
    assert ecr.operations("DescribeImages") == 4


def test_what_is_archived_is_left_alone(repository: EcrRepository) -> None:
    """It cannot be read, so nobody can tell what it needs; the service bills it for 90 days anyway."""
    repository.archived = {str(OLD.digest)}
    assert run(WORDS) == 39, "its platforms cannot go, and that is said"
    assert {str(each.digest) for each in (OLD, OTHER)} <= set(repository.manifests)


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        pytest.param("permission", "AWS does not allow ecr:DescribeImages", id="the permission"),
        pytest.param("credentials", "only AWS credentials open Amazon's list", id="AWS credentials"),
    ],
)
def test_without_the_list_it_is_a_registry_like_others(
    ecr: FakeEcr,
    repository: EcrRepository,
    lacking: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ecr.deny("ecr:DescribeImages")
    if lacking == "credentials":
        assert run(["login", HOST, "--print"]) == 0
        monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", "AWS")
        monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", capsys.readouterr().out.strip())
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert run([*WORDS, "--digest", str(OLD.digest)]) == 0
    assert said in capsys.readouterr().err
    assert str(FAILED_BUILD.digest) in repository.manifests, "nobody told of it"
    assert str(OLD.digest) not in repository.manifests
    assert bool([seen for seen in ecr.seen if seen.method == "DELETE"]) is (lacking == "credentials")


def test_a_missing_permission_to_delete_is_named_once(
    ecr: FakeEcr, repository: EcrRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(repository.manifests)
    ecr.deny("ecr:BatchDeleteImage")
    assert run(WORDS) == 22
    assert "allow ecr:BatchDeleteImage" in capsys.readouterr().err
    assert set(repository.manifests) == before
    assert ecr.operations("BatchDeleteImage") == 1
