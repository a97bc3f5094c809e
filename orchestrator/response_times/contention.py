"""Times on one serving tier: what a device pays there when k devices share it in one round.

    T = f(k) + own(class of the device) + own(model) + [state of the tier] (b0 + b1 (k - 1)) + noise

Served first in, first out, devices get very different times by their place in the queue, while the mean over the k
sharers depends on k alone: so one round is one observation, its mean, and places are no noise. f is piecewise linear
between knots (every k up to 16, then a quarter more each time), with a prior that holds its slope until the data say
otherwise, so that convex, kinked and saturating curves are followed, and never falls. The most common class, model and
state are what f is about; the others differ from it. Gaussian, with Student's t for what is strange.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.response_times.noise import NOISE_SD, NOISE_WEIGHT, weights_of
from orchestrator.response_times.observed import Floats, Ints
from orchestrator.response_times.shared_round import (
    Columns,
    Curve,
    Leap,
    SharedRound,
    counted,
    knots_to,
    never_falling,
    others,
)

# In shares of the tier's level: the first job's time, the first slope per job, its change from knot to knot.
LEVEL_SD, SLOPE, SLOPE_SD, BEND_SD = 1.0, 0.25, 0.4, 1.5
BEND_FADES = 1.6  # power of k with which the slope's changes get smaller
OWN_SD, STATE_SD, STATE_SLOPE_SD = 0.3, 0.5, 0.2
MODEL_ERROR = 0.005  # of a mean: no curve is exactly as assumed
MOST_ROUNDS = 256
MAX_SHARERS = 20_000  # as many nodes as an orchestrator knows
SWEEPS = 3
FADED = 0.5
AFTER_CHANGE = 0.1  # what a round from before a change counts for


class TierTimes:
    """The posterior of one tier's times. Mutable: `learn`, `shift`."""

    def __init__(self, level_ms: float) -> None:
        self.noise = NOISE_SD
        self._level_ms = level_ms
        self._rounds: deque[SharedRound] = deque()
        self._most = 1
        self._kinds: Counter[int] = Counter()
        self._models: Counter[int] = Counter()
        self._states: Counter[int] = Counter()
        self._stale = True
        self._columns = Columns(knots_to(1), (), (), ())
        self._mean: Floats = np.zeros(0)
        self._covariance: Floats = np.zeros((0, 0))

    @property
    def rounds(self) -> int:
        """How many rounds it knows."""
        return len(self._rounds)

    def learn(self, observed: SharedRound) -> None:
        """One more round."""
        if not self._rounds:
            self._level_ms = observed.mean_ms / (1.0 + SLOPE * (observed.sharers - 1))
        self._rounds.append(observed)
        if len(self._rounds) > MOST_ROUNDS:
            self._forget_one()
        self._kinds.update(observed.kinds)
        self._models.update(observed.models)
        self._states[observed.state] += 1
        self._most, self._stale = max(self._most, observed.sharers), True

    def _forget_one(self) -> None:
        """The oldest of the most frequent number of sharers, so that what is rare stays known."""
        numbers = [observed.sharers for observed in self._rounds]
        common, _ = Counter(numbers).most_common(1)[0]
        del self._rounds[numbers.index(common)]

    def shift(self, by_ms: float, newest: int) -> None:
        """The tier has changed by so much: all rounds but the `newest` ones move along, and count for little."""
        for observed in list(self._rounds)[: len(self._rounds) - newest]:
            observed.mean_ms = max(1.0, observed.mean_ms + by_ms)
            observed.counts *= AFTER_CHANGE
        self._stale = True

    def fade(self) -> None:
        """It may have changed: what is known counts for half of what it did."""
        for observed in self._rounds:
            observed.counts *= FADED
        self._stale = True

    def curve(self, most: int, state: int) -> Curve:
        """f up to `most` sharers, while the tier is in `state`."""
        rows = self._curve_rows(most, state)
        knots = self._columns.knots
        sd = np.sqrt(np.maximum(1e-12, ((rows @ self._covariance) * rows).sum(axis=1)))
        mean = never_falling(np.maximum(rows @ self._mean, 1e-3 * self._level_ms), 1.0 / sd**2)
        if self._states and state not in self._states:
            sd = np.hypot(sd, STATE_SD * self._level_ms)
        numbers = np.arange(most + 1)
        return Curve(np.interp(numbers, knots, mean), np.interp(numbers, knots, sd))

    def _curve_rows(self, most: int, state: int) -> Floats:
        self._update(most)
        knots = self._columns.knots
        rows: Floats = np.eye(len(knots), self._columns.count)
        self._columns.add_state(rows, state, knots - 1)
        return rows

    def own(self, kinds: Ints, model: int) -> tuple[Floats, Floats]:
        """(N,): what devices of these classes pay with `model` beside f, maybe less than 0; its standard deviation."""
        self._update(1)
        size = int(kinds.max()) + 1
        means, sds = np.zeros(size), np.zeros(size)
        for kind in np.unique(kinds):
            row, unseen_sd = self._own_row(int(kind), model)
            means[kind] = row @ self._mean
            sds[kind] = np.sqrt(row @ self._covariance @ row + unseen_sd**2)
        return means[kinds], sds[kinds]

    def _own_row(self, kind: int, model: int) -> tuple[Floats, float]:
        """(count,): what a device's own part is a sum of; and the deviation in ms of what was never seen here."""
        columns = self._columns
        row = np.zeros(columns.count)
        if kind in columns.kinds:
            row[len(columns.knots) + columns.kinds.index(kind)] = 1.0
        if model in columns.models:
            row[len(columns.knots) + len(columns.kinds) + columns.models.index(model)] = 1.0
        unseen = bool(self._kinds) * ((kind not in self._kinds) + (model not in self._models))
        return row, float(np.sqrt(unseen) * OWN_SD * self._level_ms)

    def leap(self, towards: SharedRound, most: int, kinds: Ints, models: Sequence[int]) -> Leap:
        """How all of it differs from what is expected if such a round is one standard deviation faster.

        The whole posterior moves there together: what is known of sums stays, though their parts are not known.
        """
        rows = self._curve_rows(most, towards.state)
        columns = self._columns
        direction = self._covariance @ columns.row(towards)
        moved = -direction / np.sqrt(columns.row(towards) @ direction)
        own_ms = np.zeros((len(kinds), len(models)))
        for place, model in enumerate(models):
            for kind in np.unique(kinds):
                row, unseen_sd = self._own_row(int(kind), model)
                asked = kind in towards.kinds and model in towards.models
                own_ms[kinds == kind, place] = row @ moved - asked * unseen_sd
        return Leap(np.interp(np.arange(most + 1), columns.knots, rows @ moved), own_ms)

    def expect(self, observed: SharedRound) -> tuple[float, float]:
        """The mean that this round should have had, and its standard deviation with all noise, in ms."""
        self._update(observed.sharers)
        row = self._columns.row(observed)
        mean_ms = float(row @ self._mean)
        variance = float(row @ self._covariance @ row)
        variance += max(mean_ms, observed.mean_ms) ** 2 * (self.noise**2 / observed.averaged + MODEL_ERROR**2)
        new = observed.state not in self._states
        new |= bool(set(observed.kinds) - set(self._kinds) or set(observed.models) - set(self._models))
        return mean_ms, float(np.sqrt(variance + new * (STATE_SD * self._level_ms) ** 2))

    def _update(self, most: int) -> None:
        """The posterior; after news in a few sweeps of reweighting what is strange and learning how large noise is."""
        if not self._stale and most <= self._columns.knots[-1]:
            return
        self._most = max(self._most, most)
        self._columns = Columns(
            knots_to(self._most), *(others(seen) for seen in (self._kinds, self._models, self._states))
        )
        matrix = np.zeros((len(self._rounds), self._columns.count))
        for row, observed in zip(matrix, self._rounds, strict=True):
            row[:] = self._columns.row(observed)
        numbers: list[Floats] = [
            np.array([getattr(observed, name) for observed in self._rounds], dtype=np.float64)
            for name in ("mean_ms", "averaged", "counts", "weight")
        ]
        means_ms, averaged, counts, weights = numbers
        precision, prior = self._prior()
        # Noise is a share of what is usual at that load; of the time itself, slow ones would count less than fast ones.
        usual_ms = self._usual_ms(means_ms)
        variance: Floats = usual_ms**2 * (self.noise**2 / averaged + MODEL_ERROR**2)
        for sweep in range(SWEEPS + 1 if self._stale and self._rounds else 1):
            if sweep:
                spread = ((matrix @ self._covariance) * matrix).sum(axis=1)
                strange = ((means_ms - matrix @ self._mean) ** 2 + spread) / variance
                weights = weights_of(strange)
                of_noise = (counts * weights * strange).sum() * self.noise**2
                self.noise = float(np.sqrt((NOISE_WEIGHT * NOISE_SD**2 + of_noise) / (NOISE_WEIGHT + counts.sum())))
                variance = usual_ms**2 * (self.noise**2 / averaged + MODEL_ERROR**2)
            scaled = matrix * (counts * weights / variance)[:, None]
            self._covariance = np.asarray(np.linalg.inv(precision + scaled.T @ matrix), dtype=np.float64)
            self._mean = self._covariance @ (precision @ prior + scaled.T @ means_ms)
        for observed, weight in zip(self._rounds, weights, strict=True):
            observed.weight = float(weight)
        self._stale = False

    def _usual_ms(self, means_ms: Floats) -> Floats:
        """(rounds,): the average over all rounds with as many sharers."""
        if not len(means_ms):
            return means_ms
        _, group, count = np.unique(
            [observed.sharers for observed in self._rounds], return_inverse=True, return_counts=True
        )
        usual_ms: Floats = (np.bincount(group, means_ms) / count)[group]
        return usual_ms

    def save(self) -> dict[str, Any]:
        """JSON with which `loaded` goes on exactly here."""
        return {
            "noise": self.noise,
            "level_ms": self._level_ms,
            "most": self._most,
            "stale": self._stale,
            "seen": [sorted(seen.items()) for seen in (self._kinds, self._models, self._states)],
            "rounds": [observed.save() for observed in self._rounds],
        }

    @classmethod
    def loaded(cls, saved: Mapping[str, Any]) -> TierTimes:
        """What `save` gave. Raises KeyError, TypeError or ValueError."""
        times = cls(float(saved["level_ms"]))
        times.noise, times._most, times._stale = float(saved["noise"]), int(saved["most"]), bool(saved["stale"])
        times._kinds, times._models, times._states = (counted(seen) for seen in saved["seen"])
        times._rounds.extend(SharedRound.loaded(row) for row in saved["rounds"])
        most = max([1, *(observed.sharers for observed in times._rounds)])
        if not (0 < times.noise < np.inf and 0 < times._level_ms < np.inf and most <= times._most <= MAX_SHARERS):
            raise ValueError("a tier that cannot be")
        if not times._stale:
            times._columns = Columns(np.zeros(1), (), (), ())  # laid out anew by the next look, nothing reweighed
        return times

    def _prior(self) -> tuple[Floats, Floats]:
        """Precision and mean of all columns: a straight line that bends little, and no difference between devices."""
        columns, level = self._columns, self._level_ms
        knots = columns.knots
        size = len(knots)
        unit = np.eye(size)
        told = [(unit[0], LEVEL_SD)]
        slopes = np.diff(unit, axis=0) / np.diff(knots)[:, None]
        if len(slopes):
            told.append((slopes[0], SLOPE_SD))
        told += [(slopes[at] - slopes[at - 1], BEND_SD / knots[at] ** BEND_FADES) for at in range(1, len(slopes))]
        precision, mean = np.zeros((columns.count, columns.count)), np.zeros(columns.count)
        mean[:size] = level * (1.0 + SLOPE * (knots - 1))
        rows = np.array([row / (sd * level) for row, sd in told])
        precision[:size, :size] = rows.T @ rows
        sds = [OWN_SD] * (len(columns.kinds) + len(columns.models)) + [STATE_SD, STATE_SLOPE_SD] * len(columns.states)
        precision[range(size, columns.count), range(size, columns.count)] = 1.0 / (np.array(sds) * level) ** 2
        return precision, mean
