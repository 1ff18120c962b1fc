from __future__ import annotations

from pathlib import Path

import pytest
from anyarch.cli import words
from anyarch.cli.output import size, table
from anyarch.cli.targets import parse_target
from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(["1.2.3", "latest"], ["1.2.3", "latest"], id="repeated"),
        pytest.param(["1.2.3 latest"], ["1.2.3", "latest"], id="a workflow's one string"),
        pytest.param(["1.2.3,latest\nx"], ["1.2.3", "latest", "x"], id="commas and lines"),
        pytest.param([""], [], id="empty is none"),
        pytest.param(["a", "a"], ["a"], id="twice is once"),
    ],
)
def test_tags_come_in_every_way_that_workflows_write_lists(values: list[str], expected: list[str]) -> None:
    assert words.tags(values) == tuple(map(Tag, expected))


def test_platforms_are_normalised_before_they_are_compared() -> None:
    assert words.platforms(["linux/arm64", "linux/arm64/v8"]) == (Platform.parse("linux/arm64"),)


def test_an_engine_is_a_platform_and_a_url_that_may_hold_equals_signs() -> None:
    url = "kube-pod://p?context=arm"
    assert words.engines([f"linux/aarch64={url}"]) == {Platform.parse("linux/arm64"): url}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(["linux/arm64"], id="no URL"),
        pytest.param(["linux/arm64=x"], id="not a URL"),
        pytest.param(["arm=tcp://x:1"], id="not a platform"),
        pytest.param(["linux/arm64=tcp://x:1", "linux/arm64/v8=tcp://y:1"], id="two for one platform"),
    ],
)
def test_engines_that_cannot_be_meant_are_refused(values: list[str]) -> None:
    with pytest.raises(UsageError):
        words.engines(values)


def test_insecure_registries_come_from_flag_environment_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(words.INSECURE_VARIABLE, "b:1,c:1")
    assert words.insecure_hosts(["a:1"], ["c:1", "d:1"]) == ("a:1", "b:1", "c:1", "d:1")


def test_a_credential_in_the_environment_is_whole_or_an_error() -> None:
    assert words.credential_from({}) is None
    found = words.credential_from({words.USERNAME_VARIABLE: "u", words.PASSWORD_VARIABLE: "canary-p"})
    assert found is not None
    assert (found.username, found.password) == ("u", "canary-p")
    assert "canary-p" not in repr(found)
    with pytest.raises(UsageError, match=words.PASSWORD_VARIABLE):
        words.credential_from({words.USERNAME_VARIABLE: "u"})


@pytest.mark.parametrize(
    ("text", "destination", "target"),
    [
        pytest.param("r.example.com/a:1", "r.example.com/a", Tag("1"), id="tag"),
        pytest.param(f"r.example.com/a@{DIGEST}", "r.example.com/a", Digest.parse(DIGEST), id="digest"),
        pytest.param("oci:dist:latest", "oci:dist", Tag("latest"), id="layout and tag"),
        pytest.param(f"oci:dist@{DIGEST}", "oci:dist", Digest.parse(DIGEST), id="layout and digest"),
        pytest.param("oci:/tmp/a:b/dist:1", "oci:/tmp/a:b/dist", Tag("1"), id="a colon in the path"),
    ],
)
def test_what_a_command_acts_on(text: str, destination: str, target: object) -> None:
    assert parse_target(text) == (destination, target)


FULL = "docker.io/library/app:v1"


@pytest.mark.parametrize(
    ("text", "destination", "target"),
    [
        pytest.param(f"oci:dist:{FULL}", "oci:dist", Tag(FULL), id="a whole reference"),
        pytest.param(f"oci:a:b:{FULL}", "oci:a:b", Tag(FULL), id="in a folder with a colon"),
        pytest.param("oci:a:b:v1", "oci:a:b", Tag("v1"), id="a tag there"),
        pytest.param(f"oci:new:{FULL}", f"oci:new:{FULL[:-3]}", Tag("v1"), id="where no layout is"),
        pytest.param("oci:dist:app:v1", "oci:dist", Tag("app:v1"), id="a short reference"),
        pytest.param("oci:odd:app:v1", "oci:odd:app", Tag("v1"), id="a layout of that very name"),
    ],
)
def test_images_in_a_layout_may_have_whole_references_for_names(
    text: str, destination: str, target: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dist", "a:b", "odd", "odd:app"):
        Path(name).mkdir()
        Path(name, "oci-layout").write_text("{}")
    assert parse_target(text) == (destination, target)


@pytest.mark.parametrize(
    "text", ["oci:dist", "oci::1", "oci:", "oci:a:b/c", f"oci:@{DIGEST}", "r.example.com/a"]
)
def test_nothing_is_acted_on_that_is_not_written_out(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (26_880_599, "26.9 MB"),
        (3_200_000_000_000_000, "3200.0 TB"),
    ],
)
def test_bytes_as_people_read_them(count: int, expected: str) -> None:
    assert size(count) == expected


def test_columns_of_a_table_stand_below_one_another() -> None:
    assert table(("A", "N"), [("long one", "1"), ("x", "100")], right=("N",)) == [
        "A           N",
        "long one    1",
        "x         100",
    ]
