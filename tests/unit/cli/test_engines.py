from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyarch.engine.native.engine as native_engine
import pytest
from anyarch.cli import engines
from anyarch.cli.engines import choices, ready
from anyarch.engine.native import tools
from anyarch.engine.native.emulation import default_emulation, host_platform
from anyarch.errors import EngineUnreachableError, MissingToolError
from anyarch.oci.platforms import Platform
from anyarch.release.plan import PlannedPlatform

from tests.fake_dagger import an_engine

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.anyio

AMD, ARM = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
BOTH = (PlannedPlatform(platform=AMD), PlannedPlatform(platform=ARM))


async def nobody(_: Mapping[str, str]) -> bool:
    return False


async def not_up() -> None:
    return None


@pytest.fixture(autouse=True)
def _no_docker_and_no_native_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines, "container_engine_answers", nobody)
    monkeypatch.setattr(engines, "native_url", not_up)
    monkeypatch.setenv("ANYARCH_DAGGER", "/bin/true")
    assert tmp_path.is_dir()


async def test_docker_is_not_asked_where_every_platform_has_an_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def must_not_be_asked(_: Mapping[str, str]) -> bool:
        pytest.fail("docker info takes seconds")

    monkeypatch.setattr(engines, "container_engine_answers", must_not_be_asked)
    found = await choices(BOTH, flags={AMD: "tcp://a:1", ARM: "tcp://b:1"})
    assert [str(choice.url) for choice in found.values()] == ["tcp://a:1", "tcp://b:1"]


async def test_docker_serves_what_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async def runs(_: Mapping[str, str]) -> bool:
        return True

    monkeypatch.setattr(engines, "container_engine_answers", runs)
    found = await ready(BOTH, flags={}, insecure=())
    assert [(choice.url, choice.native) for choice in found.choices.values()] == [(None, False)] * 2
    assert found.dagger == "/bin/true"


async def test_the_native_engine_is_started_once_for_all_with_what_it_must_emulate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[tuple[str, Any]] = []

    async def up(name: str, *, options: object, on_event: object) -> SimpleNamespace:
        assert callable(on_event)
        started.append((name, options))
        return SimpleNamespace(url=f"unix://{tmp_path}/engine.sock")

    monkeypatch.setattr(native_engine, "up", up)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with an_engine(tmp_path / "engine.sock") as url:
        found = await ready(BOTH, flags={}, insecure=("r:5000",))
    assert [str(choice.url) for choice in found.choices.values()] == [url, url]
    ((name, options),) = started
    assert name == "default"
    assert options.insecure_registries == ("r:5000",)
    assert set(options.emulate) <= {AMD, ARM}
    assert len(set(options.emulate)) == 1  # the one of the two that this machine is not


async def test_it_is_started_for_the_usual_other_platform_too_where_qemu_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Any] = []

    async def up(_: str, *, options: object, on_event: object) -> SimpleNamespace:
        assert callable(on_event)
        started.append(options)
        return SimpleNamespace(url=f"unix://{tmp_path}/engine.sock")

    monkeypatch.setattr(native_engine, "up", up)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    own = (PlannedPlatform(platform=host_platform()),)
    with an_engine(tmp_path / "engine.sock"):
        for qemu in ("/usr/bin/qemu", None):
            monkeypatch.setattr(tools, "find", lambda _, found=qemu: found)
            await ready(own, flags={}, insecure=())
    assert [options.emulate for options in started] == [default_emulation(), ()]


async def test_only_root_can_start_it_and_the_message_says_what_others_can_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingToolError, match="sudo anyarch engine up"):
        await ready(BOTH, flags={}, insecure=())


async def test_every_required_platform_without_an_engine_is_named_at_once(tmp_path: Path) -> None:
    flags = {AMD: f"unix://{tmp_path}/a.sock", ARM: f"unix://{tmp_path}/b.sock"}
    with pytest.raises(EngineUnreachableError) as caught:
        await ready(BOTH, flags=flags, insecure=())
    assert "a.sock" in caught.value.what
    assert "b.sock" in caught.value.what


async def test_an_optional_platforms_engine_may_be_away(tmp_path: Path) -> None:
    planned = (BOTH[0], PlannedPlatform(platform=ARM, required=False))
    with an_engine(tmp_path / "a.sock") as url:
        found = await ready(planned, flags={AMD: url, ARM: f"unix://{Path('/nowhere.sock')}"}, insecure=())
    assert found.unreachable.keys() == {ARM}
