"""``anyarch run`` as a program, with a dagger that plays outcomes: what is built, kept, merged and told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.oci.manifest import Index
from anyarch.oci.platforms import Platform
from anyarch.release.config import Config, parse_config
from anyarch.release.plan import make_plan

from tests.builders import upload
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry
from tests.run_bench import AMD, ARM, Bench, a_bench, sources_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


FAILS = {
    "says": ["5   : withExec /bin/sh -c 'make'", "5   : [1s] | no rule", "5   : x ERROR [1s]"],
    "status": 1,
}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with a_bench(tmp_path, monkeypatch) as bench:
        yield bench


def test_with_nothing_configured_the_result_is_a_layout_of_both_platforms(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run() == 0
    index = bench.tagged()
    assert index is not None
    shown = capsys.readouterr().out
    for platform in (AMD, ARM):
        record = bench.record(platform)
        assert record is not None
        assert str(record.image.digest) in shown
        assert str(record.image.digest) in index.raw.decode()
    assert f"oci:dist@{index.digest}" in shown
    assert "rm -r dist" in shown


def test_a_second_run_writes_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run() == 0
    before = bench.tagged()
    capsys.readouterr()
    assert bench.run("--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["writes"] == []
    assert bench.tagged() == before


def test_rules_give_the_tags_and_the_index_says_what_the_file_says(bench: Bench) -> None:
    (bench.app / "anyarch.toml").write_text(
        "[tags]\nrules = ['1.0', 'type=raw,value=edge,enable=false', 'stable']\n"
        "[build.annotations]\n'com.example.team' = 'shop'\n"
    )
    assert bench.run() == 0
    index = bench.tagged("1.0")
    assert isinstance(index, Index)
    assert index.annotations["com.example.team"] == "shop"
    assert bench.tagged("stable") == index
    assert (bench.tagged("edge"), bench.tagged("latest")) == (None, None)


def test_a_platforms_image_is_in_the_layout_by_digest_only(bench: Bench) -> None:
    assert bench.run() == 0
    listed = json.loads((bench.folder / "dist" / "index.json").read_text())["manifests"]
    assert [each["annotations"]["org.opencontainers.image.ref.name"] for each in listed] == ["latest"]


def test_the_build_context_leaves_our_own_files_out(bench: Bench) -> None:
    assert bench.run("--to", "oci:app/out") == 0
    note = bench.dagger.called(ARM)
    assert note is not None
    assert [word for word in note["argv"] if word.startswith("--exclude")] == [
        "--exclude=.anyarch",
        "--exclude=out",
    ]


def test_one_platform_that_fails_stops_no_other_and_nothing_is_tagged(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.dagger.plays({ARM: FAILS})
    assert bench.run("--tag", "1.0") == 15
    assert bench.record(AMD) is not None
    assert bench.record(ARM) is None
    assert bench.tagged("1.0") is None
    told = capsys.readouterr().err
    assert "kept: linux/amd64" in told
    assert "RUN make" in told
    assert "no rule" in told
    assert "app/.anyarch/logs/linux-arm64.log" in told
    assert "anyarch run app --tag=1.0 --platform=linux/arm64" in told


def test_the_command_that_it_names_builds_just_that_platform_and_merges_all(bench: Bench) -> None:
    bench.dagger.plays({ARM: FAILS})
    assert bench.run("--tag", "1.0") == 15
    bench.dagger.plays({AMD: FAILS})  # were it called again, this would fail
    assert bench.run("--tag=1.0", "--platform=linux/arm64", platforms=[ARM]) == 0
    index = bench.tagged("1.0")
    assert index is not None
    assert {str(each["platform"]["architecture"]) for each in json.loads(index.raw)["manifests"]} == {
        "amd64",
        "arm64",
    }


def test_a_failed_platforms_older_record_is_not_told_as_this_runs(bench: Bench) -> None:
    assert bench.run() == 0
    bench.dagger.plays({ARM: FAILS})
    assert bench.run() == 15
    assert bench.record(ARM) is None


def test_the_same_failure_everywhere_is_one_error_of_its_own_class(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.dagger.plays({AMD: FAILS, ARM: FAILS})
    assert bench.run("--format", "json") == 12
    document = json.loads(capsys.readouterr().out)
    assert document["error"] == "BuildFailedError"
    assert "same kind of failure for linux/arm64" in document["hint"]


def test_an_optional_platform_may_fail(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    (bench.app / "anyarch.toml").write_text(f'[platforms."{AMD}"]\n[platforms."{ARM}"]\nrequired = false\n')
    bench.dagger.plays({ARM: FAILS})
    assert bench.run() == 0
    told = capsys.readouterr()
    assert "missing (optional)" in told.out
    assert "(earlier run)" not in told.out
    assert "warning  linux/arm64 is optional and failed" in told.out
    assert bench.tagged() is not None


def test_a_platform_that_was_never_built_is_named_with_the_command(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    (bench.app / "anyarch.toml").write_text(f'[platforms."{AMD}"]\n[platforms."{ARM}"]\n')
    assert bench.run("--platform", AMD, platforms=[AMD]) == 15
    told = capsys.readouterr().err
    assert "linux/arm64: there is no record" in told
    assert "anyarch run app --platform=linux/arm64" in told
    assert bench.tagged() is None


def in_git(bench: Bench) -> None:
    commit(bench, "init", "-q")
    commit(bench, "add", ".")
    commit(bench, "commit", "-qm", "x")


def commit(bench: Bench, *words: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(bench.app), *identity, *words], check=True, timeout=20)


def dirty(bench: Bench) -> None:
    in_git(bench)
    edited(bench)


def edited(bench: Bench) -> None:
    with (bench.app / "Dockerfile").open("a") as file:
        file.write("LABEL edited=yes\n")


def with_a_file(bench: Bench) -> None:
    (bench.app / "data").write_text("anything")


def recommitted(bench: Bench) -> None:
    edited(bench)
    commit(bench, "commit", "-qam", "y")


def configured(bench: Bench) -> None:
    (bench.app / "anyarch.toml").write_text('[build]\nargs = { X = "2" }\n')


def as_it_was(bench: Bench) -> None:
    """Nothing happened."""


Act = Callable[[Bench], None]


@pytest.mark.parametrize(
    ("before", "change", "said"),
    [
        pytest.param(as_it_was, configured, "expected plan sha256:", id="other settings"),
        pytest.param(as_it_was, edited, "expected plan sha256:", id="an edit, no git"),
        pytest.param(as_it_was, with_a_file, "expected plan sha256:", id="one more file, no git"),
        pytest.param(dirty, edited, "expected plan sha256:", id="an edit after another, git"),
        pytest.param(in_git, with_a_file, "-dirty, found ", id="an untracked file, git"),
        pytest.param(in_git, recommitted, "expected revision ", id="a commit"),
    ],
)
def test_a_record_of_other_sources_is_refused_before_anything_is_built(
    bench: Bench, capsys: pytest.CaptureFixture[str], before: Act, change: Act, said: str
) -> None:
    before(bench)
    assert bench.run() == 0
    held = bench.tagged()
    change(bench)
    capsys.readouterr()
    bench.dagger.plays({ARM: FAILS})  # were it called, this would fail
    assert bench.run("--platform", ARM, "--tag", "1.1", platforms=[ARM]) == 31
    told = capsys.readouterr().err
    assert "nothing was built" in told
    assert said in told
    assert told.count("  - ") == told.count("  - linux/amd64 (linux-amd64.json): ") == 1
    assert f"anew: anyarch run app --tag=1.1 --engine={ARM}={bench.engine}\n" in told
    assert (bench.tagged(), bench.tagged("1.1")) == (held, None)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(as_it_was, id="no git"),
        pytest.param(in_git, id="a clean checkout"),
        pytest.param(dirty, id="a dirty checkout"),
    ],
)
def test_where_nothing_changed_one_platform_joins_what_is_there(bench: Bench, before: Act) -> None:
    """Also where layout and records lie in the build context."""
    before(bench)
    words = ("--to=oci:app/out/dist", "--records=app/kept")
    assert bench.run(*words) == 0
    bench.dagger.plays({AMD: FAILS})
    assert bench.run(*words, f"--platform={ARM}", platforms=[ARM]) == 0


def test_a_set_that_only_flags_name_is_named_again(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    both = (f"--platform={ARM}", "--platform=linux/386")
    bench.dagger.builds(ARM, "linux/386")
    assert bench.run(*both, platforms=[ARM, "linux/386"]) == 0
    edited(bench)
    assert bench.run(both[0], platforms=[ARM]) == 31
    assert f"anew: anyarch run app {' '.join(both)} " in capsys.readouterr().err


def test_an_engine_that_does_not_answer_is_told_before_anything_is_built(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "app", f"--engine={AMD}={bench.engine}", f"--engine={ARM}=unix:///nowhere.sock"]
    assert run(words) == 10
    assert bench.dagger.called(AMD) is None
    assert "linux/arm64: engine unix:///nowhere.sock: there is no such socket" in capsys.readouterr().err


def test_an_optional_platforms_engine_may_be_away(bench: Bench) -> None:
    (bench.app / "anyarch.toml").write_text(
        f'[platforms."{AMD}"]\n[platforms."{ARM}"]\nrequired = false\nengine = "unix:///nowhere.sock"\n'
    )
    assert bench.run(platforms=[AMD]) == 0
    assert bench.dagger.called(ARM) is None
    assert bench.tagged() is not None


def test_an_image_for_another_platform_is_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    arm = bench.dagger.folder / "layouts" / "linux-arm64"
    arm.rename(arm.with_name("real"))
    shutil.copytree(arm.with_name("linux-amd64"), arm)
    assert bench.run() == 15
    told = capsys.readouterr().err
    assert "  - linux/arm64: oci:dist@sha256:" in told
    assert "expected an image for linux/arm64, found linux/amd64" in told
    assert bench.tagged() is None


def test_two_runs_in_one_folder_do_not_overwrite_each_other(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.dagger.plays({AMD: {"sleeps": 30}})
    first = bench.start()
    try:
        bench.dagger.wait_for(AMD)
        assert bench.run() == 5
        assert "another anyarch run" in capsys.readouterr().err
    finally:
        first.terminate()
        first.communicate(timeout=20)


def test_a_published_run_is_merged_in_the_registry(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", USERNAME)
    monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", PASSWORD)
    with FakeRegistry(auth="basic") as registry:
        destination = f"{registry.host}/team/app"
        publish_all(bench, destination)
        assert bench.run("--to", destination, "--tag", "1.0 latest") == 0
        held = registry.repositories.by_name["team/app"]
        assert held.tags.keys() >= {"1.0", "latest"}
    shown = capsys.readouterr()
    assert PASSWORD not in shown.out + shown.err
    kept = [path for path in (bench.app / ".anyarch").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if PASSWORD in path.read_text()]
    note = bench.dagger.called(ARM)
    assert note is not None
    assert "--password=env:ANYARCH_REGISTRY_PASSWORD" in note["argv"]


def publish_all(bench: Bench, destination: str, config: Config | None = None) -> None:
    """Have the images in the registry, as the engine's push would leave them, and records about them."""
    from anyarch.cli.words import credential_from
    from anyarch.registry.stores import open_store

    platforms = (Platform.parse(AMD), Platform.parse(ARM))
    plan = make_plan(config or Config(), platforms=platforms, destination=destination)
    plan = replace(plan, changes=sources_in(bench.app).changes)
    bench.dagger.builds(AMD, ARM, plan=str(plan.digest))

    async def push() -> None:
        async with open_store(destination, credential=credential_from(os.environ)) as store:
            await upload(store, *bench.dagger.images.values())

    anyio.run(push)
    bench.dagger.records(destination, AMD, ARM)


def test_an_older_ci_run_moves_a_tag_only_by_force(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    older = "[build]\nlabels = { older = '1' }\n"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_RUN_ATTEMPT", "1")
    with FakeRegistry() as registry:
        destination = f"{registry.host}/team/app"
        words = ["--to", destination, "--tag", "latest"]
        publish_all(bench, destination)
        monkeypatch.setenv("GITHUB_RUN_ID", "9")
        assert bench.run(*words) == 0
        (bench.app / "anyarch.toml").write_text(older)
        publish_all(bench, destination, parse_config(older, path="anyarch.toml"))
        monkeypatch.setenv("GITHUB_RUN_ID", "8")
        assert bench.run(*words) == 37
        assert bench.run(*words, "--force") == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"platform": "linux/386"}, "left a record of linux/386", id="another platform"),
        pytest.param({"plan": None}, "plan None", id="no plan"),
        pytest.param({"surprise": 1}, "surprise", id="a field that nobody knows"),
    ],
)
def test_a_record_is_checked_before_it_is_kept(
    bench: Bench, change: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeRegistry() as registry:
        destination = f"{registry.host}/team/app"
        publish_all(bench, destination)
        bench.dagger.plays({ARM: {"record": change}})
        assert bench.run("--to", destination, "--tag", "1.0") == 15
        assert registry.repositories.by_name["team/app"].tags == {}
    assert said in capsys.readouterr().err
    assert bench.record(ARM) is None


def test_wrong_credentials_are_told_before_anything_is_built(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", USERNAME)
    monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", "canary-wrong")
    with FakeRegistry(auth="basic") as registry:
        assert bench.run("--to", f"{registry.host}/team/app", "--tag", "1.0") == 21
    assert bench.dagger.called(AMD) is None
    assert "canary-wrong" not in capsys.readouterr().err
