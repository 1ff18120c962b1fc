"""``anyarch merge`` of references and of another repository's records, as a program."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli import merge as merging
from anyarch.cli.main import run
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Tag
from anyarch.registry.credential import Credential
from anyarch.registry.layout import LayoutStore
from anyarch.registry.places import open_stores

from tests.builders import an_attestation, an_image, an_index, upload
from tests.fake_dagger import a_record
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry

if TYPE_CHECKING:
    from pathlib import Path

AMD, ARM = an_image("linux/amd64"), an_image("linux/arm64")
ATTESTED = an_attestation(AMD)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A staging layout with two images under tags, one of them in an index with its attestation."""

    async def fill() -> None:
        store = LayoutStore(tmp_path / "stage")
        await upload(store, AMD, ARM, ATTESTED)
        await store.put(Tag("amd"), an_index(AMD, ATTESTED))
        await store.put(Tag("arm"), ARM.manifest)

    anyio.run(fill)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_references_are_merged_into_another_place(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["merge", "oci:stage:amd", f"oci:stage@{ARM.digest}", "--to", "oci:dist", "--tag", "1.0"]
    assert run([*words, "--platform", "linux/amd64 linux/arm64"]) == 0
    told = capsys.readouterr()
    assert "linux/amd64" in told.out
    assert re.fullmatch(
        r"brought  6 blobs and 3 manifests, [\d.]+ k?B, from oci:stage to oci:dist\n", told.err
    )
    assert run(["verify", "oci:dist:1.0", "--platform", "linux/amd64 linux/arm64"]) == 0
    assert (work / "dist" / "blobs" / "sha256" / ATTESTED.digest.hex).exists()


def test_a_blob_that_takes_a_while_is_told_when_it_has_come(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert work.is_dir()
    sizes = sorted(layer.size for layer in ARM.manifest.layers)
    monkeypatch.setattr(merging, "TOLD_MIN_BYTES", sizes[-1])
    assert run(["merge", "oci:stage:arm", "--to", "oci:dist", "--tag", "1.0"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("brought  2 blobs and 1 manifest, ")
    assert {line.split()[0] for line in told[:-1]} == {"copy", "put"}


def test_a_dry_run_shows_the_writes_in_order_and_the_very_bytes(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["merge", "oci:stage:amd", "oci:stage:arm", "--to", "oci:dist", "--tag", "1.0"]
    assert run([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    text = shown[shown.index("\n{") + 1 : -1]
    assert run([*words, "--dry-run", "--format", "json"]) == 0
    dry = document(capsys)
    assert dry["index"] == text
    assert str(Digest.of(text.encode())) == dry["digest"]
    assert not (work / "dist").exists()
    assert run([*words, "--format", "json"]) == 0
    real = document(capsys)
    assert [real[key] for key in ("index", "digest", "writes")] == [
        dry[key] for key in ("index", "digest", "writes")
    ]
    assert isinstance(real["writes"], list)
    assert [write["action"] for write in real["writes"]] == ["copy"] * 6 + ["put"] * 5
    assert real["writes"][-1]["where"] == "oci:dist:1.0"
    lines = shown[shown.index("writes to come") :].splitlines()[1 : 1 + len(real["writes"])]
    assert [line.split()[3] for line in lines] == [write["where"] for write in real["writes"]]
    assert run([*words, "--dry-run"]) == 0
    assert "\nnone\n" in capsys.readouterr().out


def test_records_of_a_registry_are_merged_elsewhere_only_where_it_is_named(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeRegistry() as registry:
        stage = f"{registry.host}/stage/api"
        assert run(["merge", "oci:stage:amd", "oci:stage:arm", "--to", stage]) == 0
        (work / "records").mkdir()
        for image in (AMD, ARM):
            record = json.dumps(a_record(image, stage))
            (work / "records" / f"{image.platform.slug}.json").write_text(record)
        words = ["merge", "--records", "records", "--to", f"{registry.host}/shop/api", "--tag", "1.0"]
        capsys.readouterr()
        assert run(words) == 31
        assert f"--from {stage}" in capsys.readouterr().err
        assert run([*words, "--from", stage, "--format", "json"]) == 0
        found = document(capsys)
        assert isinstance(found["writes"], list)
        assert {write["action"] for write in found["writes"]} == {"mount", "put"}
        assert registry.asked("PUT", "upload") == 6 + 1, "nothing of it travelled again, but a history's blob"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--to", "oci:dist"], "what to merge", id="nothing"),
        pytest.param(["oci:stage", "--to", "oci:dist"], "no tag and no digest", id="no tag"),
        pytest.param(["oci:stage:amd"], "where to", id="nowhere to go"),
        pytest.param(["oci:stage:amd", "--to", "oci:dist", "--from", "A:b:c"], "repository", id="no place"),
    ],
)
def test_what_cannot_be_understood(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_reference_to_nothing_is_named_once(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "oci:stage:none", "oci:stage:arm", "--to", "oci:dist"]) == 32
    assert capsys.readouterr().err.count("oci:stage:none") == 1
    assert not (work / "dist").exists()


def test_the_environments_credential_goes_to_the_destination_only(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert work.is_dir()
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", USERNAME)
    monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", PASSWORD)
    with FakeRegistry(auth="basic") as destination, FakeRegistry() as source:
        assert run(["merge", "oci:stage:amd", "--to", f"{source.host}/stage", "--tag", "a"]) == 0
        source.seen.clear()
        source.switches.auth = "basic"  # it would take the credential, were it shown to it
        words = ["merge", f"{source.host}/stage:a", "--to", f"{destination.host}/api", "--tag", "a"]
        assert run(words) == 21
        assert all(not seen.authorization for seen in source.seen)
        source.switches.auth = "none"
        assert run(words) == 0
        assert all(not seen.authorization for seen in source.seen)
        assert any(seen.authorization for seen in destination.seen)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("destination", "others", "shown"),
    [
        pytest.param("a.example.com/x", ["a.example.com/y", "b.example.com/x"], "aa", id="its registry"),
        pytest.param("a.example.com/x", ["a.example.com:444/x"], "a", id="another port is another registry"),
        pytest.param("oci:dist", ["a.example.com/x", "oci:in"], "a", id="the only registry there is"),
        pytest.param("oci:dist", ["a.example.com/x", "b.example.com/x"], "", id="no guess"),
    ],
)
async def test_a_credential_is_for_one_registry(destination: str, others: list[str], shown: str) -> None:
    credential = Credential("robot", "secret")
    async with open_stores(destination, others, credential=credential) as stores:
        found = [
            name
            for name, store in stores.items()
            if not isinstance(store, LayoutStore) and store.client._given is credential  # noqa: SLF001  what it would show
        ]
    assert [name[0] for name in found] == list(shown)
    assert all(name.startswith("a.example.com/") for name in found)


def test_a_reference_given_twice_is_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "oci:stage:amd", "oci:stage:arm oci:stage:amd", "--to", "oci:dist"]) == 2
    assert "oci:stage:amd is given twice" in capsys.readouterr().err
    assert not (work / "dist").exists()


@pytest.mark.parametrize("how", ["tag", "digest"])
def test_who_wants_some_images_of_an_index_is_told_how_to_name_them(
    work: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = an_index(AMD, ARM)
    anyio.run(LayoutStore(work / "stage").put, Tag("whole"), whole)
    name = "oci:stage:whole" if how == "tag" else f"oci:stage@{whole.digest}"
    words = ["merge", "--to", "oci:dist", "--platform", "linux/arm64"]
    assert run([*words, name]) == 32
    error = capsys.readouterr().err
    assert f"an index gives all its platforms; for these alone, name oci:stage@{ARM.digest}\n" in error
    assert run([*words, f"oci:stage@{ARM.digest}"]) == 0


def test_times_that_nobody_knows_take_no_column(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "oci:stage:arm", "--to", "oci:dist"]) == 0
    assert capsys.readouterr().out.split("\n")[0].split() == ["PLATFORM", "BUILT", "SIZE", "DIGEST"]
    assert run(["merge", "--records", str(records(work)), "--to", "oci:stage"]) == 0
    assert capsys.readouterr().out.split("\n")[0].split()[2] == "SECONDS"


def records(work: Path) -> Path:
    """A folder with a record that says how long its build took."""
    folder = work / "records"
    folder.mkdir()
    (folder / "amd.json").write_text(json.dumps(a_record(AMD, "oci:stage")))
    return folder
