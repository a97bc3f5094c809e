"""Time, passed in. Durations come from `monotonic`; `wall` is only for what people and other machines read."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds, from two clocks: one never steps back, the other is the time of day."""

    def monotonic(self) -> float: ...
    def wall(self) -> float: ...


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class ManualClock:
    """A clock that moves when it is told to."""

    def __init__(self, monotonic_s: float = 0.0, wall_s: float = 1_700_000_000.0) -> None:
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s

    def monotonic(self) -> float:
        return self._monotonic_s

    def wall(self) -> float:
        return self._wall_s

    def advance(self, seconds: float) -> None:
        """Let both clocks go forward."""
        self._monotonic_s += seconds
        self._wall_s += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the time of day, as an administrator or NTP would."""
        self._wall_s += seconds
