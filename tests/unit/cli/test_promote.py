"""``anyarch promote``, ``history`` and ``rollback`` as programs, on a registry and on a layout."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.layout import LayoutStore
from anyarch.registry.store import RegistryStore
from anyarch.release.history import Run, history_tag
from anyarch.release.ledger import Mover
from anyarch.release.promote import promote

from tests.builders import an_image, an_index, upload
from tests.fake_dagger import a_record
from tests.fake_registry import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anyarch.oci.digest import Digest

AMD = an_image("linux/amd64", annotations={"dev.anyarch.execution": "native"})
ARM = an_image("linux/arm64", annotations={"dev.anyarch.execution": "native"})
OLD, NEW = an_index(AMD), an_index(AMD, ARM)
LATEST = Tag("latest")


@pytest.fixture
def repository() -> Iterator[str]:
    """A repository with an old and a new release; run 41 and then 42 made them ``latest``."""
    with FakeRegistry() as registry:

        async def fill() -> None:
            async with RegistryStore(Repository(registry.host, "shop/api")) as store:
                await upload(store, AMD, ARM)
                for number, index in ((41, OLD), (42, NEW)):
                    await store.put(index.digest, index)
                    mover = Mover(run=Run(number), revision="c0ffee" * 6, now=lambda: "2026-01-31T12:00:00Z")
                    await promote(store, index.digest, [LATEST], mover=mover)

        anyio.run(fill)
        yield f"{registry.host}/shop/api"


def tagged(repository: str, tag: Tag) -> Digest | None:
    async def work() -> Digest | None:
        async with RegistryStore(Repository.parse(repository)) as store:
            head = await store.head(tag)
            return head.digest if head else None

    return anyio.run(work)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_promotion_tells_what_was_verified_and_the_way_back(
    repository: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["promote", f"{repository}@{OLD.digest}", "--tag", "stable"])
    capsys.readouterr()
    assert run(["promote", f"{repository}:latest", "--tag", "stable 1.4.2"]) == 0
    assert said(capsys) == [
        f"index {repository}@{NEW.digest} (verified: linux/amd64, linux/arm64)",
        "tag 1.4.2 new",
        f"tag stable moved, was {OLD.digest}",
        f"undo anyarch rollback {repository}:stable --to={OLD.digest}",
        "undo 1.4.2 is new: delete it at the registry",
    ]
    assert tagged(repository, Tag("stable")) == NEW.digest


def test_the_way_back_that_a_promotion_names_works(
    repository: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["promote", f"{repository}@{OLD.digest}", "--tag", "latest", "--force", "--format", "json"]
    assert run(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["digest"], document["platforms"]) == (str(OLD.digest), ["linux/amd64"])
    assert document["tags"] == [{"tag": "latest", "action": "written", "previous": str(NEW.digest)}]
    assert document["warnings"] == []
    assert run(shlex.split(document["undo"][0])[1:]) == 0
    assert tagged(repository, LATEST) == NEW.digest


def test_a_dry_run_moves_nothing(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["promote", f"{repository}:latest", "--tag", "stable", "--dry-run"]) == 0
    assert said(capsys)[-2:] == ["tag stable would be new", "dry run: nothing was written"]
    assert tagged(repository, Tag("stable")) is None
    assert run(["rollback", f"{repository}:latest", "--dry-run"]) == 0
    assert tagged(repository, LATEST) == NEW.digest


def test_an_older_release_over_a_newer_one_has_an_exit_code_of_its_own(
    repository: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["promote", f"{repository}@{OLD.digest}", "--tag", "latest"]) == 37
    error = capsys.readouterr().err
    assert f"latest: expected run 41 or older, found run 42 at {NEW.digest}" in error
    assert tagged(repository, LATEST) == NEW.digest


def test_a_merge_in_an_older_run_is_refused_too(
    repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "amd64.json").write_text(json.dumps(a_record(AMD, repository)))
    words = ["merge", "--records", str(tmp_path), "--to", repository, "--tag", "latest"]
    for name, value in (("ACTIONS", "true"), ("RUN_ID", "40"), ("RUN_ATTEMPT", "1")):
        monkeypatch.setenv(f"GITHUB_{name}", value)
    monkeypatch.delenv("GITHUB_SHA", raising=False)
    assert run(words) == 37
    assert tagged(repository, LATEST) == NEW.digest
    assert run([*words, "--force"]) == 0


def test_a_rollback_without_a_digest_goes_to_what_was_there_before(
    repository: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rollback", f"{repository}:latest"]) == 0
    assert f"undo anyarch rollback {repository}:latest --to={NEW.digest}" in said(capsys)
    assert tagged(repository, LATEST) == OLD.digest
    assert run(["rollback", f"{repository}:latest"]) == 23
    assert "nothing earlier" in capsys.readouterr().err


def test_the_history_is_told_newest_first(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["rollback", f"{repository}:latest"])
    capsys.readouterr()
    assert run(["history", f"{repository}:latest"]) == 0
    state, head, back, second, first = said(capsys)
    assert state == f"{repository}:latest is {OLD.digest}"
    assert head == "WHEN BY RUN REVISION DIGEST WAS"
    assert back.split()[1:] == ["rollback", "run", "41", "c0ffeec0ffee", str(OLD.digest), NEW.digest.short]
    assert second.startswith("2026-01-31T12:00:00Z merge run 42 ")
    assert first.endswith(f"{OLD.digest} (new)")


def test_the_history_for_programs(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["history", f"{repository}:latest", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["digest"], document["rollback"]) == (str(NEW.digest), str(OLD.digest))
    assert document["moves"][0] == {
        "digest": str(NEW.digest),
        "previous": str(OLD.digest),
        "when": "2026-01-31T12:00:00Z",
        "by": "merge",
        "run": {"id": 42, "attempt": 1},
        "revision": "c0ffee" * 6,
    }


def test_a_tag_without_history_is_no_failure(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["history", f"{repository}:nobody"]) == 0
    assert said(capsys) == [f"{repository}:nobody is not there; no move of it was written down yet"]


def test_a_move_by_another_tool_shows(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def move() -> None:
        async with RegistryStore(Repository.parse(repository)) as store:
            await store.put(LATEST, ARM.manifest)

    anyio.run(move)
    assert run(["history", f"{repository}:latest"]) == 0
    lines = said(capsys)
    assert lines[-2].startswith("the tag was moved, or deleted, since")
    assert lines[-1] == f"anyarch rollback would go back to {NEW.digest}"


def test_a_step_back_that_nobody_wrote_down_is_not_taken_forward_again(
    repository: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rollback was killed before it wrote its move down, or somebody went back by hand."""

    async def go_back() -> None:
        async with RegistryStore(Repository.parse(repository)) as store:
            await store.put(LATEST, OLD)

    anyio.run(go_back)
    assert run(["history", f"{repository}:latest", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["rollback"] == str(OLD.digest)
    assert run(["history", f"{repository}:latest"]) == 0
    assert said(capsys)[-1].startswith("anyarch rollback would only write down")
    assert run(["rollback", f"{repository}:latest"]) == 0
    assert tagged(repository, LATEST) == OLD.digest
    capsys.readouterr()
    run(["history", f"{repository}:latest"])
    assert said(capsys)[2].split()[1] == "rollback"


def test_a_history_that_is_none_is_a_clear_error(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def spoil() -> None:
        async with RegistryStore(Repository.parse(repository)) as store:
            await store.put(history_tag(LATEST), NEW)

    anyio.run(spoil)
    told = (
        "is not the history of tag latest",
        "delete the tag _anyarch.history.latest to begin its history anew",
    )
    for command in ("history", "rollback"):
        assert run([command, f"{repository}:latest"]) == 26
        error = capsys.readouterr().err
        assert all(word in error for word in (*told, "anyarch rollback --to=sha256:… works"))
    assert run(["rollback", f"{repository}:latest", f"--to={OLD.digest}"]) == 0
    assert tagged(repository, LATEST) == OLD.digest
    warned = capsys.readouterr().out
    assert all(word in warned for word in told)


def test_a_layout_says_that_it_keeps_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def fill() -> None:
        store = LayoutStore(tmp_path / "dist")
        await upload(store, AMD)
        await store.put(LATEST, OLD)

    anyio.run(fill)
    reference = f"oci:{tmp_path}/dist:latest"
    assert run(["history", reference]) == 0
    assert said(capsys) == [f"{reference} is {OLD.digest}; a layout directory keeps no history"]
    assert run(["promote", reference, "--tag", "1.4.2"]) == 0
    assert run(["rollback", reference]) == 23


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["promote", "registry.example.com/shop/api:1", "--tag", " "], id="no tag"),
        pytest.param(["promote", "registry.example.com/shop/api:1"], id="no flag"),
        pytest.param(["history", f"registry.example.com/shop/api@{OLD.digest}"], id="history of a digest"),
        pytest.param(["rollback", f"registry.example.com/shop/api@{OLD.digest}"], id="rollback of a digest"),
    ],
)
def test_words_that_make_no_sense(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert "Traceback" not in capsys.readouterr().err
