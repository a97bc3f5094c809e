"""Devices that differ: speeds and device-and-model factors, drawn so that device i is the same on a site of any size.

A generator fills an array row by row, so the first devices of a larger site are those of a smaller one.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from configs.calibration import InteractionsSection, SpeedSpreadSection

SPEEDS, INTERACTIONS = 1, 2  # the streams of one seed, so that equal seeds draw independent numbers

Floats = npt.NDArray[np.float64]


def speeds(spread: SpeedSpreadSection, users: int) -> Floats:
    """(N,): log-uniform between the slowest and the fastest."""
    uniform = np.random.default_rng([spread.seed, SPEEDS]).random(users)
    drawn: Floats = spread.slowest * (spread.fastest / spread.slowest) ** uniform
    return drawn


def interaction_factors(interactions: InteractionsSection, users: int, models: int) -> Floats:
    """(N, M): lognormal factors of mean 1."""
    variance = math.log1p((interactions.sd_percent / 100) ** 2)
    normal = np.random.default_rng([interactions.seed, INTERACTIONS]).standard_normal((users, models))
    return np.exp(math.sqrt(variance) * normal - variance / 2)
