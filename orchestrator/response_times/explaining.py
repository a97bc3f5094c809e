"""Why one device was told its action: what was expected of it, of the next best, and what stood in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.agent import Bound, Explanation, Reason
from orchestrator.response_times.observed import Floats, Ints
from orchestrator.response_times.view import Belief, Bools, View
from orchestrator.solver.problem import LOCAL

BOUNDS = (Bound.FLOOR, Bound.LOAD, Bound.ENTRY)
LEAST_GAIN_MS = 1e-6


@dataclass(frozen=True, eq=False, slots=True)
class Decided:
    """One joint decision, as it was believed in then. `best` are the columns without exploring, `forced` the probes by
    place, `limits` the most devices that each tier was allowed, by tier; `held`: places that were decided earlier."""

    view: View
    belief: Belief
    columns: Ints
    best: Ints
    forced: Mapping[int, int]
    limits: Mapping[int, int]
    held: frozenset[int] = frozenset()

    def why(self, place: int) -> Explanation:
        """The explanation of one device's part; every other device is taken to do as decided."""
        view, column = self.view, int(self.columns[place])
        on = np.bincount(np.delete(view.tier[self.columns], place), minlength=3)  # the others
        times_ms, sums_ms = self._alternatives(place, on)
        allowed, limited = self._allowed(place), self._limited(on)
        open_to_it = view.able[place] & allowed & ~limited
        open_to_it[column] = False
        rivals = np.where(open_to_it, sums_ms, np.inf)
        rival = int(rivals.argmin()) if np.isfinite(rivals).any() else None
        return Explanation(
            action=view.columns[column],
            predicted_ms=float(times_ms[column]),
            sd_ms=self._sd_ms(place, column, on),
            runner_up=None if rival is None else view.columns[rival],
            runner_up_ms=None if rival is None else float(times_ms[rival]),
            runner_up_sd_ms=None if rival is None else self._sd_ms(place, rival, on),
            bounds=self._bounds(place, column, times_ms, sums_ms, allowed, limited),
            reason=self._reason(place),
        )

    def whys(self) -> list[Explanation]:
        """The explanation of each device's part, as `why` gives it, for all at once."""
        view, belief, columns = self.view, self.belief, self.columns
        each = np.arange(len(columns))
        others = np.bincount(view.tier[columns], minlength=3) - (np.arange(3) == view.tier[columns][:, None])  # (N, 3)
        times_ms = belief.own_ms.copy()
        sums_ms = times_ms.copy()
        limited = np.zeros(view.able.shape, dtype=bool)
        sd_ms = belief.own_ms * np.expm1(np.where(view.tier == LOCAL, belief.own_sd, 0.0))
        for column in np.flatnonzero(view.tier != LOCAL):
            tier = int(view.tier[column])
            on, shared_ms = others[:, tier], belief.shared_ms[tier - 1]
            times_ms[:, column] += shared_ms[on + 1]
            sums_ms[:, column] += (on + 1) * shared_ms[on + 1] - on * shared_ms[on]
            limited[:, column] = on >= self.limits.get(tier, 0)
            sd_ms[:, column] = np.hypot(belief.own_sd[:, column], belief.shared_sd[tier - 1][on + 1])
        spent = view.deficits[columns]
        allowed = view.deficits + (spent.sum() - spent)[:, None] <= view.budget
        open_to_it = view.able & allowed & ~limited
        open_to_it[each, columns] = False
        rivals_ms = np.where(open_to_it, sums_ms, np.inf)
        rival = rivals_ms.argmin(axis=1)
        has_rival = np.isfinite(rivals_ms[each, rival])
        own_ms, own_sum_ms = times_ms[each, columns][:, None], sums_ms[each, columns][:, None]
        gain = view.able & (sums_ms < own_sum_ms - LEAST_GAIN_MS)
        faster = view.able & allowed & (times_ms < own_ms - LEAST_GAIN_MS) & ~gain
        held = np.stack([(gain & ~allowed).any(axis=1), faster.any(axis=1), (gain & limited).any(axis=1)], axis=1)
        bounds = [tuple(bound for bound, is_so in zip(BOUNDS, row, strict=True) if is_so) for row in held.tolist()]
        return [
            Explanation(
                action=view.columns[column],
                predicted_ms=float(times_ms[place, column]),
                sd_ms=float(sd_ms[place, column]),
                runner_up=view.columns[next_best] if has_one else None,
                runner_up_ms=float(times_ms[place, next_best]) if has_one else None,
                runner_up_sd_ms=float(sd_ms[place, next_best]) if has_one else None,
                bounds=bounds[place],
                reason=self._reason(place),
            )
            for place, (column, next_best, has_one) in enumerate(
                zip(columns.tolist(), rival.tolist(), has_rival.tolist(), strict=True)
            )
        ]

    def _alternatives(self, place: int, on: Ints) -> tuple[Floats, Floats]:
        """(A,) each: the device's own time, and by how much all times together would change."""
        view, belief = self.view, self.belief
        times_ms = belief.own_ms[place].copy()
        sums_ms = times_ms.copy()
        for column in np.flatnonzero(view.tier != LOCAL):
            tier = view.tier[column]
            shared_ms, others = belief.shared_ms[tier - 1], int(on[tier])
            times_ms[column] += shared_ms[others + 1]
            sums_ms[column] += (others + 1) * shared_ms[others + 1] - others * shared_ms[others]
        return times_ms, sums_ms

    def _allowed(self, place: int) -> Bools:
        """(A,): what the floor leaves this device, in integers."""
        others = int(self.view.deficits[self.columns].sum() - self.view.deficits[self.columns[place]])
        return np.asarray(self.view.deficits + others <= self.view.budget)

    def _limited(self, on: Ints) -> Bools:
        """(A,): what is on a tier that takes nobody more."""
        full = [tier != LOCAL and on[tier] >= self.limits.get(int(tier), 0) for tier in self.view.tier]
        return np.array(full)

    def _bounds(
        self, place: int, column: int, times_ms: Floats, sums_ms: Floats, allowed: Bools, limited: Bools
    ) -> tuple[Bound, ...]:
        able = self.view.able[place]
        gain = able & (sums_ms < sums_ms[column] - LEAST_GAIN_MS)
        found = [Bound.FLOOR] if (gain & ~allowed).any() else []
        if (able & allowed & (times_ms < times_ms[column] - LEAST_GAIN_MS) & ~gain).any():
            found.append(Bound.LOAD)
        if (gain & limited).any():
            found.append(Bound.ENTRY)
        return tuple(found)

    def _reason(self, place: int) -> Reason:
        if place in self.held:
            return Reason.HELD
        if place in self.forced and self.forced[place] != self.view.tier[self.best[place]]:
            return Reason.PROBE
        return Reason.BEST if self.columns[place] == self.best[place] else Reason.UNCERTAIN

    def _sd_ms(self, place: int, column: int, on: Ints) -> float:
        belief, tier = self.belief, int(self.view.tier[column])
        if tier == LOCAL:
            return float(belief.own_ms[place, column] * np.expm1(belief.own_sd[place, column]))
        return float(np.hypot(belief.own_sd[place, column], belief.shared_sd[tier - 1, int(on[tier]) + 1]))
