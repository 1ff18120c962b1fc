"""``anyarch verify --run`` as a program, on a layout, with a dagger that plays outcomes."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyarch.cli.access import Access
from anyarch.cli.main import run
from anyarch.cli.trials import TrialOrder, Trials
from anyarch.oci.reference import Tag
from anyarch.registry.layout import LayoutStore
from anyarch.release.verify import Verification, VerifiedChild

from tests.builders import an_image, an_index, upload
from tests.fake_dagger import FakeDagger, an_engine
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry
from tests.unit.release.test_schemas import validator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anyarch.oci.store import Store

AMD, ARM = "linux/amd64", "linux/arm64"
NOWHERE = "unix:///nowhere.sock"
IMAGES = [an_image(platform) for platform in (AMD, ARM)]
FAILS = {"trial": {"exit_code": 3, "execution": "emulated", "output": "no \x1b[31msuch\x9b thing\n"}}
CANNOT = {
    "says": ["Error: anyarch.CannotRunError: linux/arm64: no emulator for linux/arm64", "  → use another"],
    "status": 1,
}


class Bench:
    """A layout with two platforms as ``dist:1``, an engine that answers, and a dagger that plays."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder = folder
        self.engine = engine
        self.dagger = FakeDagger(folder / "dagger")
        anyio.run(publish, LayoutStore(folder / "dist"))

    def verify(self, *words: str, ref: str = "oci:dist:1") -> int:
        return run(["verify", ref, *words])

    def called(self) -> set[str]:
        return {platform for platform in (AMD, ARM) if self.dagger.called(platform)}


async def publish(store: Store) -> None:
    await upload(store, *IMAGES)
    await store.put(Tag("1"), an_index(*IMAGES))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    with an_engine(tmp_path / "engine.sock") as engine:
        made = Bench(tmp_path, engine)
        monkeypatch.setenv("ANYARCH_DAGGER", str(made.dagger.program))
        monkeypatch.setenv("_EXPERIMENTAL_DAGGER_RUNNER_HOST", engine)
        yield made


def test_every_platform_is_run_and_told(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.dagger.plays({ARM: {"trial": {"output": "".join(f"line {number}\n" for number in range(100))}}})
    assert bench.verify("--run", "app --version") == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown[0].startswith("ok oci:dist:1 is sha256:")
    assert f"{AMD} native 0 0.5 {bench.engine}" in shown
    assert shown[-25:-20] == [f"{AMD} said:", "hello from linux-amd64", "", f"{ARM} said:", "…"]
    assert (shown[-20], shown[-1]) == ("line 80", "line 99")
    note: dict[str, Any] = bench.dagger.called(ARM) or {}
    assert "--command=app --version" in note["argv"]
    # An engine is given just its platform's image.
    assert [each["digest"] for each in note["layout"]["manifests"]] == [str(IMAGES[1].digest)]
    assert not [*(bench.folder / "scratch").iterdir()]


def test_a_command_that_fails_is_run_everywhere_and_its_words_are_harmless(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.dagger.plays({AMD: FAILS, ARM: {"trial": {"exit_code": 139}}})
    assert bench.verify("--run", "app") == 38
    told = capsys.readouterr()
    assert "the command did not succeed on 2 of 2 platforms" in told.err
    assert "  - linux/amd64: exit code 3, emulated\n" in told.err
    assert "  - linux/arm64: exit code 139 (SIGSEGV), native\n" in told.err
    assert "    no \\x1b[31msuch\\x9b thing\n" in told.out


def test_a_command_that_floods_is_ended_with_one_clear_message(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyarch.engine.trial.OUTPUT_MAX_CHARACTERS", 1024**2)
    bench.dagger.plays({ARM: {"says": ["16  : [1s] | " + "y" * 2**20] * 2, "sleeps": 60, "stubborn": True}})
    assert bench.verify("--run", "app", "--run-timeout", "50s") == 38
    said = capsys.readouterr().err
    assert "linux/arm64: the command was ended: it said more than 1 MiB" in said
    (kept,) = (bench.folder / "scratch").rglob("log")
    assert kept.stat().st_size < 1.2 * 1024**2


def test_programs_get_one_document_and_a_log_whatever_happened(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.dagger.plays({AMD: FAILS, ARM: CANNOT})
    assert bench.verify("--run", "app", "--format", "json") == 38
    document = json.loads(capsys.readouterr().out)
    validator("verify").validate(document)
    failed, not_run = (each["trial"] for each in document["platforms"])
    assert (failed["exit_code"], failed["execution"], failed["error"]) == (3, "emulated", None)
    assert failed["output"] == "no \x1b[31msuch\x9b thing\n"
    assert (not_run["exit_code"], not_run["error"]) == (None, "CannotRunError")
    assert "no emulator" in not_run["message"]
    kept = [path for path in (bench.folder / "scratch").rglob("*") if path.is_file()]
    assert [path.parent.name for path in kept] == ["linux-arm64"]
    assert "CannotRunError" in kept[0].read_text()


def test_without_run_no_engine_is_needed_and_nothing_of_trials_is_told(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.verify("--format", "json") == 0
    assert not bench.called()
    shown = capsys.readouterr().out
    validator("verify").validate(json.loads(shown))
    assert "trial" not in shown


def test_what_cannot_be_run_keeps_no_other_platform_from_being_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = an_image("windows/amd64")

    async def add() -> None:
        store = LayoutStore(bench.folder / "dist")
        await upload(store, windows)
        await store.put(Tag("2"), an_index(*IMAGES, windows))

    anyio.run(add)
    assert bench.verify("--run", "app", f"--engine={ARM}={NOWHERE}", ref="oci:dist:2") == 38
    assert bench.called() == {AMD}
    told = capsys.readouterr().err
    assert "linux/arm64: engine unix:///nowhere.sock: there is no such socket" in told
    assert "windows/amd64: engines run images for linux only" in told


def test_the_same_trouble_everywhere_is_one_error_of_its_own(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f'[platforms."{each}"]\nengine = "{NOWHERE}"\n' for each in (AMD, ARM)]
    (bench.folder / "anyarch.toml").write_text("".join(lines))
    assert bench.verify("--run", "app", "--format", "json") == 10
    assert json.loads(capsys.readouterr().out)["error"] == "EngineUnreachableError"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--engine", f"{AMD}=unix:///x.sock"], id="an engine for nothing"),
        pytest.param(["--entrypoint", ""], id="an entrypoint for nothing"),
        pytest.param(["--run", "sh -c 'x"], id="an open quotation"),
        pytest.param(["--run", "app", "--run-timeout", "soon"], id="no time"),
        pytest.param(
            ["--run", "app", "--engine", "linux/386=unix:///x.sock"], id="a platform it does not hold"
        ),
    ],
)
def test_words_that_cannot_be_meant(bench: Bench, words: list[str]) -> None:
    assert bench.verify(*words) == 2
    assert not bench.called()


def test_what_is_faulty_is_not_run(bench: Bench) -> None:
    (layer,) = IMAGES[0].manifest.layers
    (bench.folder / "dist" / "blobs" / "sha256" / layer.digest.hex).unlink()
    assert bench.verify("--run", "app") == 33
    assert not bench.called()


def test_from_a_registry_of_this_machine_the_image_is_brought_to_the_engine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside an engine, localhost is the engine; and it needs no credentials then."""
    from anyarch.cli.words import credential_from
    from anyarch.registry.stores import open_store

    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", USERNAME)
    monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", PASSWORD)

    async def fill(where: str) -> None:
        async with open_store(where, credential=credential_from(os.environ)) as store:
            await publish(store)

    with FakeRegistry(auth="basic") as registry:
        anyio.run(fill, f"{registry.host}/team/app")
        assert bench.verify("--run", "app", ref=f"{registry.host}/team/app:1") == 0
    note: dict[str, Any] = bench.dagger.called(ARM) or {}
    assert [each["digest"] for each in note["layout"]["manifests"]] == [str(IMAGES[1].digest)]
    assert not [word for word in note["argv"] if word.startswith("--username")]


@pytest.mark.parametrize(
    ("entry", "given"),
    [
        pytest.param({"auth": base64.b64encode(b"robot:s3cret").decode()}, "s3cret", id="a password"),
        pytest.param(
            {"auth": base64.b64encode(b"robot:").decode(), "identitytoken": "s3cret"},
            None,
            id="a token, which the client reads by itself",
        ),
        pytest.param(None, None, id="nobody has logged in"),
    ],
)
def test_an_engine_pulls_by_digest_with_what_docker_login_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, entry: dict[str, str] | None, given: str | None
) -> None:
    config = {"auths": {"r.example.com": entry} if entry else {}}
    (bench.folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(bench.folder))
    digest, platform = IMAGES[1].digest, IMAGES[1].platform
    child = VerifiedChild(platform=platform, digest=digest, total_bytes=1, execution=None, attestations=0)
    found = Verification(
        repository="r.example.com/app", target=Tag("1"), digest=digest, media_type="", children=(child,)
    )
    order = TrialOrder(command="app", entrypoint=None, engines={}, access=Access(), timeout_seconds=20)
    (leg,) = anyio.run(Trials(found, order).carry_out)
    assert leg.passed
    note: dict[str, Any] = bench.dagger.called(ARM) or {}
    assert f"--ref=r.example.com/app@{digest}" in note["argv"]
    assert ("--username=robot" in note["argv"]) == (given is not None)
    assert note["environ"].get("ANYARCH_REGISTRY_PASSWORD") == given
    assert "s3cret" not in " ".join(note["argv"])


def test_an_interruption_ends_the_children(bench: Bench) -> None:
    bench.dagger.plays({AMD: {"sleeps": 60}, ARM: {"sleeps": 60}})
    words = [sys.executable, "-m", "anyarch", "verify", "oci:dist:1", "--run", "app"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    notes = bench.dagger.wait_for(AMD, ARM)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted: it was verified, and run for no platform" in err
    for note in notes:
        with pytest.raises(ProcessLookupError):
            os.kill(note["pid"], 0)
    assert not [*(bench.folder / "scratch").iterdir()]
