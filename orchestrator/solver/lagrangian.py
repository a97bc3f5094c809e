"""What P1 (equation 2) costs at least: floor and tiers priced instead of kept, at the prices that prove most.

At a price of the floor (ms per tenth of deficit) and one of each tier (ms per device on it), devices choose alone and
each tier takes the number that suits it best. That sum is a lower bound of the optimum whatever the prices are; it is
concave in them. `ascent` finds the prices that prove most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.solver.problem import CLOUD, EDGE, LOCAL, Floats, Ints, Problem
from orchestrator.solver.reduction import reduce

# The bound is lowered by this share of the sums it is made of: float rounding stays far below.
ROUNDING = 1e-11


class Prices(NamedTuple):
    """What the floor costs in ms per tenth of a point, and what one device more on the edge, on the cloud costs all."""

    floor: float
    edge: float
    cloud: float


@dataclass(frozen=True, eq=False)
class Relaxation:
    """A problem as the bound and its repair take it: options in rows, devices in columns, those of a tier together.

    `own_ms` (R, N) is inf where the device has no such option; `columns` (R, N) names the problem's action; `weights`
    (3, R): what an option uses of the floor, the edge, the cloud. `sums_ms` (2, N + 1) as the problem's.
    """

    problem: Problem
    own_ms: Floats
    columns: Ints
    deficits: Ints
    tier: Ints
    weights: Floats
    sums_ms: Floats
    budget: int
    rough_ms: npt.NDArray[np.float32]

    @property
    def rows(self) -> list[tuple[int, slice]]:
        """Each tier that has options, and where they are."""
        ends = np.searchsorted(self.tier, [LOCAL, EDGE, CLOUD, CLOUD + 1]).tolist()
        return [(tier, slice(ends[tier], ends[tier + 1])) for tier in range(3) if ends[tier] < ends[tier + 1]]


def relax(problem: Problem) -> Relaxation:
    """Without what no budget pays for; without deficits where the budget pays for everything.

    Raises FloorUnreachable as `reduce` does.
    """
    order = np.argsort(problem.tier, kind="stable")
    own_ms: Floats = np.ascontiguousarray(problem.own_ms.T[order])
    deficits, tier, budget = problem.deficits[order], problem.tier[order], problem.budget
    columns: Ints = np.broadcast_to(order[:, None], own_ms.shape)
    lacking = np.where(own_ms < np.inf, deficits[:, None], np.iinfo(np.int64).max).min(axis=0)
    slack = budget - sum(lacking.tolist())
    if slack < 0:
        reduce(problem)  # tells what is wrong
    own_ms[deficits[:, None] - lacking > slack] = np.inf
    if int(np.where(own_ms < np.inf, deficits[:, None], 0).max(axis=0).sum()) <= budget:
        own_ms, columns, tier = _fastest(own_ms, columns, tier)
        deficits, budget = np.zeros(len(tier), np.int64), 0
    weights = np.stack([deficits, tier == EDGE, tier == CLOUD]).astype(np.float64)
    rough_ms = own_ms.astype(np.float32)
    return Relaxation(problem, own_ms, columns, deficits, tier, weights, problem.sums_ms, budget, rough_ms)


def _fastest(own_ms: Floats, columns: Ints, tier: Ints) -> tuple[Floats, Ints, Ints]:
    """Each device's fastest option of each tier."""
    tiers = np.unique(tier)
    found = [(own_ms[tier == place], columns[tier == place]) for place in tiers]
    best = [times_ms.argmin(axis=0)[None] for times_ms, _ in found]
    times = [np.take_along_axis(times_ms, row, 0) for (times_ms, _), row in zip(found, best, strict=True)]
    names = [np.take_along_axis(options, row, 0) for (_, options), row in zip(found, best, strict=True)]
    return np.concatenate(times), np.concatenate(names), tiers


def within(relaxation: Relaxation, box: tuple[tuple[int, int], tuple[int, int]]) -> Floats:
    """(2, N + 1): what sharers pay together where their numbers are in `box`, inf elsewhere."""
    sums_ms = np.full_like(relaxation.sums_ms, np.inf)
    for tier, (low, high) in enumerate(box):
        sums_ms[tier, low : high + 1] = relaxation.sums_ms[tier, low : high + 1]
    return sums_ms


class Bound(NamedTuple):
    """A proven lower bound in ms of all joint actions with so many sharers; `hard_ms`, that of hard choices alone, to
    which reduced costs add; and `by_number_ms` (2, N + 1), one for each number of sharers of a tier."""

    total_ms: float
    hard_ms: float
    by_number_ms: Floats


def bound(relaxation: Relaxation, sums_ms: Floats, prices: Prices) -> Bound:
    """What hard choices prove at these prices. For each number of sharers of one tier, the devices nearest to it are
    taken, the other tier stays priced; so one tier's sharing costs what it does, whatever its shape."""
    prices = prices._replace(floor=max(0.0, prices.floor))  # below it nothing is proven: the floor may be kept amply
    costs_ms = per_tier(relaxation, prices)
    numbers = np.arange(sums_ms.shape[1])
    mu = (prices.edge, prices.cloud)
    tiers_ms = [float((sums_ms[tier] - mu[tier] * numbers).min()) for tier in (0, 1)]
    paid_ms = prices.floor * relaxation.budget
    choices_ms = costs_ms + np.array([[0.0], [mu[0]], [mu[1]]])
    alone_ms = choices_ms.min(axis=0)
    hard_ms = math.fsum(alone_ms.tolist()) + tiers_ms[0] + tiers_ms[1] - paid_ms
    scale_ms = float(np.abs(alone_ms).sum()) + sum(abs(tier_ms) for tier_ms in tiers_ms) + abs(paid_ms)
    by_number_ms = np.where(sums_ms < np.inf, hard_ms, np.inf)
    for tier in (0, 1):
        rest_ms = np.minimum(costs_ms[LOCAL], choices_ms[2 - tier])
        if rest_ms.max() < np.inf:
            joins_ms = np.sort(costs_ms[tier + 1] - rest_ms)
            base_ms = float(rest_ms.sum()) + tiers_ms[1 - tier] - paid_ms
            by_number_ms[tier] = base_ms + sums_ms[tier]
            by_number_ms[tier, 1:] += np.cumsum(joins_ms)
            scale_ms += float(np.abs(joins_ms[joins_ms < np.inf]).sum() + np.abs(rest_ms).sum())
    by_number_ms -= ROUNDING * scale_ms
    hard_ms -= ROUNDING * scale_ms
    return Bound(max(hard_ms, *by_number_ms.min(axis=1).tolist()), hard_ms, by_number_ms)


def per_tier(relaxation: Relaxation, prices: Prices) -> Floats:
    """(3, N): what a device pays at best on each tier, the floor's price included, the tier's not."""
    costs_ms = np.full((3, relaxation.own_ms.shape[1]), np.inf)
    for tier, rows in relaxation.rows:
        priced_ms = relaxation.own_ms[rows] + prices.floor * relaxation.deficits[rows, None]
        np.minimum.reduce(priced_ms, axis=0, out=costs_ms[tier])
    return costs_ms
