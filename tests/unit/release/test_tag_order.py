"""Tags that stay where they are come first; those that follow every release come last."""

from __future__ import annotations

import pytest
from anyarch.oci.reference import Tag
from anyarch.release.tag_order import Kind, in_order, is_floating, kind


@pytest.mark.parametrize(
    "name",
    [
        "1.2.3",
        "v1.2.3",
        "1.2.3-rc.1",
        "1.2.3_4",
        "sha-0a1b2c3",
        "0a1b2c3d",
        "20260131",
        "2026-01-31",
        "2026-01-31.2",
    ],
)
def test_a_version_a_commit_and_a_date_stay(name: str) -> None:
    assert not is_floating(Tag(name))


@pytest.mark.parametrize(
    "name", ["latest", "1", "1.2", "v1", "v1.2", "main", "edge", "facade", "deadbeef", "nightly"]
)
def test_anything_else_floats(name: str) -> None:
    assert is_floating(Tag(name))


def test_the_order_is_from_narrow_to_wide_and_each_tag_comes_once() -> None:
    tags = [Tag(name) for name in ("latest", "1", "main", "1.2.3", "1.2", "sha-0a1b2c3", "1.2.3")]
    fixed, floating = in_order(tags)
    assert [str(tag) for tag in fixed] == ["1.2.3", "sha-0a1b2c3"]
    assert [str(tag) for tag in floating] == ["1.2", "1", "main", "latest"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param("1.0", Kind.NUMBERED, id="a version of two parts"),
        pytest.param("2026-11", Kind.NUMBERED, id="a month"),
        pytest.param("v2-alpine", Kind.NUMBERED, id="a version with a word"),
        pytest.param("nightly", Kind.WORD, id="a word"),
        pytest.param("latest", Kind.LATEST, id="latest"),
        pytest.param("latest-alpine", Kind.LATEST, id="latest with a suffix"),
        pytest.param("the-latest", Kind.LATEST, id="latest with a prefix"),
        pytest.param("latests", Kind.WORD, id="nearly latest"),
    ],
)
def test_latest_is_told_from_what_may_be_immutable(name: str, found: Kind) -> None:
    assert kind(Tag(name)) is found
