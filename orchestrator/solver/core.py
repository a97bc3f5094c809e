"""The few devices whose choice is open, solved exactly by dynamic programming; all others stay as they are.

An option costs its reduced cost at least, above the bound: where that alone exceeds what is still missing to the best
joint action known, it is out. What is left is the core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.solver.lagrangian import Prices, Relaxation
from orchestrator.solver.problem import CLOUD, EDGE, Floats, Ints
from orchestrator.solver.repair import on_tiers

Bools = npt.NDArray[np.bool_]
Table = tuple[int, int, int]

MOST_OPTIONS = 100  # beside one per device; more is never cheap


def reduced_ms(relaxation: Relaxation, prices: Prices) -> Floats:
    """(R, N): by how many ms an option is dearer, at these prices, than the device's best."""
    costs_ms = relaxation.own_ms + (np.array(prices) @ relaxation.weights)[:, None]
    costs_ms -= costs_ms.min(axis=0)
    return costs_ms


def cheapest(reduced: Floats, rows: Ints, options: int) -> Bools:
    """(R, N): the devices' present options, and so many others whose reduced costs differ least from theirs."""
    devices = np.arange(len(rows))
    change_ms = np.abs(reduced - reduced[rows, devices])
    change_ms[rows, devices] = np.inf
    flat = change_ms.ravel()
    options = min(options, flat.size - 1)
    open_ = np.zeros(reduced.shape, dtype=bool)
    open_.ravel()[np.argpartition(flat, options)[:options]] = True
    open_ &= change_ms < np.inf
    open_[rows, devices] = True
    return open_


@dataclass(frozen=True, eq=False)
class Core:
    """The devices that are free, in the order in which they are taken: those that stay on one tier first, as long as
    tables are small. `room`: how many more may join edge and cloud, and how many tenths are left above the least; below
    0 where nothing is feasible."""

    rows: Ints
    devices: list[int]
    options: list[list[int]]
    steps: list[list[Table]]
    fixed_on: tuple[int, int]
    room: Table

    @property
    def cells(self) -> int:
        """What `solve` would compute."""
        if min(self.room) < 0:
            return 0
        size, cells = (1, 1, 1), 0
        for steps in self.steps:
            size = _grown(size, steps, self.room)
            cells += size[0] * size[1] * size[2] * len(steps)
        return cells


def core(relaxation: Relaxation, sums_ms: Floats, rows: Ints, open_: Bools) -> Core | None:
    """Devices with one open option are as `rows` says. None where so many are free that solving is never quick."""
    if int(open_.sum()) - open_.shape[1] > MOST_OPTIONS:
        return None
    free = np.flatnonzero(open_.sum(axis=0) > 1)
    elsewhere = (open_[:, free] & (relaxation.tier[:, None] > 0)).any(axis=0)
    devices = free[np.argsort(elsewhere, kind="stable")].tolist()
    deficits, tier = relaxation.deficits.tolist(), relaxation.tier.tolist()
    slack = relaxation.budget - int(relaxation.deficits[np.delete(rows, free)].sum())
    options, steps = [], []
    for column in open_.T[devices]:
        mine = np.flatnonzero(column).tolist()
        least = min(deficits[row] for row in mine)
        slack -= least
        options.append(mine)
        steps.append([(int(tier[row] == EDGE), int(tier[row] == CLOUD), deficits[row] - least) for row in mine])
    fixed_on = on_tiers(relaxation, np.delete(rows, free))
    most = [int(np.flatnonzero(np.isfinite(of_tier))[-1]) for of_tier in sums_ms]
    return Core(rows, devices, options, steps, fixed_on, (most[0] - fixed_on[0], most[1] - fixed_on[1], slack))


def solve(relaxation: Relaxation, sums_ms: Floats, found: Core) -> Ints | None:
    """The best of all joint actions of open options; None if none is feasible."""
    if min(found.room) < 0:
        return None
    least_ms: Floats = np.zeros((1, 1, 1))
    tables: list[npt.NDArray[np.int16]] = []
    for device, options, steps in zip(found.devices, found.options, found.steps, strict=True):
        least_ms, chosen = _with_device(least_ms, steps, relaxation.own_ms[options, device].tolist(), found.room)
        tables.append(chosen)
    edge, cloud = found.fixed_on
    edges, clouds, _ = least_ms.shape
    sharing_ms = sums_ms[0, edge : edge + edges, None] + sums_ms[1, cloud : cloud + clouds]
    last_ms = least_ms + sharing_ms[:, :, None]
    at = tuple(int(index) for index in np.unravel_index(int(last_ms.argmin()), last_ms.shape))
    if last_ms[at] == np.inf:
        return None
    rows = found.rows.copy()
    for place in reversed(range(len(tables))):
        option = int(tables[place][at])
        rows[found.devices[place]] = found.options[place][option]
        at = tuple(index - step for index, step in zip(at, found.steps[place][option], strict=True))
    return rows


def _grown(size: Table, steps: list[Table], room: Table) -> Table:
    """How large a table becomes with one device more."""
    edge, cloud, deficit = (min(size[axis] + max(step[axis] for step in steps), room[axis] + 1) for axis in range(3))
    return edge, cloud, deficit


def _with_device(
    before_ms: Floats, steps: list[Table], times_ms: list[float], room: Table
) -> tuple[Floats, npt.NDArray[np.int16]]:
    """The least sums with one device more, by (edge, cloud, deficit), and which of its options it then takes."""
    size = _grown((before_ms.shape[0], before_ms.shape[1], before_ms.shape[2]), steps, room)
    after_ms = np.full(size, np.inf)
    chosen = np.zeros(size, dtype=np.int16)
    for option, (step, ms) in enumerate(zip(steps, times_ms, strict=True)):
        fits = [min(old, new - more) for old, new, more in zip(before_ms.shape, size, step, strict=True)]
        if min(fits) <= 0:
            continue
        candidate_ms = before_ms[: fits[0], : fits[1], : fits[2]] + ms
        cells = tuple(slice(more, more + fit) for more, fit in zip(step, fits, strict=True))
        better = candidate_ms < after_ms[cells]
        np.copyto(after_ms[cells], candidate_ms, where=better)
        np.copyto(chosen[cells], option, where=better, casting="unsafe")
    return after_ms, chosen
