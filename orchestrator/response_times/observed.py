"""What was measured of local runs: the newest measurements one by one, older ones as weighted sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KEPT = 8  # newest measurements of a device with a model that can still be reweighed
MOST_COUNTED = 400.0  # older ones together never count for more, so what drifts slowly is followed
MAX_LOG_MS = 40.0  # of what a file says; a day is 18.3, and shifts may go beyond
KEPT_AFTER_CHANGE = 1.0  # what a cell counts for, once its device has changed


class Observed:
    """R devices, C classes, M models; grows with both. Mutable."""

    def __init__(self, models: int) -> None:
        self.classes = 1
        self._models = models
        self._log_ms = np.zeros((0, models, KEPT))
        self._weights = np.zeros((0, models, KEPT))
        self._kinds = np.full((0, models, KEPT), -1)
        self._next = np.zeros((0, models), dtype=np.int64)
        self._count = np.zeros((0, 1, models))
        self._total = np.zeros((0, 1, models))

    @property
    def rows(self) -> int:
        """R."""
        return len(self._next)

    def grow(self, rows: int, classes: int) -> bool:
        """Make room for so many; whether there was none."""
        more, kinds = max(0, rows - self.rows), max(0, classes - self.classes)
        if more:
            self._log_ms = _longer(self._log_ms, more)
            self._weights = _longer(self._weights, more)
            self._kinds = np.concatenate([self._kinds, np.full((more, self._models, KEPT), -1)])
            self._next = np.concatenate([self._next, np.zeros((more, self._models), dtype=np.int64)])
            self._count, self._total = _longer(self._count, more), _longer(self._total, more)
        if kinds:
            room = np.zeros((self.rows, kinds, self._models))
            self._count = np.concatenate([self._count, room], axis=1)
            self._total = np.concatenate([self._total, room], axis=1)
            self.classes += kinds
        return bool(more or kinds)

    def add(self, rows: Ints, models: Ints, kinds: Ints, log_ms: Floats) -> None:
        """One measurement each; no cell twice in one call."""
        self.grow(int(rows.max()) + 1, int(kinds.max()) + 1)
        at = self._next[rows, models]
        self._fold(rows, models, at)
        self._log_ms[rows, models, at] = log_ms
        self._weights[rows, models, at] = 1.0
        self._kinds[rows, models, at] = kinds
        self._next[rows, models] = (at + 1) % KEPT

    def _fold(self, rows: Ints, models: Ints, at: Ints) -> None:
        """What is in these places goes into the sums."""
        old = self._kinds[rows, models, at]
        full = old >= 0
        rows, models, at, old = rows[full], models[full], at[full], old[full]
        weight = self._weights[rows, models, at]
        count = self._count[rows, old, models] + weight
        total = self._total[rows, old, models] + weight * self._log_ms[rows, models, at]
        least = np.minimum(1.0, MOST_COUNTED / np.maximum(count, 1e-9))
        self._count[rows, old, models], self._total[rows, old, models] = count * least, total * least

    def keep(self, rows: Ints) -> None:
        """Forget all devices but these, which get new rows in this order."""
        self._log_ms, self._weights, self._kinds = self._log_ms[rows], self._weights[rows], self._kinds[rows]
        self._next, self._count, self._total = self._next[rows], self._count[rows], self._total[rows]

    def any(self) -> bool:
        """Whether anything was measured."""
        return bool((self._kinds >= 0).any())

    def sums(self) -> tuple[Floats, Floats]:
        """(R, C, M): how much counts, and the weighted sum of log ms."""
        count, total = self._count.copy(), self._total.copy()
        weighted = self._weights * self._log_ms
        for kind in range(self.classes):
            here = self._kinds == kind
            count[:, kind] += (self._weights * here).sum(axis=2)
            total[:, kind] += (weighted * here).sum(axis=2)
        return count, total

    def places(self) -> tuple[Ints, Ints, Ints]:
        """Device, model and class of each measurement that is still kept by itself."""
        self._where = np.nonzero(self._kinds >= 0)
        return self._where[0], self._where[1], self._kinds[self._where]

    def log_ms(self) -> Floats:
        """In the order of `places`."""
        values: Floats = self._log_ms[self._where]
        return values

    def weigh(self, weights: Floats) -> None:
        """In the order of `places`."""
        self._weights[self._where] = weights

    def shift(self, row: int, log_by: float) -> None:
        """Move all that is known of a device, and let it count for little beside what comes."""
        self._log_ms[row] += log_by
        self._total[row] += self._count[row] * log_by
        for model in range(self._models):
            for at in np.flatnonzero(self._kinds[row, model] >= 0):
                self._fold(np.array([row]), np.array([model]), np.array([at]))
        self._kinds[row], self._weights[row] = -1, 0.0
        counted = self._count[row].sum(axis=0)
        least = np.minimum(1.0, KEPT_AFTER_CHANGE / np.maximum(counted, 1e-9))
        self._count[row] *= least
        self._total[row] *= least

    def save(self) -> dict[str, npt.NDArray[Any]]:
        """All of it, as arrays."""
        return {
            "log_ms": self._log_ms.copy(),
            "weights": self._weights.copy(),
            "kinds": self._kinds.copy(),
            "next": self._next.copy(),
            "count": self._count.copy(),
            "total": self._total.copy(),
        }

    def _with_room(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """The arrays with a place for each model. Raises KeyError or ValueError."""
        axes = {name: 2 if name in ("count", "total") else 1 for name in self.save()}
        if any(arrays[name].ndim <= axis for name, axis in axes.items()):
            raise ValueError("arrays with an axis that is not there")
        models = {arrays[name].shape[axis] for name, axis in axes.items()}
        if len(models) != 1:
            raise ValueError(f"arrays of different numbers of models, {models}: some are not there")
        missing = max(0, self._models - models.pop())
        padded = {}
        for name, axis in axes.items():
            room = [(0, missing if place == axis else 0) for place in range(arrays[name].ndim)]
            padded[name] = np.pad(arrays[name], room, constant_values=-1 if name == "kinds" else 0)
        return padded

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """What `save` gave, perhaps with fewer models: newer ones come last. Raises KeyError or ValueError."""
        arrays = self._with_room(arrays)
        rows, classes = len(arrays["next"]), arrays["count"].shape[1]
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("log_ms", "weights", "kinds"), (rows, self._models, KEPT))
        shapes |= {"next": (rows, self._models), "count": (rows, classes, self._models)}
        shapes["total"] = shapes["count"]
        for name, shape in shapes.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} of shape {arrays[name].shape}, or not finite")
        if (arrays["weights"] < 0).any() or (arrays["count"] < 0).any():
            raise ValueError("weights or counts below 0")
        log_ms, total, count = arrays["log_ms"], arrays["total"], arrays["count"]
        if (abs(log_ms) > MAX_LOG_MS).any() or (abs(total) > MAX_LOG_MS * count + 1e-6).any():
            raise ValueError("response times of more than can be")
        kinds, places = arrays["kinds"], arrays["next"]
        if kinds.size and not (-1 <= kinds.min() <= kinds.max() < classes and 0 <= places.min() <= places.max() < KEPT):
            raise ValueError("classes or places that are not there")
        self._log_ms, self._weights = arrays["log_ms"].astype(float), arrays["weights"].astype(float)
        self._kinds, self._next = kinds.astype(np.int64), places.astype(np.int64)
        self._count, self._total = arrays["count"].astype(float), arrays["total"].astype(float)
        self.classes = classes


def _longer(values: Floats, more: int) -> Floats:
    return np.concatenate([values, np.zeros((more, *values.shape[1:]))])
