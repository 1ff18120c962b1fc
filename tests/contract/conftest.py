"""Servers and clients that are not ours. None of them is optional: a missing one is compiled."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from lab import go_tools

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def peers(say: Callable[[str], None]) -> Path:
    """The folder of distribution 3's and olareg's servers and of crane, regctl and oras."""
    return anyio.run(partial(go_tools.compiled, go_tools.PEERS, on_event=say))
