"""What jobs that start together take on one serving tier: the shapes of its contention, and its queue's order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from broker.vocabulary import ModelName
from configs.calibration import Shape, TierSection

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def shared_ms(tier: TierSection, model: ModelName, users: int) -> Floats:
    """(users + 1,): what each of k jobs takes on average; index 0 is unused and holds that of one."""
    sharers = np.maximum(1, np.arange(users + 1))
    return tier.compute_ms[model] * (1.0 + _slowdown(tier, sharers))


def _slowdown(tier: TierSection, sharers: npt.NDArray[np.int64]) -> Floats:
    """By what share of its time alone a job takes longer; the formulas of `configs.calibration.Shape`."""
    if tier.shape is Shape.KINKED:
        above: Floats = tier.contention * tier.steepness * np.maximum(0, sharers - tier.vcpus) / tier.vcpus
        return above
    if tier.shape is Shape.LINEAR:
        linear: Floats = tier.contention * (sharers - 1) / tier.vcpus
        return linear
    load: Floats = (sharers - 1) / tier.vcpus
    if tier.shape is Shape.CONVEX:
        convex: Floats = tier.contention * load**tier.exponent
        return convex
    saturating: Floats = tier.contention * tier.steepness * tier.half_at * load / (tier.half_at + load)
    return saturating


def fifo_shares(draws: Floats, queued: Bools) -> tuple[Floats, Floats]:
    """(B, N) each: how long the jobs wait, and then compute, as shares of what one of them takes on average.

    Where `queued` (B, N), the job at place p of k waits for 2 (p - 1) / (k + 1) and computes for 2 / (k + 1), so that
    the mean of the sums is 1; elsewhere both are 0. Places are the order of `draws` (B, N), independent and uniform.
    """
    order = np.argsort(draws, axis=1)
    places = np.empty(draws.shape)
    np.put_along_axis(places, order, np.cumsum(np.take_along_axis(queued, order, axis=1), axis=1), axis=1)
    compute = queued * (2.0 / (queued.sum(axis=1) + 1))[:, None]
    return compute * (places - 1.0) * queued, compute
