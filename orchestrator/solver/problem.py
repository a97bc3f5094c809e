"""One instance of P1 (equation 2): which model and tier for each device, so that the mean response time is least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.errors import ProblemRefused, UnfitChoice

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LOCAL, EDGE, CLOUD = 0, 1, 2
MOST_DEFICIT = 10**6  # sums over any number of devices stay exact; a deficit in tenths of a point is at most 1000


@dataclass(frozen=True, eq=False)
class Problem:
    """One round of P1 (equation 2): N devices, A actions each. Times in ms.

    `own_ms` (N, A): what the device pays whatever the others do; inf where it cannot do that action.
    `tier` (A,): 0 local, 1 edge, 2 cloud.
    `deficits` (A,): tenths of a point that the action's model lacks to the best one.
    `shared_ms` (2, N + 1): `shared_ms[t - 1, k]` is what each of the k devices on tier t pays on top, in any shape; inf
    where the tier does not take k. Index 0 is unused and may hold anything.
    `budget`: the sum of deficits allowed, N (best - floor); below 0 where no model reaches the floor.

    The arrays become read-only views. Raises ProblemRefused when they are not such a problem.
    """

    own_ms: Floats
    tier: Ints
    deficits: Ints
    shared_ms: Floats
    budget: int

    def __post_init__(self) -> None:
        own_ms = _times("own_ms", self.own_ms)
        if own_ms.ndim != 2 or 0 in own_ms.shape:
            raise ProblemRefused(f"own_ms has shape {own_ms.shape}, not (devices, actions) with at least one of each")
        devices, actions = own_ms.shape
        # What nobody pays may be anything; 0 keeps it out of the checks and of sums.
        shared_ms = np.array(self.shared_ms, dtype=np.float64)
        if shared_ms.shape != (2, devices + 1):
            raise ProblemRefused(f"shared_ms has shape {shared_ms.shape}, not {(2, devices + 1)}")
        shared_ms[:, 0] = 0.0
        tier = _whole("tier", self.tier, actions, CLOUD)
        deficits = _whole("deficits", self.deficits, actions, MOST_DEFICIT)
        if isinstance(self.budget, bool) or not isinstance(self.budget, int | np.integer):
            raise ProblemRefused(f"the budget is {self.budget!r}, not a whole number of tenths")
        shared_ms = _times("shared_ms", shared_ms)
        for name, array in zip(
            ("own_ms", "shared_ms", "tier", "deficits"), (own_ms, shared_ms, tier, deficits), strict=True
        ):
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "budget", int(self.budget))

    @property
    def devices(self) -> int:
        """N."""
        return len(self.own_ms)

    @property
    def sums_ms(self) -> Floats:
        """(2, N + 1): what k devices on the edge, on the cloud, pay on top together."""
        return self.shared_ms * np.arange(self.devices + 1)

    def total_ms(self, actions: Sequence[int]) -> float:
        """The sum of the response times of a joint action: N columns, one per device; the floor is not asked for.

        Raises UnfitChoice for a column that is not there, or where a device or tier cannot do what it is told.
        """
        total_ms = self._sum_ms(self._columns(actions))
        if total_ms == np.inf:
            raise UnfitChoice("a device or a tier cannot do its part of this joint action")
        return total_ms

    def feasible(self, actions: Sequence[int]) -> bool:
        """Whether everybody can do their part and the deficits are within the budget. Raises UnfitChoice as above."""
        columns = self._columns(actions)
        return int(self.deficits[columns].sum()) <= self.budget and self._sum_ms(columns) < np.inf

    def _columns(self, actions: Sequence[int]) -> Ints:
        columns: Ints = np.asarray(actions, dtype=np.int64)
        devices, count = self.own_ms.shape
        if columns.shape != (devices,) or columns.min() < 0 or columns.max() >= count:
            raise UnfitChoice(f"a joint action is {devices} columns of 0 to {count - 1}, not {list(actions)}")
        return columns

    def _sum_ms(self, columns: Ints) -> float:
        on = np.bincount(self.tier[columns], minlength=3)
        total_ms = self.own_ms[np.arange(len(columns)), columns].sum()
        for tier in (EDGE, CLOUD):
            total_ms += on[tier] * self.shared_ms[tier - 1, on[tier]]
        return float(total_ms)


@dataclass(frozen=True)
class Solution:
    """A proven optimum of one problem: a column per device, and the sum of the response times in ms."""

    actions: tuple[int, ...]
    total_ms: float

    @property
    def mean_ms(self) -> float:
        """The average response time, equation 2's objective."""
        return self.total_ms / len(self.actions)


def solution_of(problem: Problem, actions: Sequence[int]) -> Solution:
    """The solution with these columns, summed by the problem itself."""
    return Solution(tuple(int(action) for action in actions), problem.total_ms(actions))


def _times(name: str, values: Any) -> Floats:
    """A view of `values` as float64. Raises ProblemRefused for NaN and for times below 0."""
    times: Floats = np.asarray(values, dtype=np.float64).view()
    if not (times >= 0).all():
        raise ProblemRefused(f"{name} has NaN or a time below 0 ms")
    return times


def _whole(name: str, values: Any, actions: int, most: int) -> Ints:
    """A view of `values` as (A,) int64 of 0 to `most`. Raises ProblemRefused."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.shape != (actions,):
        raise ProblemRefused(f"{name} is {array.dtype} of shape {array.shape}, not {actions} whole numbers")
    if array.min() < 0 or array.max() > most:
        raise ProblemRefused(f"{name} has {array.min()} to {array.max()}; 0 to {most} is allowed")
    return array.astype(np.int64)
