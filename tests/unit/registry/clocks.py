"""A clock that sleeps without waiting."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
from anyarch.registry.retry import Clock


@dataclass
class FakeClock:
    """Real time plus what was slept; every draw of chance is ``chance``."""

    chance: float = 0.5
    wall: float = 1_800_000_000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return time.monotonic() + sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await anyio.lowlevel.checkpoint()

    def pass_by(self, seconds: float) -> None:
        self.slept.append(seconds)

    @property
    def clock(self) -> Clock:
        return Clock(now=self.now, wall=lambda: self.wall, sleep=self.sleep, random=lambda: self.chance)
