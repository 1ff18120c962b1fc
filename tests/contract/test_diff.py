"""``anyarch diff`` as a program: exit status, output, and whom it shows a credential."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest
from anyarch.cli import diff as command
from anyarch.cli.access import Access
from anyarch.cli.main import run
from anyarch.oci.reference import Tag
from anyarch.registry.layout import LayoutStore

from tests.builders import upload
from tests.layers import archive, folder, image_of, member
from tests.unit.release.test_schemas import validator

if TYPE_CHECKING:
    from pathlib import Path


OLD = image_of(archive(folder("bin"), member("bin/x", mode=0o755)), settings={"Env": ["A=1"]})
NEW = image_of(archive(folder("bin"), member("bin/x", mode=0o4755)), settings={"Env": ["A=2"]})


@pytest.fixture
def layout(tmp_path: Path) -> str:
    async def fill() -> None:
        store = LayoutStore(tmp_path)
        for tag, image in {"old": OLD, "new": NEW}.items():
            await upload(store, image)
            await store.put(Tag.parse(tag), image.manifest)

    anyio.run(fill)
    return f"oci:{tmp_path}"


def test_the_same_is_status_0(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", f"{layout}:old", f"{layout}@{OLD.manifest.digest}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the same for 1 platform"


def test_a_difference_is_status_36_and_is_told_as_a_result(
    layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diff", f"{layout}:old", f"{layout}:new"]) == 36
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"A  {layout}:old",
        f"B  {layout}:new",
        'linux/amd64  config.env  A: "1" → "2"',
        "linux/amd64  file  /bin/x  mode 0755 → 4755",
        "2 differences on 1 of 1 platform",
    ]
    assert "error" not in told.err


def test_json_is_one_document_whatever_it_says(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", f"{layout}:old", f"{layout}:new", "--format", "json"]) == 36
    document = json.loads(capsys.readouterr().out)
    validator("diff").validate(document)
    assert document["same"] is False


def test_what_flags_leave_out_is_not_a_difference(layout: str) -> None:
    words = ["diff", f"{layout}:old", f"{layout}:new", "--ignore", "/bin", "--ignore", "config.env.A"]
    assert run(words) == 0


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        pytest.param(["{}:old", "{}:gone"], 23, "gone", id="an image that is not there"),
        pytest.param(["{}:old", "{}:new", "--platform", "linux/s390x"], 2, "s390x", id="no such platform"),
        pytest.param(["{}:old", "{}:new", "--max-gib", "0"], 2, "--max-gib", id="no bytes allowed"),
        pytest.param(["{}:old", "{}:new", "--max-gib", "nan"], 2, "--max-gib", id="not a number"),
        pytest.param(["{}:old", "{}:new", "--max-gib", "0.000001"], 26, "--max-gib", id="too large"),
        pytest.param(["{}:old", "{}:new", "--ignore", ""], 2, "--ignore", id="an empty pattern"),
        pytest.param(["{}:old"], 2, "", id="one image"),
    ],
)
def test_what_cannot_be_compared_has_another_status(
    words: list[str], status: int, told: str, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diff", *(word.format(layout) for word in words)]) == status
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("destinations", "given"),
    [
        pytest.param(["a.example.com/x", "a.example.com/y"], True, id="one registry"),
        pytest.param(["a.example.com/x", "oci:dist"], True, id="a registry and a layout"),
        pytest.param(["a.example.com/x", "b.example.com/x"], False, id="two registries"),
        pytest.param(["oci:a", "oci:b"], False, id="no registry"),
    ],
)
def test_the_environments_credential_goes_to_one_registry_only(
    destinations: list[str], given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYARCH_REGISTRY_USERNAME", "user")
    monkeypatch.setenv("ANYARCH_REGISTRY_PASSWORD", "canary")
    kept = command._for_one_registry(Access.read(), destinations)  # noqa: SLF001  a decision worth a table
    assert (kept.credential is not None) is given
