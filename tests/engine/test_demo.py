"""``make demo``, as a user runs it: twice, on the test engines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab.stack import Stack

ROOT = Path(__file__).parents[2]
INDEX = re.compile(r"^index   (sha256:[0-9a-f]{64})$", re.MULTILINE)


def demo(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lab.demo", "up", name],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(1200, func_only=True)
def test_the_demo_releases_three_platforms_and_a_second_one_changes_nothing(
    engines: Stack, tmp_path: Path
) -> None:
    first = demo(engines.name, tmp_path)
    for platform in map(str, engines.engines):
        assert platform in first
    assert first.count("native") >= 2
    assert "emulated" in first
    assert "make demo-down" in first
    assert (tmp_path / "dist/index.json").exists()
    second = demo(engines.name, tmp_path)
    assert INDEX.findall(first) == INDEX.findall(second) != []
