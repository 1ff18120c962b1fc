"""Dagger engines: which one serves a platform, whether it answers, and calling the pipeline on it."""

from __future__ import annotations

from typing import Final

DAGGER_VERSION: Final = "v0.21.8"
