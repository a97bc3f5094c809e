"""A problem made smaller without losing an optimum, as both exact methods take it.

1. Only differences count: each device's least deficit is taken off its deficits and off the budget; the rest is slack.
2. What alone exceeds the slack is dropped.
3. What another action of the device on the same tier beats in time and in deficit is dropped. Between tiers nothing
   is: what it costs the others to share may fall or rise with every further device.
4. If the slack pays for everything left, deficits mean nothing any more, and 3 leaves one action per tier.
5. Deficits and slack are divided by the deficits' greatest common divisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.errors import FloorUnreachable
from orchestrator.solver.problem import CLOUD, EDGE, Floats, Ints, Problem

Bools = npt.NDArray[np.bool_]
Step = tuple[int, int, int]


class Option(NamedTuple):
    """One action of one device: its column, what it adds to edge, cloud and deficit, its own time in ms."""

    column: int
    step: Step
    ms: float


@dataclass(frozen=True, eq=False)
class Reduced:
    """What is left of `problem`: `own_ms` (N, A) is inf where an action was dropped, `deficits` (N, A) count in units
    (of `unit` tenths) of which `slack` are left, each device's least is 0."""

    problem: Problem
    own_ms: Floats
    deficits: Ints
    slack: int
    unit: int = 1

    @cached_property
    def allowed(self) -> Bools:
        """(N, A): what was not dropped."""
        return np.isfinite(self.own_ms)

    @cached_property
    def most_on(self) -> tuple[int, int]:
        """How many devices can be on the edge and on the cloud at most."""
        tier = self.problem.tier
        edge, cloud = (int(self.allowed[:, tier == place].any(axis=1).sum()) for place in (EDGE, CLOUD))
        return edge, cloud

    @cached_property
    def options(self) -> list[list[Option]]:
        """What each device can still do, in the order of the columns."""
        tiers = self.problem.tier.tolist()
        rows = zip(self.own_ms.tolist(), self.deficits.tolist(), self.allowed.tolist(), strict=True)
        return [
            [
                Option(column, (int(tier == EDGE), int(tier == CLOUD), deficit), ms)
                for column, (tier, ms, deficit, allowed) in enumerate(zip(tiers, *row, strict=True))
                if allowed
            ]
            for row in rows
        ]


def reduce(problem: Problem) -> Reduced:
    """See the module. Raises FloorUnreachable when some device can do nothing, or the least deficits are too many."""
    own_ms, allowed = problem.own_ms, np.isfinite(problem.own_ms)
    if not allowed.any(axis=1).all():
        idle = int(np.flatnonzero(~allowed.any(axis=1))[0])
        raise FloorUnreachable(f"device {idle} (from 0) can do nothing, so no joint action serves all devices")
    lacking = np.where(allowed, problem.deficits, np.iinfo(np.int64).max).min(axis=1)
    slack = problem.budget - int(lacking.sum())
    if slack < 0:
        raise FloorUnreachable(
            f"{problem.devices} devices at their most accurate lack {int(lacking.sum())} tenths of a point; the "
            f"floor allows {problem.budget}: lower it by {-(slack // problem.devices) / 10} points"
        )
    deficits = np.where(allowed, problem.deficits - lacking[:, None], 0)
    own_ms = np.where(deficits <= slack, own_ms, np.inf)
    own_ms = np.where(_beaten(own_ms, deficits, problem.tier), np.inf, own_ms)
    deficits = np.where(np.isfinite(own_ms), deficits, 0)
    if deficits.max(axis=1).sum() <= slack:
        deficits, slack = np.zeros_like(deficits), 0
        own_ms = np.where(_beaten(own_ms, deficits, problem.tier), np.inf, own_ms)
    unit = max(1, int(np.gcd.reduce(deficits, axis=None)))
    return Reduced(problem, own_ms, deficits // unit, slack // unit, unit)


def _beaten(own_ms: Floats, deficits: Ints, tier: Ints) -> Bools:
    """(N, A): actions for which the device has another on the same tier, no slower and no less accurate.

    Of two equal ones the one in the earlier column stays.
    """
    columns = np.arange(own_ms.shape[1])
    # (N, A, A): the action, then its rival.
    may = (tier[:, None] == tier) & (own_ms[:, None, :] <= own_ms[:, :, None])
    may &= deficits[:, None, :] <= deficits[:, :, None]
    better = (own_ms[:, None, :] < own_ms[:, :, None]) | (deficits[:, None, :] < deficits[:, :, None])
    better |= columns < columns[:, None]
    beaten: Bools = (may & better).any(axis=2)
    return beaten
