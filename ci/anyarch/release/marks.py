"""The annotations that anyarch writes and reads."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "dev.anyarch."
PLAN: Final = "dev.anyarch.plan"
EXECUTION: Final = "dev.anyarch.execution"
MISSING: Final = "dev.anyarch.missing"
REVISION: Final = "org.opencontainers.image.revision"
