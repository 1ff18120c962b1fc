"""Step outputs: how one job of a workflow hands facts to the next."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from anyarch.errors import FileProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

OUTPUT_FILE = "GITHUB_OUTPUT"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def write_outputs(outputs: Mapping[str, str], *, environ: Mapping[str, str] | None = None) -> None:
    """Append step outputs to ``$GITHUB_OUTPUT``; outside a workflow, print them as ``name=value``.

    Args:
        outputs: Values by name. A value may hold anything, newlines included.
        environ: The environment variables; the process's own unless a test says otherwise.

    Raises:
        FileProblemError: the file that ``$GITHUB_OUTPUT`` names cannot be written.
    """
    path = (os.environ if environ is None else environ).get(OUTPUT_FILE, "")
    if not path:
        sys.stdout.writelines(f"{name}={value}\n" for name, value in outputs.items())
        return
    entries = "".join(_entry(name, value) for name, value in outputs.items())
    try:
        with Path(path).open("a", encoding="utf-8", newline="\n") as file:
            file.write(entries)
    except OSError as error:
        raise FileProblemError(
            f"step outputs cannot be written to {path}: {error.strerror}",
            hint=f"${OUTPUT_FILE} must name a writable file; unset it to have outputs printed instead",
            path=path,
        ) from error


def _entry(name: str, value: str) -> str:
    if not _NAME.fullmatch(name):
        msg = f"{name!r} is no name for a step output"
        raise ValueError(msg)
    # Random, because a value that holds a known delimiter could end itself and set further outputs
    # (GHSA-7r3h-m5j6-3q42: it happened to the official toolkit).
    delimiter = f"anyarch_{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"
