from __future__ import annotations

from dataclasses import replace

import dagger
import pytest
from anyarch.oci.platforms import Platform
from pipeline.recipe import Recipe, annotated


def a_recipe(platform: str, engine: str = "linux/amd64") -> Recipe:
    source = dagger.dag.directory()
    return Recipe(source=source, platform=Platform.parse(platform), engine=Platform.parse(engine))


@pytest.mark.parametrize(
    ("engine", "platform", "execution"),
    [
        pytest.param("linux/amd64", "linux/amd64", "native", id="its own"),
        pytest.param("linux/amd64", "linux/386", "native", id="32 bits on 64"),
        pytest.param("linux/amd64", "linux/arm64", "emulated", id="foreign"),
        pytest.param("linux/arm64", "linux/arm64", "native", id="arm on arm"),
        pytest.param("linux/arm64", "linux/arm/v7", "emulated", id="32-bit arm is not claimed"),
    ],
)
def test_execution_is_told_from_the_engines_platform(engine: str, platform: str, execution: str) -> None:
    assert a_recipe(platform, engine).execution == execution


def test_the_build_platform_is_the_engines_and_the_target_is_the_one_asked_for() -> None:
    assert a_recipe("linux/arm/v6").build_arguments() == {
        "BUILDPLATFORM": "linux/amd64",
        "BUILDOS": "linux",
        "BUILDARCH": "amd64",
        "BUILDVARIANT": "",
        "TARGETPLATFORM": "linux/arm/v6",
        "TARGETOS": "linux",
        "TARGETARCH": "arm",
        "TARGETVARIANT": "v6",
    }


def test_an_argument_given_wins_over_ours() -> None:
    recipe = replace(a_recipe("linux/386"), arguments={"BUILDARCH": "mine", "A": "1"})
    arguments = recipe.build_arguments()
    assert (arguments["BUILDARCH"], arguments["A"]) == ("mine", "1")


def test_annotations_tell_what_is_known_and_nothing_else() -> None:
    known = annotated(
        dagger.dag.container(), said={"a": "b"}, plan="sha256:aa", execution="native", revision=""
    )
    written = [(field.name, field.args) for field in known._ctx.selections][1:]  # noqa: SLF001  no other way
    assert written == [
        ("withAnnotation", {"name": "a", "value": "b"}),
        ("withAnnotation", {"name": "dev.anyarch.plan", "value": "sha256:aa"}),
        ("withAnnotation", {"name": "dev.anyarch.execution", "value": "native"}),
    ]
