"""``--to`` several times, as a program: run, merge and plan; what each place gets, and what stops all."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyarch.cli.destinations import destinations
from anyarch.cli.main import run
from anyarch.errors import UsageError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore

from tests import run_bench
from tests.builders import an_image, upload
from tests.contract import test_run
from tests.fake_dagger import a_record
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.run_bench import Bench

bench = test_run.bench
AMD, ARM = an_image("linux/amd64"), an_image("linux/arm64")
NEW = an_image("linux/arm64", files={"app": b"newer"})


class Two:
    """Two registries; the first one holds the builds that the records are about."""

    def __init__(self, folder: Path, near: FakeRegistry, far: FakeRegistry) -> None:
        self.folder = folder
        self.near, self.far = near, far
        self.names = (f"{near.host}/shop/api", f"{far.host}/far/api")
        (folder / "records").mkdir()
        self.records(AMD, ARM)

    def records(self, *images: Any) -> None:  # noqa: ANN401  built images

        async def fill() -> None:
            async with RegistryStore(Repository(self.near.host, "shop/api")) as store:
                await upload(store, *images)

        anyio.run(fill)
        for image in images:
            path = self.folder / "records" / f"{image.platform.slug}.json"
            path.write_text(json.dumps(a_record(image, self.names[0])))
        self.near.seen.clear()

    def words(self, *more: str) -> list[str]:
        to = [f"--to={name}" for name in self.names]
        return ["merge", "--records=records", *to, "--tag=1.0.0 latest", *more]

    def tags(self, registry: FakeRegistry) -> dict[str, str]:
        held = registry.repositories.by_name
        found = {tag: digest for each in held.values() for tag, digest in each.tags.items()}
        return {tag: digest for tag, digest in found.items() if not tag.startswith("_anyarch")}


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    monkeypatch.chdir(tmp_path)
    with FakeRegistry() as near, FakeRegistry() as far:
        yield Two(tmp_path, near, far)


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_merge_goes_to_all_and_the_next_one_writes_nothing(
    two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    words = two.words("--to=oci:out", "--format=json")
    assert run([*words, "--dry-run"]) == 0
    dry = document(capsys)
    assert (two.near.writes, two.far.writes, (two.folder / "out").exists()) == ([], [], False)
    assert run(words) == 0
    done = document(capsys)
    assert sorted(map(str, done["writes"])) == sorted(map(str, dry["writes"]))
    assert [each["repository"] for each in done["destinations"]] == [*two.names, "oci:out"]
    assert {each["index_action"] for each in done["destinations"]} == {"written"}
    assert two.tags(two.near) == two.tags(two.far) == dict.fromkeys(["1.0.0", "latest"], done["digest"])
    two.near.seen.clear()
    two.far.seen.clear()
    assert run(words) == 0
    again = document(capsys)
    assert (again["writes"], two.near.writes, two.far.writes) == ([], [], [])
    assert {each["index_action"] for each in again["destinations"]} == {"unchanged"}


def test_people_read_of_every_destination_and_its_way_back(
    two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(two.words()) == 0
    two.records(NEW)
    capsys.readouterr()
    assert run(two.words("--dry-run")) == 0
    assert capsys.readouterr().out.count("dry run: nothing was written") == 1
    before = two.tags(two.near)["latest"]
    assert run(two.words()) == 0
    shown = capsys.readouterr().out
    for name in two.names:
        assert f"index  {name}@sha256:" in shown
        assert f"anyarch rollback {name}:latest --to={before}" in shown


def test_destinations_may_be_lines_as_in_a_workflow(two: Two) -> None:
    to = f"--to={two.names[0]}\n  {two.names[1]}\n\n"
    assert run(["merge", "--records=records", to, "--tag=1.0.0"]) == 0
    assert two.tags(two.near) == two.tags(two.far) != {}


def test_in_one_registry_layers_are_mounted(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["merge", "--records=records", f"--to={two.names[0]}", f"--to={two.near.host}/other/api"]
    assert run([*words, "--format=json"]) == 0
    assert {each["action"] for each in document(capsys)["writes"]} == {"mount", "put"}
    assert two.near.asked("PUT", "upload") == 0


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param(Fault("status", status=403, code="DENIED", method="POST", times=99), 22, id="upload"),
        pytest.param(
            Fault("status", status=403, code="DENIED", method="PUT", kind="manifest", times=99),
            22,
            id="manifests",
        ),
        pytest.param(Fault("status", status=400, code="UNSUPPORTED", method="PUT", times=99), 25, id="puts"),
    ],
)
def test_what_is_denied_at_the_second_leaves_the_first_without_a_tag(
    two: Two, fault: Fault, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    two.far.faults.append(fault)
    assert run(two.words()) == status
    said = capsys.readouterr().err
    assert two.far.host in said
    assert "no tag was moved at any of the 2 destinations" in said
    assert (two.tags(two.near), two.tags(two.far)) == ({}, {})
    two.far.faults.clear()
    assert run(two.words()) == 0
    assert two.tags(two.near) == two.tags(two.far) != {}


def test_a_second_destination_that_does_not_answer_stops_all(
    two: Two, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyarch.registry.retry.DELAY_BASE_SECONDS", 0.0)
    assert run(two.words("--to=127.0.0.1:1/nobody/there")) == 20
    said = capsys.readouterr().err
    assert "127.0.0.1:1" in said
    assert "no tag was moved at any of the 3 destinations" in said
    assert (two.near.writes, two.tags(two.near)) == ([], {})


@pytest.mark.parametrize("number", [0, 1])
def test_an_immutable_tag_at_either_moves_none(
    two: Two, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(two.words()) == 0
    before = two.tags(two.near)
    (two.near, two.far)[1 - number].repositories.by_name.popitem()
    two.records(AMD, NEW)
    (two.near, two.far)[number].switches.immutable_tags = True
    capsys.readouterr()
    assert run(two.words("--format=json")) == 24
    told = document(capsys)
    assert told["error"] == "ImmutableTagError"
    assert two.names[number] in told["message"]
    assert told["facts"]["moved"] == []
    found = [two.tags(two.near), two.tags(two.far)]
    assert found[number] == before
    assert found[1 - number] == {}


@pytest.mark.parametrize(
    ("to", "said"),
    [
        pytest.param(["r.example.com/api", "r.example.com/api"], "r.example.com/api is", id="twice"),
        pytest.param(["docker.io/api", "index.docker.io/library/api"], "docker.io/library/api", id="alias"),
        pytest.param(["oci:out", "oci:./out"], "oci:out is the same directory", id="layout"),
        pytest.param(["oci:out", "oci:link"], "oci:out is the same directory", id="link to a layout"),
    ],
)
def test_a_destination_named_twice_is_refused(
    to: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("out")
    with pytest.raises(UsageError, match="among the destinations twice") as caught:
        destinations(to)
    assert said in str(caught.value)


def test_each_registry_is_shown_its_own_credential_only(
    two: Two, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The environment's is the first one's; the other's is what docker login left."""
    two.far.switches.auth = "basic"
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", "near-robot")
    monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", "canary-near")
    secret = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    (two.folder / "config.json").write_text(json.dumps({"auths": {two.far.host: {"auth": secret}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(two.folder))
    two.near.switches.auth = "basic"
    assert run(two.words()) == 21, "the near one has another account"
    near = base64.b64encode(b"near-robot:canary-near").decode()
    shown = {seen.authorization for seen in two.near.seen}
    assert shown <= {"", f"Basic {near}"}
    two.near.switches.auth = "none"
    capsys.readouterr()
    assert run(two.words()) == 0
    assert {seen.authorization for seen in two.far.seen if seen.authorization} == {f"Basic {secret}"}
    said = capsys.readouterr()
    assert PASSWORD not in said.out + said.err


def test_a_run_builds_once_and_publishes_everywhere(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeRegistry() as near, FakeRegistry() as far:
        names = [f"{near.host}/team/app", f"{far.host}/team/app", "oci:out"]
        test_run.publish_all(bench, names[0])
        words = [*(f"--to={name}" for name in names), "--tag=1.0.0"]
        assert bench.run(*words, "--format=json") == 0
        found = document(capsys)
        assert [each["repository"] for each in found["destinations"]] == names
        held = [registry.repositories.by_name["team/app"].tags for registry in (near, far)]
        assert [tags["1.0.0"] for tags in held] == [found["digest"]] * 2
        near.seen.clear()
        far.seen.clear()
        assert bench.run(*words, f"--platform={run_bench.ARM}", "--format=json") == 0
        again = document(capsys)
        assert (again["digest"], again["writes"], near.writes, far.writes) == (found["digest"], [], [], [])


def test_a_run_asks_every_destination_before_it_builds(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeRegistry() as near, FakeRegistry(auth="basic") as far:
        names = [f"{near.host}/team/app", f"{far.host}/team/app"]
        assert bench.run(*(f"--to={name}" for name in names), "--tag=1.0.0") == 21
        assert near.writes == []
    assert far.host in capsys.readouterr().err
    assert bench.dagger.called(run_bench.AMD) is None


def test_a_run_into_a_layout_first_and_a_registry_besides(bench: Bench) -> None:
    """The layout has its tag latest where none is asked for; a registry has what is asked for."""
    with FakeRegistry() as far:
        name = f"{far.host}/team/app"
        assert bench.run("--to=oci:dist", f"--to={name}") == 0
        index = bench.tagged()
        assert index is not None
        held = far.repositories.by_name["team/app"]
        assert str(index.digest) in held.manifests
        assert held.tags == {}
        assert bench.run("--to=oci:dist", f"--to={name}", "--tag=1.0.0", f"--platform={run_bench.ARM}") == 0
        assert held.tags["1.0.0"] == str(index.digest)


def test_the_command_that_builds_what_failed_names_every_destination(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.dagger.plays({run_bench.ARM: test_run.FAILS})
    assert bench.run("--to=oci:one", "--to=oci:two") == 15
    assert "--to=oci:one --to=oci:two --platform=linux/arm64" in capsys.readouterr().err
    assert not (bench.folder / "two").exists()
    bench.dagger.plays({})
    assert bench.run("--to=oci:one", "--to=oci:two", f"--platform={run_bench.ARM}") == 0
    one, two = (anyio.run(LayoutStore(bench.folder / name).head, Tag("latest")) for name in ("one", "two"))
    assert one is not None
    assert one == two


def test_a_plan_shows_all_destinations_and_a_merge_takes_them_from_it(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    (bench.app / "anyarch.toml").write_text("image = 'oci:one'\nalso = ['oci:two']\n")
    words = ["plan", "app", *(f"--engine={each}={bench.engine}" for each in (run_bench.AMD, run_bench.ARM))]
    assert run(words) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["destination", "oci:one", "anyarch.toml"] in lines
    assert ["also", "oci:two", "anyarch.toml"] in lines
    assert run([*words, "--to=oci:three", "--format=json"]) == 0
    found = document(capsys)
    assert (found["plan"]["destination"], found["plan"]["also"]) == ("oci:three", [])
    assert bench.run() == 0
    records, plan = bench.app / ".anyarch" / "records", bench.app / ".anyarch" / "plan.json"
    capsys.readouterr()
    assert run(["merge", f"--records={records}", f"--plan={plan}", "--format=json"]) == 0
    done = document(capsys)
    assert [each["repository"] for each in done["destinations"]] == ["oci:one", "oci:two"]
    assert done["writes"] == []


def test_a_journal_is_kept_for_each_destination(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    """What an earlier merge left unfinished is told, whichever destination it was."""
    strange = Fault("status", status=400, code="MANIFEST_INVALID", method="PUT", kind="manifest", times=99)
    assert run(two.words()) == 0
    two.records(AMD, NEW)
    assert run([word for word in two.words() if not word.startswith("--tag")]) == 0
    two.near.faults.append(strange)
    assert run(two.words()) == 26, "the far one's tag has moved, the near one's nobody knows"
    capsys.readouterr()
    two.near.faults.clear()
    assert run(two.words()) == 0
    said = capsys.readouterr().err
    assert [f"an earlier anyarch merge to {name}" in said for name in two.names] == [True, True]


def test_a_refusal_before_any_tag_moved_is_no_news_for_the_next_merge(
    two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = Fault("status", status=403, code="DENIED", method="PUT", kind="manifest", times=99)
    assert run(two.words()) == 0
    two.records(AMD, NEW)
    two.near.faults.append(refusal)
    assert run(two.words()) == 22
    two.near.faults.clear()
    capsys.readouterr()
    assert run(two.words()) == 0
    assert "an earlier" not in capsys.readouterr().err
