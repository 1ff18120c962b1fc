"""Configs compared: what starts a container counts, what a builder says about itself does not."""

from __future__ import annotations

from typing import Any

import pytest
from anyarch.errors import ContentError
from anyarch.oci import strict_json
from anyarch.oci.manifest import ImageConfig
from anyarch.release.diff.config import compare_configs


def config(settings: object = None, **fields: object) -> ImageConfig:
    document = {"os": "linux", "architecture": "amd64", "config": settings, **fields}
    return ImageConfig.from_bytes(strict_json.dumps(document), subject="config")


def found(a: ImageConfig, b: ImageConfig, **options: bool) -> list[tuple[str, str, str | None, str | None]]:
    differences = compare_configs(a, b, **options)
    return [(each.area, each.name, each.changes[0].a, each.changes[0].b) for each in differences]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param({"User": "0"}, {"User": "app"}, ("user", "", '"0"', '"app"'), id="user"),
        pytest.param(
            {"Env": ["A=1", "PATH=/bin"]},
            {"Env": ["PATH=/sbin", "A=1"]},
            ("env", "PATH", '"/bin"', '"/sbin"'),
            id="env",
        ),
        pytest.param({"Env": ["A"]}, {}, ("env", "A", '""', None), id="a variable on one side"),
        pytest.param(
            {"Env": ["A=1", "A=2"]},
            {"Env": ["A=2"]},
            ("env", "A", '["1", "2"]', '"2"'),
            id="a variable twice",
        ),
        pytest.param(
            {"Entrypoint": ["/a"]},
            {"Entrypoint": ["sh", "-c", "/a"]},
            ("entrypoint", "", '["/a"]', '["sh", "-c", "/a"]'),
            id="entrypoint",
        ),
        pytest.param(
            {"Cmd": ["a", "b"]}, {"Cmd": ["b", "a"]}, ("cmd", "", '["a", "b"]', '["b", "a"]'), id="cmd"
        ),
        pytest.param({}, {"WorkingDir": "/w"}, ("workdir", "", None, '"/w"'), id="working directory"),
        pytest.param(
            {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}},
            {"ExposedPorts": {"53/udp": {}}},
            ("ports", "80/tcp", "set", None),
            id="ports",
        ),
        pytest.param({}, {"Volumes": {"/data": {}}}, ("volumes", "/data", None, "set"), id="volumes"),
        pytest.param(
            {"Labels": {"a": "1"}}, {"Labels": {"a": "2"}}, ("labels", "a", '"1"', '"2"'), id="labels"
        ),
        pytest.param({"Labels": {"a": ""}}, {}, ("labels", "a", '""', None), id="an empty label"),
        pytest.param({"StopSignal": "SIGINT"}, {}, ("stop-signal", "", '"SIGINT"', None), id="stop signal"),
        pytest.param(
            {"Healthcheck": {"Test": ["NONE"], "Interval": 0}},
            {},
            ("healthcheck", "Test", '["NONE"]', None),
            id="health check",
        ),
        pytest.param({"OnBuild": ["RUN x"]}, {}, ("onbuild", "", '["RUN x"]', None), id="onbuild"),
        pytest.param({"Shell": ["/bin/bash"]}, {}, ("shell", "", '["/bin/bash"]', None), id="shell"),
        pytest.param(
            {"Future": 1}, {"Future": 2}, ("Future", "", "1", "2"), id="a setting that we do not know"
        ),
        pytest.param(
            {"Labels": {"\x1b[1m": "\x07"}},
            {},
            ("labels", "\\x1b[1m", '"\\u0007"', None),
            id="control characters",
        ),
    ],
)
def test_a_setting_that_differs_is_named(
    a: dict[str, Any], b: dict[str, Any], expected: tuple[str, str, str | None, str | None]
) -> None:
    area, *rest = expected
    assert found(config(a), config(b)) == [(f"config.{area}", *rest)]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(config(None), config({}), id="null and empty"),
        pytest.param(config({"Cmd": None, "Env": [], "User": ""}), config({}), id="empty settings and none"),
        pytest.param(
            config({"Env": ["A=1", "B=2"]}), config({"Env": ["B=2", "A=1"]}), id="order of variables"
        ),
        pytest.param(
            config({"Image": "sha256:1", "Hostname": "x"}), config({}), id="what docker build leaves"
        ),
        pytest.param(
            config({}, docker_version="20.10", container="x", **{"moby.buildkit.buildinfo.v1": "x"}),
            config(),
            id="what a builder says about itself",
        ),
        pytest.param(
            config(created="2026-01-01T00:00:00Z", history=[{"created_by": "x"}]),
            config(),
            id="time and history",
        ),
        pytest.param(
            config(rootfs={"diff_ids": ["x"]}), config(rootfs={"diff_ids": []}), id="how the layers are cut"
        ),
        pytest.param(config(variant="v1"), config(), id="a variant that the architecture implies"),
    ],
)
def test_what_makes_no_difference(a: ImageConfig, b: ImageConfig) -> None:
    assert found(a, b) == []


def test_another_platform_is_a_difference() -> None:
    assert found(config(architecture="arm64"), config()) == [
        ("config.platform", "", "linux/arm64", "linux/amd64")
    ]


def test_times_and_history_count_when_asked_for() -> None:
    a = config(
        created="2026-01-01T00:00:00Z", history=[{"created_by": "x", "created": "1"}, {"created_by": "y"}]
    )
    b = config(created="2027-01-01T00:00:00Z", history=[{"created_by": "x", "created": "2"}])
    assert found(a, b, timestamps=True) == [
        ("config.created", "", '"2026-01-01T00:00:00Z"', '"2027-01-01T00:00:00Z"')
    ]
    assert found(a, b, history=True) == [("config.history", "002", '{"created_by": "y"}', None)]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(config({"Env": "A=1"}), id="variables that are no list"),
        pytest.param(config({"Env": [1]}), id="a variable that is a number"),
        pytest.param(config({"Labels": ["a"]}), id="labels that are a list"),
        pytest.param(config(architecture=""), id="no architecture"),
        pytest.param(config([1]), id="settings that are a list"),
        pytest.param(ImageConfig.from_bytes(b"{}", subject="x"), id="an empty document"),
    ],
)
def test_a_config_of_the_wrong_shape_is_refused(bad: ImageConfig) -> None:
    with pytest.raises(ContentError, match="image config"):
        found(bad, config())
