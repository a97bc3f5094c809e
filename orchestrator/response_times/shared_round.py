"""What a tier's regression is made of: the rounds that it knows, and what its columns stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.response_times.observed import Floats

DENSE = 16  # knots at every k up to it
GROWTH = 1.25


@dataclass(slots=True)
class SharedRound:
    """What came of one round on the tier. `kinds`, `models`: how many sharers are in each class, use each model.

    `mean_ms` is over `averaged` of them: all that reported, or the one whose request was decided alone. `counts`: the
    share of a round that it still is, `weight`: less for what is strange.
    """

    sharers: int
    mean_ms: float
    kinds: Counter[int]
    models: Counter[int]
    state: int
    averaged: int = 0  # all of them, if it is left out
    counts: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        self.averaged = self.averaged or self.sharers

    def save(self) -> list[Any]:
        """JSON of which `loaded` makes it again."""
        kinds, models = sorted(self.kinds.items()), sorted(self.models.items())
        return [self.sharers, self.mean_ms, kinds, models, self.state, self.averaged, self.counts, self.weight]

    @classmethod
    def loaded(cls, saved: Sequence[Any]) -> SharedRound:
        """What `save` gave. Raises TypeError or ValueError."""
        sharers, mean_ms, kinds, models, state, averaged, counts, weight = saved
        numbers = float(mean_ms), float(counts), float(weight)
        if not (sharers >= averaged >= 1 and all(0 <= number < np.inf for number in numbers) and mean_ms > 0):
            raise ValueError("a round that cannot be")
        mean_ms, counts, weight = numbers
        return cls(int(sharers), mean_ms, counted(kinds), counted(models), int(state), int(averaged), counts, weight)


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


def counted(items: Iterable[tuple[int, int]]) -> Counter[int]:
    """A Counter as JSON has it."""
    return Counter({int(value): int(count) for value, count in items})


def never_falling(values: Floats, weights: Floats) -> Floats:
    """The nearest values, by weighted squares, that never fall: neighbours that do are pooled."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pool = value, weight, 1
        while pools and pools[-1][0] > pool[0]:
            mean, together, count = pools.pop()
            total = together + pool[1]
            pool = (mean * together + pool[0] * pool[1]) / total, total, count + pool[2]
        pools.append(pool)
    return np.repeat([value for value, _, _ in pools], [count for _, _, count in pools])


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
