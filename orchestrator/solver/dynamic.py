"""Exact by dynamic programming, device by device, over (devices on the edge, devices on the cloud, deficit used).

What sharers pay depends on nothing but how many they are, so it is added to the last table, whatever its shape.
Of joint actions with the same sum, the one with the least deficit is taken (unless the budget pays for everything: then
nobody counts), then the fewest devices on the edge, then on the cloud; then the last device takes its earliest column,
then the one before it. Sums that differ in the last bit of a float are not the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orchestrator.errors import FloorUnreachable
from orchestrator.solver.problem import Floats, Solution, solution_of
from orchestrator.solver.reduction import Option, Reduced, Step

Columns = npt.NDArray[np.unsignedinteger]


def effort(reduced: Reduced) -> tuple[int, int]:
    """Cells that `solve` would compute, and bytes that it would hold. Nothing is computed or held for it."""
    cells = held = 0
    size: Step = (1, 1, 1)
    for options in reduced.options:
        size = _size(size, options, reduced)
        cells += size[0] * size[1] * size[2] * len(options)
        held += size[0] * size[1] * size[2]
    return cells, held


def solve(reduced: Reduced) -> Solution:
    """The proven optimum. Raises FloorUnreachable when no tier takes the number of devices that would be on it."""
    return solve_by_deficit(reduced)[0]


def solve_by_deficit(reduced: Reduced) -> tuple[Solution, Floats]:
    """The same, and the least sum in ms for each deficit used, in the units of `reduced`."""
    devices = reduced.options
    least_ms: Floats = np.zeros((1, 1, 1))
    columns: list[Columns] = []
    for options in devices:
        least_ms, chosen = _with_device(least_ms, options, reduced)
        columns.append(chosen)
    total_ms = _shared(least_ms, reduced)
    position = _best(total_ms)
    actions: list[int] = []
    for options, chosen in zip(reversed(devices), reversed(columns), strict=True):
        column = int(chosen[position])
        edge, cloud, deficit = next(option.step for option in options if option.column == column)
        position = position[0] - edge, position[1] - cloud, position[2] - deficit
        actions.append(column)
    return solution_of(reduced.problem, actions[::-1]), total_ms.min(axis=(0, 1))


def _size(size: Step, options: list[Option], reduced: Reduced) -> Step:
    """How large a table of `size` becomes with one device more."""
    edge, cloud, deficit = (size[axis] + max(option.step[axis] for option in options) for axis in range(3))
    return edge, cloud, min(deficit, reduced.slack + 1)


def _with_device(before_ms: Floats, options: list[Option], reduced: Reduced) -> tuple[Floats, Columns]:
    """The least sum of own times in ms for each cell with one device more, and the column it then takes."""
    size = _size((before_ms.shape[0], before_ms.shape[1], before_ms.shape[2]), options, reduced)
    after_ms = np.full(size, np.inf)
    chosen: Columns = np.zeros(size, dtype=np.min_scalar_type(reduced.own_ms.shape[1]))
    edges, clouds, _ = before_ms.shape
    for column, (edge, cloud, deficit), ms in options:
        candidate_ms = before_ms[:, :, : size[2] - deficit] + ms
        cells = np.s_[edge : edge + edges, cloud : cloud + clouds, deficit : deficit + candidate_ms.shape[2]]
        better = candidate_ms < after_ms[cells]
        np.copyto(after_ms[cells], candidate_ms, where=better)
        np.copyto(chosen[cells], column, where=better, casting="unsafe")
    return after_ms, chosen


def _shared(least_ms: Floats, reduced: Reduced) -> Floats:
    """The sums in ms once the sharers have paid."""
    edges, clouds, _ = least_ms.shape
    edge_ms, cloud_ms = reduced.problem.sums_ms
    total_ms: Floats = least_ms + edge_ms[:edges, None, None] + cloud_ms[:clouds, None]
    return total_ms


def _best(total_ms: Floats) -> Step:
    """The cell with the least sum; the first in the order of deficit, edge, cloud."""
    deficits_first = np.moveaxis(total_ms, 2, 0)
    deficit, edge, cloud = np.unravel_index(int(np.argmin(deficits_first)), deficits_first.shape)
    if total_ms[edge, cloud, deficit] == np.inf:
        raise FloorUnreachable("edge and cloud take too few devices for all to be served at this floor; lower it")
    return int(edge), int(cloud), int(deficit)
