"""The prices that a joint action implies: what its own cheapest exchanges cost.

Where many devices are alike, all prefer the same thing at any price but one, and climbing may end far from it. A good
joint action tells that one: what a tenth of deficit more would save somebody, or less would cost.
"""

from __future__ import annotations

import numpy as np

from orchestrator.solver.lagrangian import Prices, Relaxation, per_tier
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL, Floats, Ints

ODD = 20  # one of so many devices may have a part of its own in filling the budget


def implied(relaxation: Relaxation, sums_ms: Floats, rows: Ints) -> list[Prices]:
    """Candidates, from a feasible joint action (a row per device). Any of them proves something; none has to prove
    much."""
    return [_with_tiers(relaxation, sums_ms, rows, floor) for floor in _of_floor(relaxation, sums_ms, rows)]


def _of_floor(relaxation: Relaxation, sums_ms: Floats, rows: Ints) -> list[float]:
    """The most that a tenth more would save some device, and the least that one less would cost one; whoever joins a
    tier or leaves it is charged what that makes the tier dearer or cheaper."""
    devices = np.arange(len(rows))
    times_ms = relaxation.own_ms.copy()
    for tier, own in relaxation.rows:
        if tier != LOCAL:
            there = relaxation.tier[rows] == tier
            leaves_ms, joins_ms = _marginal(sums_ms[tier - 1], int(there.sum()))
            times_ms[own] += np.where(there, leaves_ms, joins_ms)
    more = relaxation.deficits[:, None] - relaxation.deficits[rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        rate_ms = (times_ms[rows, devices] - times_ms) / more  # ms that are saved per tenth
    known = np.isfinite(rate_ms)
    saved_ms = np.sort(np.where(known & (more > 0), rate_ms, -np.inf).max(axis=0))
    cost_ms = np.sort(np.where(known & (more < 0), rate_ms, np.inf).min(axis=0))
    # A device that fills the last gap of the budget exchanges at rates of its own: so also without the extremes.
    odd = max(1, len(rows) // ODD)
    told = (
        (saved_ms[-1], cost_ms[0], saved_ms[-1 - odd], cost_ms[odd]) if len(rows) > odd else (saved_ms[-1], cost_ms[0])
    )
    return sorted({max(0.0, float(ms)) for ms in told if np.isfinite(ms)} or {0.0})


def _marginal(sums_ms: Floats, number: int) -> tuple[float, float]:
    """What the last sharer costs all of them, and what one more would; inf where the tier does not take so many."""
    here_ms = float(sums_ms[number])
    if not np.isfinite(here_ms):
        return np.inf, np.inf
    less_ms = float(sums_ms[number - 1]) if number else np.inf
    more_ms = float(sums_ms[number + 1]) if number + 1 < len(sums_ms) else np.inf
    return (here_ms - less_ms if less_ms < np.inf else np.inf), more_ms - here_ms


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
    leaves_ms, joins_ms = _marginal(sums_ms, number)
    if leaves_ms < np.inf:
        least_ms.append(leaves_ms)
    if joins_ms < np.inf:
        most_ms.append(joins_ms)
    low_ms, high_ms = max(least_ms), min(most_ms)
    if not np.isfinite(low_ms):
        return high_ms if np.isfinite(high_ms) else 0.0
    return (low_ms + high_ms) / 2 if low_ms < high_ms < np.inf else low_ms
