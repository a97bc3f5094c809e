"""The prices that prove most (see `lagrangian`), nearly.

Soft choices at a falling temperature make the bound smooth, and Newton's method climbs it in about a dozen steps. What
is proven is taken from the prices alone, with hard choices: nothing here can make it wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.solver.lagrangian import Prices, Relaxation, per_tier
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL, Floats, Ints

# Temperatures, as shares of what a device pays on average: hot enough to see the whole problem, cold enough for a bound
# within a few hundred-thousandths of the best one.
HOT, WARM, COLD = 0.1, 0.01, 0.0005
COOLING = 0.15
REACH = 16  # temperatures that a price may move in one step
WINDOW = 2  # temperatures to either side, over which the number that a tier takes is averaged
SIDES = np.arange(4)
MOST_LOOKS = 32  # at slope and bend; about a dozen are usual


def climb(relaxation: Relaxation, sums_ms: Floats, start: Prices | None) -> tuple[Prices, tuple[int, int]]:
    """The prices that prove most, nearly, and how many choose edge and cloud at them, where devices that are undecided
    count in part. Prices to start with spare the first steps."""
    # Far from the top, soft choices underflow, and some BLAS report what is none; nothing proven depends on it.
    with np.errstate(all="ignore"):
        return _climb(relaxation, sums_ms, start)


def _climb(relaxation: Relaxation, sums_ms: Floats, start: Prices | None) -> tuple[Prices, tuple[int, int]]:
    scale_ms = float(np.minimum.reduce(relaxation.own_ms, axis=0).mean()) + 1.0
    smooth = _Smooth(relaxation, sums_ms)
    if start is not None and not np.isfinite(start).all():
        start = None
    heat = scale_ms * (HOT if start is None else WARM)
    at: Floats = smooth.first() if start is None else np.array(start)
    here = smooth.at(at, heat)
    enough_ms = 2e-5 * scale_ms * relaxation.own_ms.shape[1]
    while smooth.looked < MOST_LOOKS:
        step = _step(at, here, smooth.reach(heat))
        hoped_ms = float(step @ here[0])
        if hoped_ms <= enough_ms * max(1.0, heat / (scale_ms * WARM)):
            if heat <= COLD * scale_ms:
                break
            cooler = max(heat * COOLING, COLD * scale_ms)
            at, heat = smooth.cooled(at, heat, cooler), cooler
            here = smooth.at(at, heat)
            continue
        at, here = _along(smooth, at, step, hoped_ms, heat)
    prices = at if np.isfinite(at).all() else np.zeros(3)
    return Prices(*prices.tolist()), smooth.on_tiers()


def _along(smooth: _Smooth, at: Floats, step: Floats, hoped_ms: float, heat: float) -> tuple[Floats, Any]:
    """A step, shortened where it climbs over the ridge and far down the other side."""
    share = 1.0
    for _ in range(4):
        there = smooth.at(at + share * step, heat)
        rising_ms = float(step @ there[0])
        if rising_ms >= -0.5 * hoped_ms:
            break
        share *= min(0.7, max(0.1, hoped_ms / (hoped_ms - rising_ms)))
    return at + share * step, there


def _step(at: Floats, here: tuple[Floats, Floats], reach: tuple[float, float]) -> Floats:
    """Newton's step; the floor's price stays at 0 or above.

    Where the bound bends little here and sharply further on (nobody is undecided, or all join at one price), Newton's
    step would leap: so each price is damped to go no further than `reach` at a time. Near the top that damps nothing.
    """
    slope: list[float] = here[0].tolist()
    (a, b, c), (_, d, e), (_, _, f) = here[1].tolist()
    a += abs(slope[0]) / reach[0] + 1e-5 * a + 1e-9
    d += abs(slope[1]) / reach[1] + 1e-5 * d + 1e-9
    f += abs(slope[2]) / reach[1] + 1e-5 * f + 1e-9
    floor = float(at[0])
    if floor > 0 or slope[0] > 0:
        # By Cramer's rule: for three unknowns LAPACK takes five times as long.
        ad, ae, af = d * f - e * e, c * e - b * f, b * e - c * d
        step = (ad * slope[0] + ae * slope[1] + af * slope[2]) / (a * ad + b * ae + c * af)
        if floor + step >= 0:
            return _rest_of_step(step, slope, (b, c, d, e, f))
    return _rest_of_step(-floor, slope, (b, c, d, e, f))


def _rest_of_step(floor: float, slope: list[float], bend: tuple[float, float, float, float, float]) -> Floats:
    """The whole step, where the floor's part of it is given."""
    b, c, d, e, f = bend
    edge, cloud = slope[1] - b * floor, slope[2] - c * floor
    whole = d * f - e * e
    return np.array([floor, (f * edge - e * cloud) / whole, (d * cloud - e * edge) / whole])


def _floor_of_average(relaxation: Relaxation) -> float:
    """The floor's price in ms per tenth that proves most for a device with everybody's mean times, off the tiers."""
    rows = slice(0, int(np.searchsorted(relaxation.tier, EDGE)))
    mean_ms = relaxation.own_ms[rows].mean(axis=1)
    finite = np.isfinite(mean_ms)
    mean_ms, deficits = mean_ms[finite], relaxation.deficits[rows][finite]
    if not len(mean_ms):
        return 0.0
    dearer, fewer = mean_ms[:, None] - mean_ms, deficits - deficits[:, None]
    rates = np.append((dearer[fewer > 0] / fewer[fewer > 0]).clip(0), 0.0)
    budget = relaxation.budget / relaxation.own_ms.shape[1]
    proven_ms = (mean_ms + rates[:, None] * deficits).min(axis=1) - rates * budget
    return float(rates[int(proven_ms.argmax())])


class _Smooth:
    """Slope and bend of the smoothed bound. Choices are soft (a softmin of so many ms); a tier's number is what it
    takes on average over prices within a window, so that no hull is needed. Mutable: the last choices, and how often it
    was asked."""

    def __init__(self, relaxation: Relaxation, sums_ms: Floats) -> None:
        self.relaxation = relaxation
        self.weights = relaxation.weights.astype(np.float32)
        self.numbers = np.arange(sums_ms.shape[1], dtype=np.float64)
        self.sums_ms = sums_ms[[0, 0, 1, 1]]
        self.usual_deficit = max(1.0, float(relaxation.deficits.mean()))
        self.looked = 0
        self.buffer = np.empty_like(relaxation.rough_ms)

    def on_tiers(self) -> tuple[int, int]:
        """How many chose edge and cloud when `at` was last called."""
        mass = np.nan_to_num(self.buffer.sum(axis=1))
        edge, cloud = (self.weights[1:] * mass).sum(axis=1).round().tolist()
        return int(edge), int(cloud)

    def first(self) -> Floats:
        """Prices to begin with: the floor's as if all devices were the average one, a tier's where as many would pay it
        to leave their own board as it takes at that price, were it the only one."""
        floor = 0.1 * _floor_of_average(self.relaxation)
        costs_ms = per_tier(self.relaxation, Prices(floor, 0.0, 0.0))
        prices = [floor]
        for tier, sums_ms in ((EDGE, self.sums_ms[0]), (CLOUD, self.sums_ms[2])):
            may = np.isfinite(costs_ms[LOCAL]) & np.isfinite(costs_ms[tier])
            gains_ms = np.sort(costs_ms[LOCAL, may] - costs_ms[tier, may])[::-1]
            left_ms = sums_ms[1 : len(gains_ms) + 1] - np.cumsum(gains_ms)
            prices.append(float(gains_ms[int(left_ms.argmin())]) if len(gains_ms) else 0.0)
        return np.array(prices)

    def reach(self, heat: float) -> tuple[float, float]:
        """How far the floor's price, and a tier's, may go in one step."""
        return REACH * heat / self.usual_deficit, REACH * heat

    def taken(self, at: Floats, window: float) -> tuple[Ints, list[float]]:
        """The numbers that edge and cloud take at the lower and at the upper end of the window, and what is left."""
        prices = np.array([at[1] - window, at[1] + window, at[2] - window, at[2] + window])
        left_ms = self.sums_ms - prices[:, None] * self.numbers
        taken: Ints = left_ms.argmin(axis=1)
        return taken, left_ms[SIDES, taken].tolist()

    def cooled(self, at: Floats, heat: float, cooler: float) -> Floats:
        """The prices at which the tiers take what they took at `heat`: nearer to the price where the number jumps."""
        taken, _ = self.taken(at, WINDOW * heat)
        sums_ms = self.sums_ms[SIDES, taken]
        cooled = at.copy()
        for tier, low in ((EDGE, 0), (CLOUD, 2)):
            if taken[low] < taken[low + 1]:
                jump = (sums_ms[low + 1] - sums_ms[low]) / (taken[low + 1] - taken[low])
                cooled[tier] = jump + (at[tier] - jump) * cooler / heat
        return cooled

    def at(self, at: Floats, heat: float) -> tuple[Floats, Floats]:
        """The slope (3,), and the bend (3, 3): minus the second derivative."""
        self.looked += 1
        soft, weights = self.buffer, self.weights
        np.add(self.relaxation.rough_ms, (at @ self.relaxation.weights).astype(np.float32)[:, None], out=soft)
        soft -= np.minimum.reduce(soft, axis=0)
        soft *= np.float32(-1 / heat)
        np.exp(soft, out=soft)
        soft /= np.add.reduce(soft, axis=0)
        mass, mean = soft.sum(axis=1), weights @ soft
        slope = (weights @ mass).astype(np.float64)
        bend = ((weights * mass) @ weights.T - mean @ mean.T).astype(np.float64) / heat
        window = WINDOW * heat
        taken, (low_1, high_1, low_2, high_2) = self.taken(at, window)
        slope -= (self.relaxation.budget, (low_1 - high_1) / (2 * window), (low_2 - high_2) / (2 * window))
        bend[1, 1] += (taken[1] - taken[0]) / (2 * window)
        bend[2, 2] += (taken[3] - taken[2]) / (2 * window)
        return slope, bend
