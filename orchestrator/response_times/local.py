"""Times of local runs: device and model factors with shrinkage between like devices.

    log T = theta[class, model] + alpha[device] + gamma[device, model] + noise

`class` is what the state tells of the device (link, busy or not); theta is a level, a model's factor, a class's factor
and the interaction of both, each with a Gaussian prior; alpha and gamma are Gaussian with variances that are learned
(empirical Bayes), so that devices share what they have in common and no more. Noise is Student's t: an outlier counts
little, and no longer at all once more is known. The posterior is exact for given variances and weights, in time linear
in the number of devices: given theta the devices are independent, and each is a diagonal plus a matrix of rank one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.response_times.noise import NOISE_SD, NOISE_WEIGHT, weights_of
from orchestrator.response_times.observed import Floats, Ints, Observed

LEVEL = np.log(200.0)  # ms; any order of magnitude does, its deviation is wide
LEVEL_SD, MODEL_SD, CLASS_SD, CLASS_MODEL_SD = 2.5, 1.0, 0.5, 0.3
# Guesses of the standard deviations, in shares of a response time, and for how many observations they count.
DEVICE_SD, DEVICE_WEIGHT = 0.3, 1.0
INTERACTION_SD, INTERACTION_WEIGHT = 0.15, 2.0
SWEEPS = 2  # of reweighting, per round: from round to round it goes on where it was


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations, as learned so far: noise of one measurement, devices, and devices with models."""

    noise: float = NOISE_SD
    device: float = DEVICE_SD
    interaction: float = INTERACTION_SD


class LocalTimes:
    """The posterior over local response times of R devices with M models in C classes. Mutable: `learn`."""

    def __init__(self, models: int) -> None:
        self.observed = Observed(models)
        self.spread = Spread()
        self._models = models
        self._classes = 0
        self._stale = True

    def learn(self, rows: Ints, models: Ints, classes: Ints, log_ms: Floats) -> None:
        """One round: device `rows[j]` ran `models[j]` while in `classes[j]`; no device twice."""
        self.observed.add(rows, models, classes, log_ms)
        self._stale = True

    def keep(self, rows: Ints) -> None:
        """Forget all devices but these, which get new rows in this order."""
        self.observed.keep(rows)
        self._stale = True

    def shift(self, row: int, log_by: float) -> None:
        """The device changed by this factor: what is known of it moves along, and counts for little."""
        self.observed.shift(row, log_by)
        self._stale = True

    def predict(self, rows: Ints, classes: Ints) -> tuple[Floats, Floats]:
        """(N, M) mean of the logarithm, and its standard deviation, of these devices in these classes."""
        self._grow(int(rows.max()) + 1, int(classes.max()) + 1)
        if self._stale:
            self._update()
        theta = self._theta.reshape(self._classes, self._models)[classes]
        mean: Floats = theta + self._own[rows]
        return mean, np.sqrt(self._variance(rows, classes))

    def about(self) -> dict[str, Any]:
        """JSON with which, and with what was observed, `load` goes on exactly here."""
        spread = self.spread
        return {"spread": [spread.noise, spread.device, spread.interaction], "stale": self._stale}

    def load(self, about: Mapping[str, Any], observed: Mapping[str, npt.NDArray[Any]]) -> None:
        """Into a new object. Raises KeyError, TypeError or ValueError."""
        self.observed.load(observed)
        noise, device, interaction = (float(sd) for sd in about["spread"])
        self.spread = Spread(noise, device, interaction)
        if not all(0 < sd < 100 for sd in about["spread"]):
            raise ValueError("standard deviations out of bounds")
        self._classes = self.observed.classes
        if not about["stale"]:
            self._precision = np.linalg.inv(self._prior())
            self._solve()
            self._stale = False

    def _grow(self, rows: int, classes: int) -> None:
        self._stale |= self.observed.grow(rows, classes) or classes > self._classes
        self._classes = max(self._classes, self.observed.classes)

    def _prior(self) -> Floats:
        """(C M, C M): the covariance of theta before anything was seen."""
        kinds, models = np.arange(self._classes).repeat(self._models), np.tile(np.arange(self._models), self._classes)
        same_class, same_model = kinds[:, None] == kinds, models[:, None] == models
        prior: Floats = (
            LEVEL_SD**2
            + CLASS_SD**2 * same_class
            + MODEL_SD**2 * same_model
            + CLASS_MODEL_SD**2 * (same_class & same_model)
        )
        return prior

    def _update(self) -> None:
        """Weights of single observations, the posterior, and the variances, each given the others."""
        self._precision = np.linalg.inv(self._prior())
        for _ in range(SWEEPS):
            self._solve()
            self._reweigh()
        self._solve()
        self._stale = False

    def _solve(self) -> None:
        """Exact, for the weights and variances as they are."""
        noise, device, interaction = (sd**2 for sd in (self.spread.noise, self.spread.device, self.spread.interaction))
        count, total = self.observed.sums()
        self._weight = count / noise  # (R, C, M)
        pull = (total - count * LEVEL) / noise
        self._u = 1.0 / (1.0 / interaction + self._weight.sum(axis=1))  # (R, M)
        coupling = device / (interaction * (interaction + self._models * device))
        self._r = coupling / (1.0 - coupling * self._u.sum(axis=1))  # (R,)
        devices = len(count)
        weight, pulled = self._weight.reshape(devices, -1), pull.sum(axis=1)
        self._scaled = (self._weight * self._u[:, None]).reshape(devices, -1)  # (R, C M)
        information = np.diag(weight.sum(axis=0)) - self._scaled.T @ (self._scaled * self._r[:, None])
        paired = np.einsum("icm,idm->cdm", self._weight * self._u[:, None], self._weight)
        for model in range(self._models):
            information[model :: self._models, model :: self._models] -= paired[:, :, model]
        drawn = pull - self._weight * self._in_device(pulled)[:, None]
        self._covariance = np.linalg.inv(self._precision + information)
        centred = self._covariance @ drawn.reshape(devices, -1).sum(axis=0)
        self._theta = LEVEL + centred
        explained = (self._weight * centred.reshape(self._classes, self._models)).sum(axis=1)
        self._own = self._in_device(pulled - explained)

    def _in_device(self, pull: Floats) -> Floats:
        """(R, M): what `pull` does to alpha + gamma of each device, given theta."""
        scaled: Floats = self._u * pull
        together: Floats = scaled + self._r[:, None] * self._u * scaled.sum(axis=1, keepdims=True)
        return together

    def _variance(self, rows: Ints, classes: Ints) -> Floats:
        """(N, M): of theta + alpha + gamma, all uncertainty counted."""
        u, r, weight = self._u[rows], self._r[rows], self._weight[rows]
        devices = np.arange(len(rows))
        # How the prediction depends on theta: directly, less through what the device's own data are compared with.
        by_theta = -(r[:, None] * u)[:, :, None] * self._scaled[rows][:, None, :]
        by_theta = by_theta.reshape(len(rows), self._models, self._classes, self._models)
        for model in range(self._models):
            by_theta[:, model, :, model] -= u[:, model, None] * weight[:, :, model]
            by_theta[devices, model, classes, model] += 1.0
        flat = by_theta.reshape(len(rows) * self._models, -1)
        from_theta = np.einsum("ij,ij->i", flat @ self._covariance, flat).reshape(len(rows), self._models)
        variance: Floats = np.maximum(0.0, from_theta) + u + r[:, None] * u**2
        return variance

    def _reweigh(self) -> None:
        """Student's t by expectation-maximisation; then the variances of noise, devices and interactions."""
        seen = self.observed
        if not seen.any():
            return
        row, model, kind = seen.places()
        theta = self._theta.reshape(self._classes, self._models)
        error = seen.log_ms() - theta[kind, model] - self._own[row, model]
        spread = self._u[row, model] * (1.0 + self._r[row] * self._u[row, model])
        noise = self.spread.noise**2
        weight = weights_of((error**2 + spread) / noise)
        seen.weigh(weight)
        noise = (NOISE_WEIGHT * NOISE_SD**2 + (weight * (error**2 + spread)).sum()) / (NOISE_WEIGHT + len(error))
        self.spread = Spread(float(np.sqrt(noise)), *self._spread_of_devices())

    def _spread_of_devices(self) -> tuple[float, float]:
        device, interaction = self.spread.device**2, self.spread.interaction**2
        cells = self._weight.sum(axis=1) > 0  # (R, M)
        known = cells.any(axis=1)
        share = device / (interaction + self._models * device)
        u, r = self._u[known], self._r[known]
        alpha = share * self._own[known].sum(axis=1)
        sums, rest = u.sum(axis=1), device * interaction / (interaction + self._models * device)
        all_ones = sums + r * sums**2
        of_alpha = share**2 * all_ones + rest
        with_all = u * (1.0 + (r * sums)[:, None])
        gamma = (self._own[known] - alpha[:, None]) ** 2
        gamma += u + r[:, None] * u**2 - 2 * share * with_all + of_alpha[:, None]
        devices = (DEVICE_WEIGHT * DEVICE_SD**2 + (alpha**2 + of_alpha).sum()) / (DEVICE_WEIGHT + len(alpha))
        few = INTERACTION_WEIGHT * INTERACTION_SD**2 + gamma[cells[known]].sum()
        return float(np.sqrt(devices)), float(np.sqrt(few / (INTERACTION_WEIGHT + cells.sum())))
