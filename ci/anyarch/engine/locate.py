"""Where the Dagger client and the pipeline's module are, and whether Docker or Podman runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.engine.process import run_quiet
from anyarch.errors import MissingToolError

if TYPE_CHECKING:
    from collections.abc import Mapping

DAGGER_VARIABLE: Final = "ANYARCH_DAGGER"
MODULE_VARIABLE: Final = "ANYARCH_MODULE"
_CONTAINER_CLIENTS: Final = ("docker", "podman")
_ANSWER_SECONDS: Final = 5.0
_CHECKOUT: Final = Path(__file__).parents[3]


def find_dagger(environ: Mapping[str, str], *, cached: Path | None, native: bool) -> str:
    """The Dagger client to call: the one named, else the native engine's own, else the one on PATH.

    Args:
        environ: The environment.
        cached: The client that was compiled with the native engine, if there is one.
        native: Whether a native engine takes part; its own client then comes before PATH.

    Raises:
        MissingToolError: there is none, or the one named cannot be executed.
    """
    named = environ.get(DAGGER_VARIABLE)
    if named:
        found = shutil.which(named, path=environ.get("PATH"))
        if found is None:
            raise MissingToolError(
                f"{DAGGER_VARIABLE} names {named}, which cannot be executed", program=named
            )
        return found
    on_path = shutil.which("dagger", path=environ.get("PATH"))
    order = (cached, on_path) if native else (on_path, cached)
    for client in order:
        if client is not None:
            return str(client)
    raise MissingToolError(
        "no Dagger client: there is no program called dagger",
        hint="install it from https://docs.dagger.io/install, or as root: anyarch engine up brings its own",
        program="dagger",
    )


def find_module(environ: Mapping[str, str], *, checkout: Path = _CHECKOUT) -> str:
    """Where the pipeline is: what ``ANYARCH_MODULE`` names, else the checkout that this file is part of.

    Raises:
        MissingToolError: neither.
    """
    if named := environ.get(MODULE_VARIABLE):
        return named
    if (checkout / "dagger.json").is_file():
        return str(checkout)
    raise MissingToolError(
        f"the pipeline's module is not in {checkout}: no dagger.json there",
        hint=f"set {MODULE_VARIABLE} to a checkout of anyarch, or to its Git address with a version",
        program="dagger.json",
    )


async def container_engine_answers(environ: Mapping[str, str]) -> bool:
    """Whether Docker or Podman runs here, so that a Dagger client can provision its own engine.

    A client that is installed is not enough: its daemon must answer.
    """
    for name in _CONTAINER_CLIENTS:
        program = shutil.which(name, path=environ.get("PATH"))
        if program is None:
            continue
        with anyio.move_on_after(_ANSWER_SECONDS):
            status, _ = await run_quiet([program, "info"], environ=environ)
            if status == 0:
                return True
    return False
