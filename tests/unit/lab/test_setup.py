"""The set-up says clearly what it cannot do, and installs nothing that is not pinned."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def set_up(**environment: str) -> subprocess.CompletedProcess[str]:
    # The cache of the user who ran `make`, where the first run left uv.
    settings = {name: value for name, value in os.environ.items() if name != "ANYARCH_CACHE"} | environment
    return subprocess.run(
        [str(ROOT / "lab/setup.sh")], check=False, capture_output=True, text=True, env=settings, timeout=60
    )


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = set_up(PYTHON=str(old))
    assert (done.returncode, done.stdout) == (4, "")
    assert f"{old} is older than 3.11" in done.stderr


def test_a_python_that_is_not_there_says_how_to_get_it() -> None:
    done = set_up(PYTHON="no-such-python")
    assert done.returncode == 4
    assert "apt-get install python3" in done.stderr


def test_the_lock_pins_everything_with_hashes() -> None:
    entries = [entry for entry in (ROOT / "requirements.lock").read_text().split("\n") if entry[:1].isalnum()]
    lock = (ROOT / "requirements.lock").read_text()
    assert len(entries) > 30
    assert all("==" in entry and entry.endswith("\\") for entry in entries)
    assert "://" not in lock
