"""What a tier's regression is made of: the rounds that it knows, and what its columns stand for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from orchestrator.response_times.observed import Floats

DENSE = 16  # knots at every k up to it
GROWTH = 1.25


@dataclass(slots=True)
class SharedRound:
    """What came of one round on the tier. `kinds`, `models`: how many sharers are in each class, use each model."""

    sharers: int
    mean_ms: float
    kinds: Counter[int]
    models: Counter[int]
    state: int
    counts: float = 1.0
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """f for 1 to N sharers, index 0 unused: mean and standard deviation in ms. Never falling."""

    mean_ms: Floats
    sd_ms: Floats


@dataclass(frozen=True, eq=False, slots=True)
class Leap:
    """By how much times may differ from what is expected, in ms: `shared_ms` (N + 1,), `own_ms` (N, models)."""

    shared_ms: Floats
    own_ms: Floats


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of the regression stand for: knots, then classes, models and states other than the common."""

    knots: Floats
    kinds: tuple[int, ...]
    models: tuple[int, ...]
    states: tuple[int, ...]

    @property
    def count(self) -> int:
        """Of all columns."""
        return len(self.knots) + len(self.kinds) + len(self.models) + 2 * len(self.states)

    def row(self, observed: SharedRound) -> Floats:
        """(count,): what this round's mean is a sum of."""
        row, size = np.zeros(self.count), len(self.knots)
        above = int(np.searchsorted(self.knots, observed.sharers))
        if self.knots[above] == observed.sharers:
            row[above] = 1.0
        else:
            low, high = self.knots[above - 1], self.knots[above]
            row[above] = (observed.sharers - low) / (high - low)
            row[above - 1] = 1.0 - row[above]
        row[size : size + len(self.kinds)] = [observed.kinds[kind] / observed.sharers for kind in self.kinds]
        start = size + len(self.kinds)
        row[start : start + len(self.models)] = [observed.models[model] / observed.sharers for model in self.models]
        self.add_state(row, observed.state, observed.sharers - 1)
        return row

    def add_state(self, rows: Floats, state: int, others: int | Floats) -> None:
        """Put what a tier in `state` takes longer into (..., count) rows; `others`: k - 1."""
        if state in self.states:
            at = self.count - 2 * len(self.states) + 2 * self.states.index(state)
            rows[..., at], rows[..., at + 1] = 1.0, others


def others(seen: Counter[int]) -> tuple[int, ...]:
    """All but the most common, in order."""
    common = max(seen, key=lambda value: (seen[value], -value), default=None)
    return tuple(sorted(value for value in seen if value != common))


def knots_to(most: int) -> Floats:
    """1 to DENSE, then in growing steps; the last is at or above `most`."""
    knots = list(range(1, min(most, DENSE) + 1))
    while knots[-1] < most:
        knots.append(max(knots[-1] + 1, int(knots[-1] * GROWTH)))
    return np.array(knots, dtype=np.float64)
