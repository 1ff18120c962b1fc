"""The policies that ``anyarch doctor aws --policy`` prints: enough for each job, and none too much.

Which denial makes which line of the doctor is in test_doctor_aws.py.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, cast

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.errors import DeniedError
from anyarch.oci.reference import Repository
from anyarch.registry.aws_policy import JOBS, TOKEN, Job, needs
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.ecr_lifecycle import safe
from anyarch.registry.ecr_repository import NewRepository, require
from anyarch.registry.store import RegistryStore
from anyarch.release.ledger import bring_empty

from tests.builders import an_image, an_index, upload
from tests.fake_dagger import FakeDagger
from tests.fake_ecr import HOST, FakeEcr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

AMD, ARM = "linux/amd64", "linux/arm64"
REPOSITORY = f"{HOST}/shop/api"
WHERE = cast("EcrHost", EcrHost.parse(HOST))
ROLE = "AKIASECOND"
OLD = an_image(config_fields={"created": "2025-01-31T12:00:00Z"})
OLD_INDEX = an_index(OLD)
ALL = {each for job in JOBS for each in (TOKEN, *needs(job, WHERE).all)}
ALL |= {"DescribeRepositories", "GetLifecyclePolicy", "DescribeImages", "ListTagsForResource"}


class Scene:
    """A repository with two builds, and whatever a job needs to have been done before it."""

    def __init__(self, ecr: FakeEcr, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ecr = ecr
        self.records = folder / "dagger" / "records"
        self._monkeypatch = monkeypatch
        self._dagger = FakeDagger(folder / "dagger")
        self._dagger.builds(AMD, ARM)
        self._dagger.records(REPOSITORY, AMD, ARM)

    def take_on(self, *jobs: Job, without: str = "") -> None:
        """From now on we are a role which may do what the jobs' policies say, and nothing else."""
        allowed = {TOKEN, *(each for job in jobs for each in needs(job, WHERE).all)} - {without}
        self.ecr.deny(*(f"ecr:{each}" for each in ALL - allowed), key=ROLE)
        self.ecr.use(self._monkeypatch, ROLE)

    def push(self) -> int:
        """What an engine and the end of a build send."""

        async def send() -> None:
            async with RegistryStore(Repository.parse(REPOSITORY)) as store:
                await upload(store, *self._dagger.images.values())
                await bring_empty(store)

        anyio.run(send)
        return 0

    def merge(self, *tags: str) -> int:
        named = [word for tag in tags or ("1.4.2", "latest") for word in ("--tag", tag)]
        only = [f"--platform={AMD}"] if not (self.records / "linux-arm64.json").exists() else []
        return run(["merge", "--records", str(self.records), "--to", REPOSITORY, *named, *only])


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with FakeEcr(tmp_path) as ecr:
        ecr.use(monkeypatch)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.chdir(tmp_path)
        yield Scene(ecr, tmp_path, monkeypatch)


def build(scene: Scene) -> Callable[[], int]:
    scene.ecr.create("shop/api")
    return scene.push


def merge(scene: Scene) -> Callable[[], int]:
    scene.ecr.create("shop/api")
    scene.push()
    return scene.merge


def promote(scene: Scene) -> Callable[[], int]:
    scene.ecr.create("shop/api")
    scene.push()
    scene.merge()

    def go() -> int:
        return run(["promote", f"{REPOSITORY}:1.4.2", "--tag", "stable"])

    return go


def rollback(scene: Scene) -> Callable[[], int]:
    scene.ecr.create("shop/api")
    scene.push()
    scene.merge()
    (scene.records / "linux-arm64.json").unlink()
    assert scene.merge("latest") == 0
    return lambda: run(["rollback", f"{REPOSITORY}:latest"])


def prune(scene: Scene) -> Callable[[], int]:
    """A release that no tag points at, and nobody may roll back to."""
    repository = scene.ecr.create("shop/api")

    async def send() -> None:
        async with RegistryStore(Repository.parse(REPOSITORY)) as store:
            await upload(store, OLD)
            await store.put(OLD_INDEX.digest, OLD_INDEX)
            await bring_empty(store)

    anyio.run(send)
    repository.pushed = dict.fromkeys(repository.manifests, time.time() - 90 * 86_400)

    def go() -> int:
        status = run(["prune", REPOSITORY, "--older-than", "30d", "--digest", str(OLD_INDEX.digest)])
        assert status != 0 or repository.manifests == {}
        return status

    return go


SCENES: dict[str, tuple[Job, Callable[[Scene], Callable[[], int]]]] = {
    "build": ("build", build),
    "merge": ("merge", merge),
    "promote": ("promote", promote),
    "rollback": ("promote", rollback),
    "prune": ("prune", prune),
}
# What only an engine asks while it pushes: it looks before it sends, and reads layers of a cache.
BY_ENGINES = {"BatchGetImage", "GetDownloadUrlForLayer", "BatchCheckLayerAvailability"}
WITHOUT = [
    (name, action)
    for name, (job, _) in SCENES.items()
    for action in (TOKEN, *needs(job, WHERE).needed)
    if name != "build" or action not in BY_ENGINES
]


def done(go: Callable[[], int]) -> int:
    """The exit code of a job, be it a command or not."""
    try:
        return go()
    except DeniedError as error:
        return error.exit_code


@pytest.mark.parametrize("name", SCENES)
def test_a_job_can_be_done_with_its_policy(scene: Scene, name: str) -> None:
    job, prepare = SCENES[name]
    go = prepare(scene)
    scene.take_on(job)
    assert go() == 0


@pytest.mark.parametrize("name", SCENES)
def test_and_without_what_is_only_better(scene: Scene, name: str) -> None:
    job, prepare = SCENES[name]
    go = prepare(scene)
    scene.take_on(job)
    scene.ecr.deny(*(f"ecr:{each}" for each in needs(job, WHERE).better_with), key=ROLE)
    assert go() == 0


@pytest.mark.parametrize(("name", "action"), WITHOUT, ids=[" without ".join(each) for each in WITHOUT])
def test_a_policy_allows_nothing_that_could_be_left_out(scene: Scene, name: str, action: str) -> None:
    job, prepare = SCENES[name]
    go = prepare(scene)
    scene.take_on(job, without=action)
    scene.ecr.deny(*(f"ecr:{each}" for each in needs(job, WHERE).better_with), key=ROLE)
    assert done(go) == 22


@pytest.mark.parametrize("without", ["", "CreateRepository", "TagResource", "PutLifecyclePolicy"])
def test_a_repository_is_made_with_the_policy_for_it(scene: Scene, without: str) -> None:
    scene.take_on("create", without=without)
    wanted = NewRepository(tags={"team": "shop"}, lifecycle_policy=json.dumps(safe(())))

    async def make() -> bool:
        async with RegistryStore(Repository.parse(REPOSITORY)) as store:
            return await require(store, wanted)

    assert done(lambda: 0 if anyio.run(make) else 1) == (22 if without else 0)
    made = scene.ecr.registries.get(HOST, {}).get("shop/api")
    assert (made is not None) is (without in {"", "PutLifecyclePolicy"})
    assert made is None or bool(made.lifecycle_policy) is (without == "")
