from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from anyarch.engine import locate
from anyarch.engine.locate import container_engine_answers, find_dagger, find_module
from anyarch.errors import MissingToolError


def a_program(path: Path, body: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("named", "native", "on_path", "cached", "expected"),
    [
        pytest.param(True, True, True, True, "named", id="the one named comes first"),
        pytest.param(False, True, True, True, "cached", id="a native engine brings its own"),
        pytest.param(False, False, True, True, "path", id="else the one on PATH"),
        pytest.param(False, False, False, True, "cached", id="last the compiled one"),
    ],
)
def test_the_client_is_looked_for_in_order(
    tmp_path: Path, named: bool, native: bool, on_path: bool, cached: bool, expected: str
) -> None:
    clients = {
        "named": a_program(tmp_path / "named" / "dagger-next"),
        "path": a_program(tmp_path / "path" / "dagger"),
        "cached": a_program(tmp_path / "cached" / "dagger"),
    }
    environ = {"PATH": str(tmp_path / "path") if on_path else "/nowhere"}
    if named:
        environ["ANYARCH_DAGGER"] = str(clients["named"])
    found = find_dagger(environ, cached=clients["cached"] if cached else None, native=native)
    assert found == str(clients[expected])


def test_no_client_at_all_says_how_to_get_one() -> None:
    with pytest.raises(MissingToolError, match=r"docs\.dagger\.io"):
        find_dagger({"PATH": "/nowhere"}, cached=None, native=False)


def test_a_named_client_that_cannot_be_run_is_an_error_and_no_other_is_taken(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="ANYARCH_DAGGER"):
        find_dagger({"ANYARCH_DAGGER": str(tmp_path / "x")}, cached=a_program(tmp_path / "c"), native=True)


def test_the_module_is_the_one_named_or_this_checkout(tmp_path: Path) -> None:
    (tmp_path / "dagger.json").write_text("{}")
    assert find_module({"ANYARCH_MODULE": "github.com/x/y@v1"}, checkout=tmp_path) == "github.com/x/y@v1"
    assert find_module({}, checkout=tmp_path) == str(tmp_path)
    with pytest.raises(MissingToolError, match="ANYARCH_MODULE"):
        find_module({}, checkout=tmp_path / "elsewhere")


def test_this_repository_is_a_checkout() -> None:
    assert (Path(find_module({})) / "ci" / "anyarch").is_dir()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        pytest.param({}, False, id="no client"),
        pytest.param({"docker": "exit 0"}, True, id="Docker runs"),
        pytest.param({"docker": "echo Cannot connect; exit 1"}, False, id="a client without a daemon"),
        pytest.param({"docker": "exit 1", "podman": "exit 0"}, True, id="Podman runs"),
        pytest.param({"docker": "exec /bin/sleep 60"}, False, id="a daemon that hangs"),
    ],
)
async def test_a_container_engine_is_one_that_answers(
    tmp_path: Path, bodies: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = any("sleep" in body for body in bodies.values())
    monkeypatch.setattr(locate, "_ANSWER_SECONDS", 0.2 if hangs else 5.0)
    for name, body in bodies.items():
        a_program(tmp_path / name, body)
    started = time.monotonic()
    assert await container_engine_answers({"PATH": str(tmp_path), "HOME": os.environ["HOME"]}) is expected
    assert time.monotonic() - started < 5
