"""``anyarch prune`` as a program, on a registry and on a layout."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote
from anyarch.release.prune.age import exactly, parse_age

from tests.builders import an_image, an_index, upload
from tests.fake_dagger import a_record
from tests.fake_registry import FakeRegistry
from tests.unit.release.test_schemas import validator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AMD, ARM = an_image("linux/amd64"), an_image("linux/arm64")
OLD, NEW = an_index(AMD, ARM), an_index(AMD)
LATEST = Tag("latest")
SCHEMA = validator("prune")
OLD_BUILD = an_image("linux/386", config_fields={"created": "2025-01-31T12:00:00Z"})


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """``latest`` left an old release a long time ago."""
    with FakeRegistry() as started:

        async def fill() -> None:
            async with RegistryStore(Repository(started.host, "shop/api")) as store:
                await upload(store, AMD, ARM, OLD_BUILD)
                for index in (OLD, NEW):
                    await store.put(index.digest, index)
                    mover = Mover(force=True, now=lambda: "2026-01-31T12:00:00Z")
                    await promote(store, index.digest, [LATEST], mover=mover)

        anyio.run(fill)
        started.seen.clear()
        yield started


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        pytest.param("1h", "1 h", id="an hour"),
        pytest.param("36h", "36 h", id="a day and a half"),
        pytest.param("48h", "2 d", id="hours that are days"),
        pytest.param("2w", "14 d", id="weeks"),
    ],
)
def test_the_age_is_shown_as_it_was_meant(given: str, shown: str) -> None:
    assert exactly(parse_age(given)) == shown


def held(registry: FakeRegistry) -> set[str]:
    return set(registry.repositories.by_name["shop/api"].manifests)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def prune(registry: FakeRegistry, *words: str) -> int:
    return run(["prune", f"{registry.host}/shop/api", "--older-than", "30d", *words])


def test_an_earlier_release_stays_for_a_rollback(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(registry) == 0
    [line] = said(capsys)
    assert line.endswith("nothing to delete that is older than 30 d; 2 tags looked at")
    assert registry.writes == []


def test_a_dry_run_shows_what_goes_and_why(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(registry, "--keep-releases", "0", "--dry-run") == 0
    head, index, image, total, end = said(capsys)
    assert head == "KIND PLATFORM DIGEST UNUSED SINCE WHY"
    assert index == f"delete index - {OLD.digest} 2026-01-31 left by latest"
    assert image == f"delete image linux/arm64 {ARM.digest} 2026-01-31 nothing needs it"
    assert total.startswith("2 things; would free at most ")
    assert end == "dry run: nothing was deleted"
    assert registry.writes == []


def test_what_goes_is_gone_and_what_a_tag_needs_is_there(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(registry, "--keep-releases", "0", "--format", "json") == 0
    document = json.loads(capsys.readouterr().out)
    SCHEMA.validate(document)
    assert [each["digest"] for each in document["removed"]] == [str(OLD.digest), str(ARM.digest)]
    assert (document["schema"], document["dry_run"], document["freed_bytes_exact"]) == (1, False, False)
    assert {str(OLD.digest), str(ARM.digest)} & held(registry) == set()
    assert {str(NEW.digest), str(AMD.digest)} <= held(registry)
    assert sorted(registry.repositories.by_name["shop/api"].tags) == ["_anyarch.history.latest", "latest"]
    assert registry.repositories.incomplete() == []


def test_digests_and_those_in_use_come_on_stdin_too(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{registry.host}/shop/api@{OLD_BUILD.digest}\n"))
    assert prune(registry, "--digest", str(OLD_BUILD.digest), "--keep", "-") == 0
    assert f"kept {OLD_BUILD.digest} (named): --keep" in said(capsys)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{OLD_BUILD.digest}\n"))
    assert prune(registry, "--digest", "-") == 0
    assert str(OLD_BUILD.digest) not in held(registry)


def test_records_are_followed_only_into_their_own_repository(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, repository in (
        ("ours", f"{registry.host}/shop/api"),
        ("theirs", "registry.example.com/shop/api"),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(a_record(OLD_BUILD, repository)))
    assert prune(registry, "--records", str(tmp_path), "--dry-run") == 0
    output = capsys.readouterr()
    assert "theirs.json is about registry.example.com/shop/api and is not followed" in output.err
    assert "record ours.json" in output.out
    assert "theirs" not in output.out


def test_a_registry_that_deletes_nothing_has_an_exit_code_of_its_own(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.switches.deletes = False
    assert prune(registry, "--keep-releases", "0") == 27
    assert "deletes no manifests" in capsys.readouterr().err


def test_a_layout_gets_its_bytes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "dist"

    async def fill() -> None:
        store = LayoutStore(folder)
        await upload(store, AMD, ARM)
        await store.put(LATEST, OLD)
        await store.put(LATEST, NEW)

    anyio.run(fill)
    month_ago = time.time() - 31 * 86400
    for path in (folder / "blobs" / "sha256").iterdir():
        os.utime(path, (month_ago, month_ago))
    assert run(["prune", f"oci:{folder}", "--older-than", "30d"]) == 0
    *_, total = said(capsys)
    assert total.startswith("4 things; freed ")
    assert "at most" not in total
    assert run(["verify", f"oci:{folder}:latest", "--platform", "linux/amd64"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--older-than", "0d"], id="no age"),
        pytest.param(["--older-than", "7"], id="no unit"),
        pytest.param(["--older-than", "7 days"], id="words"),
        pytest.param([], id="nothing"),
        pytest.param(["--older-than", "7d", "--digest", "sha256:beef"], id="half a digest"),
        pytest.param(["--older-than", "7d", "--keep-releases", "-1"], id="a negative number"),
        pytest.param(["--older-than", "7d", "--keep", "-", "--digest", "-"], id="one stdin for two"),
    ],
)
def test_words_that_make_no_sense(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prune", "registry.example.com/shop/api", *words]) == 2
    assert "Traceback" not in capsys.readouterr().err
