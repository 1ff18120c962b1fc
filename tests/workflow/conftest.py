"""Programs that check or run the workflows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from lab import go_tools, registry
from tests.workflow.forge import Forge

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.stack import Stack

TOOLS = Path(__file__).parent / "tools"


@pytest.fixture(scope="session")
def actionlint(say: Callable[[str], None]) -> Path:
    """actionlint, compiled once for each go.sum: it is on PyPI only as a downloader."""
    return anyio.run(partial(go_tools.compiled, TOOLS, on_event=say)) / "actionlint"


@pytest.fixture(scope="session")
def forge(engines: Stack) -> Forge:
    """Three runners, each with an engine of its own, and a registry that asks for a password."""
    assert engines.private
    return Forge(
        registry=engines.private,
        username=registry.USERNAME,
        password=registry.PASSWORD,
        engines={platform.slug: info.url for platform, info in engines.engines.items()},
    )
