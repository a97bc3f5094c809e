"""Least squares that a few wild rows do not bend: soft_l1 weights, found by iteration.

A row that is r away counts 1/sqrt(1 + (r/s)^2), with s = 1.345 robust deviations, as is usual (95 % of the efficiency
of plain least squares on normal errors). The sum that this minimises is convex: what it starts from does not matter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

TUNING = 1.345
MAD_TO_DEVIATION = 1.4826  # of a normal distribution
ITERATIONS = 50
SAME = 1e-9  # relative change at which the iteration has ended
LEAST_SPREAD = 1e-4  # of the typical value: emulated times do not vary at all

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def spread(values: Floats) -> float:
    """The robust standard deviation: 1.4826 times the median distance from the median."""
    return float(MAD_TO_DEVIATION * np.median(np.abs(values - np.median(values))))


def _weights(residuals: Floats, least: float) -> Floats:
    scale = TUNING * max(MAD_TO_DEVIATION * float(np.median(np.abs(residuals))), least)
    weights: Floats = 1.0 / np.sqrt(1.0 + (residuals / scale) ** 2)
    return weights


def fit_non_negative(columns: Floats, values: Floats) -> Floats:
    """(C,) coefficients, none below 0, with `columns` (R, C) times them near `values` (R,). Any unit."""
    least = max(LEAST_SPREAD * float(np.median(np.abs(values))), 1e-12)
    weights = np.ones(len(values))
    found = np.zeros(columns.shape[1])
    for _ in range(ITERATIONS):
        before, root = found, np.sqrt(weights)
        found, _ = nnls(columns * root[:, None], values * root)
        if np.allclose(found, before, rtol=SAME, atol=0.0):
            break
        weights = _weights(values - columns @ found, least)
    return found


def centre(values: Floats) -> float:
    """A mean that outliers hardly move, of values that are not negative."""
    return float(fit_non_negative(np.ones((len(values), 1)), values)[0])


def fit_two_way(values: Floats, row: Ints, column: Ints, shape: tuple[int, int]) -> Floats:
    """(shape[0],): what each row of a two-way table adds to its `values` (R,), beside what its column adds.

    Up to a constant per connected part of the table. A row that does not occur gets 0.
    """
    rows, columns = shape
    cell = row * columns + column
    weights = np.ones(len(values))
    found = np.zeros(rows + columns)
    for _ in range(ITERATIONS):
        before = found
        weight = np.bincount(cell, weights, rows * columns).reshape(shape)
        total = np.bincount(cell, weights * values, rows * columns).reshape(shape)
        normal = np.block([[np.diag(weight.sum(axis=1)), weight], [weight.T, np.diag(weight.sum(axis=0))]])
        found = np.linalg.lstsq(normal, np.concatenate([total.sum(axis=1), total.sum(axis=0)]), rcond=None)[0]
        if np.allclose(found, before, rtol=SAME, atol=SAME):
            break
        weights = _weights(values - found[row] - found[rows + column], LEAST_SPREAD)
    return found[:rows]
