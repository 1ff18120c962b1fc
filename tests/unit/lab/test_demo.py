from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from anyarch.engine.native.places import cache_folder

from lab import demo, stack

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.anyio
async def test_the_end_names_all_that_stays_in_commands_that_remove_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def nothing(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(stack, "down", nothing)
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    await demo.Demo("demo").down()
    said = capsys.readouterr().out.splitlines()
    own, shared = (shlex.split(line)[1:] for line in said if line.lstrip().startswith("$ "))
    cache = cache_folder()
    states = [f"{cache}/engine/state/demo-linux-{name}" for name in ("amd64", "386", "arm64")]
    assert own == ["rm", "-rf", *states, f"{cache}/registry/demo", "examples/web/.anyarch", "dist"]
    assert shared == ["rm", "-rf", str(cache), ".venv"]
