"""``anyarch merge``, ``verify`` and ``rollback`` as programs, on layouts: no engine, no network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.registry.layout import LayoutStore
from anyarch.release.config import Config
from anyarch.release.plan import make_plan

from tests.builders import an_image, upload
from tests.fake_dagger import a_record
from tests.unit.release.test_schemas import validator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anyarch.oci.descriptor import Descriptor

AMD = an_image("linux/amd64", annotations={"dev.anyarch.execution": "native"})
ARM = an_image("linux/arm64", annotations={"dev.anyarch.execution": "emulated"})
OLD = an_image("linux/amd64", files={"app": b"older"})


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A layout that holds two images by digest and an old release as ``latest``, and records of the two."""

    async def fill() -> None:
        store = LayoutStore(tmp_path / "dist")
        await upload(store, AMD, ARM, OLD)
        await store.put(Tag("latest"), OLD.manifest)

    anyio.run(fill)
    monkeypatch.chdir(tmp_path)
    for image in (AMD, ARM):
        folder = tmp_path / "records" / f"record-{image.platform.slug}-1"
        folder.mkdir(parents=True)
        record = json.dumps(a_record(image, "oci:dist"))
        (folder / f"{image.platform.slug}.json").write_text(record)
    return tmp_path


def tag(work: Path, name: str) -> Descriptor | None:
    return anyio.run(LayoutStore(work / "dist").head, Tag(name))


def test_a_merge_tells_platforms_index_tags_and_the_way_back(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["merge", "--records", "records", "--to", "oci:dist", "--tag", "latest", "--tag", "1.0"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    head = tag(work, "latest")
    assert head is not None
    assert any(line.startswith("linux/amd64 native 1.5") for line in lines)
    assert any(line.startswith("linux/arm64 emulated 1.5") for line in lines)
    assert f"index oci:dist@{head.digest}" in lines
    assert f"tag latest moved, was {OLD.digest}" in lines
    assert "tag 1.0 new" in lines
    assert f"undo anyarch rollback oci:dist:latest --to={OLD.digest}" in lines


@pytest.mark.parametrize(
    ("platforms", "others"),
    [
        pytest.param((), 0, id="the others are good"),
        pytest.param(("linux/amd64", "linux/arm64", "linux/386"), 2, id="one lies, one is missing"),
    ],
)
def test_what_is_wrong_besides_unreadable_records_is_told_at_once(
    work: Path, platforms: Sequence[str], others: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arm = work / "records" / "record-linux-arm64-1" / "linux-arm64.json"
    if others:
        lying = json.loads(arm.read_text())
        lying["image"]["size"] += 1
        arm.write_text(json.dumps(lying))
    (work / "records" / "cut.json").write_text('{"schema": 1, "platf')
    (work / "records" / "link.json").symlink_to(arm)
    words = [f"--platform={each}" for each in platforms]
    assert run(["merge", "--records=records", "--to=oci:dist", "--tag=latest", "--format=json", *words]) == 30
    found = json.loads(capsys.readouterr().out)
    assert [each.partition(":")[0] for each in found["offenders"][:2]] == ["cut.json", "link.json"]
    assert len(found["offenders"]) == 2 + others
    if others:
        assert any("linux/386: missing" in each for each in found["offenders"])
        assert any("size" in each for each in found["offenders"])
        assert "missing may be in such a file" in found["hint"]
    head = tag(work, "latest")
    assert head is not None
    assert head.digest == OLD.digest


def test_unreadable_records_alone_need_no_registry(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "bad").mkdir()
    (work / "bad" / "cut.json").write_text("{")
    assert run(["merge", "--records", "bad", "--to", "r.invalid/team/app"]) == 30
    assert "cut.json" in capsys.readouterr().err


def test_the_way_back_leads_back(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "--records", "records", "--to", "oci:dist", "--format", "json"]) == 0
    (undo,) = json.loads(capsys.readouterr().out)["undo"]
    assert run(undo.split()[1:]) == 0
    head = tag(work, "latest")
    assert head is not None
    assert head.digest == OLD.digest


def test_no_tag_goes_back_to_what_is_not_whole(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (layer,) = AMD.manifest.layers
    (work / "dist" / "blobs" / "sha256" / layer.digest.hex).unlink()
    before = tag(work, "latest")
    assert run(["rollback", "oci:dist:latest", "--to", str(AMD.digest)]) == 33
    assert run(["rollback", "oci:dist:latest", "--to", f"sha256:{'0' * 64}"]) == 23
    assert tag(work, "latest") == before
    assert str(layer.digest) in capsys.readouterr().err


def test_a_dry_run_writes_nothing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tag(work, "latest")
    assert run(["merge", "--records", "records", "--to", "oci:dist", "--dry-run"]) == 0
    assert tag(work, "latest") == before
    shown = capsys.readouterr().out
    assert f"would be moved, was {OLD.digest}" in shown
    assert "dry run: nothing was written" in shown


def test_destination_and_tags_come_from_the_plan(work: Path) -> None:
    plan = make_plan(Config(), destination="oci:dist", tags=["2.0"])
    (work / "plan.json").write_bytes(plan.to_json())
    images = [
        an_image(platform, annotations={"dev.anyarch.plan": str(plan.digest)})
        for platform in ("linux/amd64", "linux/arm64")
    ]
    anyio.run(upload, LayoutStore(work / "dist"), *images)
    (work / "planned").mkdir()
    for image in images:
        record = json.dumps(a_record(image, "oci:dist") | {"plan": str(plan.digest)})
        (work / "planned" / f"{image.platform.slug}.json").write_text(record)
    assert run(["merge", "--records", "planned", "--plan", "plan.json"]) == 0
    assert tag(work, "2.0") is not None


def test_a_merge_in_a_workflow_hands_the_digest_over(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(work / "outputs"))
    assert run(["merge", "--records", "records", "--to", "oci:dist", "--format", "github"]) == 0
    head = tag(work, "latest")
    assert head is not None
    assert f"\n{head.digest}\n" in (work / "outputs").read_text()
    told = capsys.readouterr()
    assert told.out == ""
    assert str(head.digest) in told.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        pytest.param(["--platform", "linux/amd64"], 32, "linux/arm64", id="an extra platform"),
        pytest.param(
            ["--platform", "linux/amd64 linux/arm64 linux/386"], 32, "linux/386", id="a missing one"
        ),
        pytest.param(["--to", "r.example.com/App"], 2, "lower case", id="no repository"),
        pytest.param(["--plan", "none.json"], 5, "none.json", id="no plan there"),
        pytest.param(["--plan", "dist/oci-layout"], 35, "not a plan", id="a file that is no plan"),
        pytest.param(["--records", "dist"], 30, "not", id="files that are no records"),
        pytest.param(["--records", "dist/blobs"], 30, "no record", id="no records at all"),
    ],
)
def test_a_refused_merge_moves_no_tag(
    work: Path, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tag(work, "latest")
    defaults = {"--records": "records", "--to": "oci:dist"}
    given = [word for key, value in defaults.items() if key not in words for word in (key, value)]
    assert run(["merge", *given, *words, "--tag", "latest"]) == status
    assert said in capsys.readouterr().err
    assert tag(work, "latest") == before


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["merge", "--records", "records"], id="nowhere to go"),
        pytest.param(
            ["merge", "--records", "records", "--plan", "plan.json", "--platform", "linux/arm64"],
            id="two sets",
        ),
    ],
)
def test_what_a_merge_must_be_told(work: Path, words: list[str]) -> None:
    (work / "plan.json").write_bytes(make_plan(Config(), destination="oci:dist").to_json())
    assert run(words) == 2


THREE = "".join(f'[platforms."linux/{each}"]\n' for each in ("amd64", "arm64", "arm/v7"))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        pytest.param(f'image = "oci:dist"\n{THREE}', "linux/arm/v7: missing", id="the same destination"),
        pytest.param(f'image = "oci:./dist/"\n{THREE}', "linux/arm/v7: missing", id="in other words"),
        pytest.param(
            f'image = "r.example.com/api"\nalso = ["oci:dist"]\n{THREE}',
            "linux/arm/v7: missing",
            id="a further one",
        ),
        pytest.param(THREE, "linux/arm/v7: missing", id="no image is named"),
        pytest.param('[platforms."linux/amd64"]', "linux/arm64", id="fewer platforms"),
    ],
)
def test_the_folders_anyarch_toml_says_what_must_be_there(
    work: Path, file: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "anyarch.toml").write_text(file)
    before = tag(work, "latest")
    words = ["merge", "--records", "records", "--to", "oci:dist", "--tag", "latest"]
    assert run(words) == 32
    error = capsys.readouterr().err
    assert said in error
    assert "anyarch.toml says which, --platform says others" in error
    assert tag(work, "latest") == before
    assert run([*words, "--platform", "linux/amd64 linux/arm64"]) == 0


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(f'image = "r.example.com/api"\n{THREE}', id="of another image"),
        pytest.param('image = "oci:dist"', id="no platforms"),
        pytest.param(f"{THREE}required = false", id="an optional platform"),
    ],
)
def test_a_merge_may_be_made_beside_an_anyarch_toml(work: Path, file: str) -> None:
    (work / "anyarch.toml").write_text(file)
    assert run(["merge", "--records", "records", "--to", "oci:dist", "--tag", "latest"]) == 0


def test_a_tag_that_would_lose_a_platform_stays(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["merge", "--to", "oci:dist", "--tag", "latest", "--records"]
    assert run([*words, "records"]) == 0
    before = tag(work, "latest")
    assert run([*words, "records/record-linux-amd64-1"]) == 32
    assert "latest: would lose linux/arm64" in capsys.readouterr().err
    assert run(["promote", f"oci:dist@{AMD.digest}", "--tag", "latest"]) == 33
    assert "latest: would lose linux/arm64" in capsys.readouterr().err
    assert tag(work, "latest") == before
    assert run([*words, "records/record-linux-amd64-1", "--platform", "linux/amd64"]) == 0
    assert tag(work, "latest") != before


def test_verify_tells_what_it_read(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "--records", "records", "--to", "oci:dist"]) == 0
    capsys.readouterr()
    words = ["verify", "oci:dist:latest", "--platform", "linux/amd64", "--platform", "linux/arm64/v8"]
    assert run(words) == 0
    head = tag(work, "latest")
    assert head is not None
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"ok oci:dist:latest is {head.digest}"
    assert [line.split()[:2] for line in shown[2:]] == [
        ["linux/amd64", "native"],
        ["linux/arm64", "emulated"],
    ]
    assert run([*words, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    validator("verify").validate(document)
    assert [each["digest"] for each in document["platforms"]] == [str(AMD.digest), str(ARM.digest)]
    assert run(["verify", f"oci:dist@{head.digest}"]) == 0


def test_verify_refuses_what_is_not_the_set_asked_for(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert work.is_dir()
    assert run(["verify", "oci:dist:latest", "--platform", "linux/amd64 linux/arm64"]) == 33
    assert str(Platform.parse("linux/arm64")) in capsys.readouterr().err
    assert run(["verify", "oci:dist:none"]) == 23
