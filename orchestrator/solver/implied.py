"""The prices that a joint action implies: what its own cheapest exchanges cost.

Where many devices are alike, all prefer the same thing at any price but one, and climbing may end far from it. A good
joint action tells that one: what a tenth of deficit more would save somebody, or less would cost.
"""

from __future__ import annotations

import numpy as np

from orchestrator.solver.lagrangian import Prices, Relaxation, per_tier
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL, Floats, Ints


def implied(relaxation: Relaxation, sums_ms: Floats, rows: Ints) -> list[Prices]:
    """Candidates, from a feasible joint action (a row per device). Any of them proves something; none has to prove
    much."""
    return [_with_tiers(relaxation, sums_ms, rows, floor) for floor in _of_floor(relaxation, rows)]


def _of_floor(relaxation: Relaxation, rows: Ints) -> list[float]:
    """The most that a tenth more would save a device that stays on its tier, and the least that one less would cost."""
    devices = np.arange(len(rows))
    own_ms, deficits = relaxation.own_ms[rows, devices], relaxation.deficits[rows]
    here = relaxation.tier[:, None] == relaxation.tier[rows]
    more = relaxation.deficits[:, None] - deficits
    with np.errstate(invalid="ignore", divide="ignore"):
        rate_ms = (own_ms - relaxation.own_ms) / more  # ms that are saved per tenth
    known = here & (relaxation.own_ms < np.inf)
    saved_ms = np.where(known & (more > 0), rate_ms, -np.inf).max()
    cost_ms = np.where(known & (more < 0), rate_ms, np.inf).min()
    return sorted({max(0.0, float(ms)) for ms in (saved_ms, cost_ms) if np.isfinite(ms)} or {0.0})


def _with_tiers(relaxation: Relaxation, sums_ms: Floats, rows: Ints, floor_ms: float) -> Prices:
    costs_ms = per_tier(relaxation, Prices(floor_ms, 0.0, 0.0))
    tiers = relaxation.tier[rows]
    return Prices(floor_ms, *(_of_tier(costs_ms, sums_ms[tier - 1], tiers, tier) for tier in (EDGE, CLOUD)))


def _of_tier(costs_ms: Floats, sums_ms: Floats, tiers: Ints, tier: int) -> float:
    """Between what the devices there gain by it and what the others would, and what one sharer less or more costs."""
    free = np.isfinite(costs_ms[LOCAL]) & np.isfinite(costs_ms[tier])  # to be here or there
    gain_ms = costs_ms[LOCAL, free] - costs_ms[tier, free]
    number = int((tiers == tier).sum())
    least_ms = [float(gain_ms[tiers[free] == LOCAL].max(initial=-np.inf))]
    most_ms = [float(gain_ms[tiers[free] == tier].min(initial=np.inf))]
    if sums_ms[number] < np.inf:  # else the joint action is none of this part of the search
        if number and sums_ms[number - 1] < np.inf:
            least_ms.append(float(sums_ms[number] - sums_ms[number - 1]))
        if number + 1 < len(sums_ms):
            most_ms.append(float(sums_ms[number + 1] - sums_ms[number]))
    low_ms, high_ms = max(least_ms), min(most_ms)
    if not np.isfinite(low_ms):
        return high_ms if np.isfinite(high_ms) else 0.0
    return (low_ms + high_ms) / 2 if low_ms < high_ms < np.inf else low_ms
