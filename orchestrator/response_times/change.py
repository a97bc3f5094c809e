"""Change detection: two-sided CUSUM on standardised residuals, cut off so that an outlier alone raises no alarm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.response_times.observed import Floats, Ints

CUT = 4.0  # standard deviations; no single measurement says more
ALLOWANCE = 1.5
ALARM = 8.0  # four measurements on end that are far off; docs/learning.md has how seldom it is false
SUSPICION = 2.0  # then one more look is taken at once


@dataclass(frozen=True, slots=True)
class Changes:
    """Places in what was noted. `moved`: by how much each of `changed` did, `since` so many measurements.

    `drifting`: half way to an alarm. `suspect`: the newest measurement alone is strange.
    """

    changed: Ints
    moved: Floats
    since: Ints
    drifting: Ints
    suspect: Ints


class Cusum:
    """One test per row, up and down. Grows with the rows; the alarm rises with their number. Mutable."""

    def __init__(self) -> None:
        self._sums = np.zeros((0, 2))
        self._moved = np.zeros((0, 2))
        self._since = np.zeros((0, 2), dtype=np.int64)

    def note(self, rows: Ints, residuals: Floats, sds: Floats) -> Changes:
        """Residuals with their standard deviations, one per row. A row with an alarm begins anew."""
        self._grow(int(rows.max(initial=-1)) + 1)
        strange = residuals / sds
        cut = np.clip(strange, -CUT, CUT)
        sums = np.maximum(0.0, self._sums[rows] + np.stack([cut, -cut], axis=1) - ALLOWANCE)
        lasting = sums > 0
        self._sums[rows] = sums
        self._since[rows] = np.where(lasting, self._since[rows] + 1, 0)
        self._moved[rows] = np.where(lasting, self._moved[rows] + residuals[:, None], 0.0)
        alarm = ALARM + math.log(max(1, len(self._sums))) / 2
        changed = np.flatnonzero(sums.max(axis=1) >= alarm)
        at = rows[changed], sums[changed].argmax(axis=1)
        since = self._since[at]
        drifting = np.flatnonzero(sums.max(axis=1) >= alarm / 2)
        suspect = np.flatnonzero(abs(strange) > SUSPICION)
        found = Changes(changed, self._moved[at] / np.maximum(1, since), since, drifting, suspect)
        self._sums[rows[changed]] = self._moved[rows[changed]] = 0.0
        self._since[rows[changed]] = 0
        return found

    def keep(self, rows: Ints) -> None:
        """Forget all rows but these, which get new numbers in this order."""
        self._grow(int(rows.max(initial=-1)) + 1)
        self._sums, self._moved, self._since = self._sums[rows], self._moved[rows], self._since[rows]

    def save(self) -> dict[str, npt.NDArray[Any]]:
        """All of it, as arrays."""
        return {"sums": self._sums.copy(), "moved": self._moved.copy(), "since": self._since.copy()}

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """What `save` gave. Raises KeyError or ValueError."""
        shape = (len(arrays["sums"]), 2)
        values = [arrays[name] for name in ("sums", "moved", "since")]
        if any(array.shape != shape or not np.isfinite(array).all() for array in values):
            raise ValueError("sums of another shape, or not finite")
        self._sums, self._moved = arrays["sums"].astype(float), arrays["moved"].astype(float)
        self._since = arrays["since"].astype(np.int64)

    def _grow(self, rows: int) -> None:
        more = rows - len(self._sums)
        if more > 0:
            self._sums, self._moved = (
                np.concatenate([values, np.zeros((more, 2))]) for values in (self._sums, self._moved)
            )
            self._since = np.concatenate([self._since, np.zeros((more, 2), dtype=np.int64)])
