"""P1 (equation 2) solved in milliseconds, with a certificate: a joint action, and what any joint action takes at least.

Small problems go to dynamic programming. Others are priced (`lagrangian`); the prices give a joint action (`repair`), a
few open choices are settled exactly (`core`), and where the bound stays too low, numbers of sharers are split
(`search`). Effort is counted in steps, not in time: the same problem has the same answer every time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from orchestrator.errors import FloorUnreachable
from orchestrator.solver import dynamic, exact, lagrangian, repair
from orchestrator.solver.lagrangian import Prices
from orchestrator.solver.problem import CLOUD, EDGE, Floats, Ints, Problem, Solution, solution_of
from orchestrator.solver.reduction import Reduced, reduce
from orchestrator.solver.search import NODES, Search

__all__ = ["Bounded", "Prices", "solve_within"]

# Up to so many devices dynamic programming is considered, and used below so many cells: about a millisecond.
FEW_DEVICES, FEW_CELLS = 16, 5 * 10**5
# What the proofs of `exact.solve` may lack.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Bounded:
    """A feasible joint action, a column per device; its sum in ms and a proven lower bound of every joint action's.

    `deficit`: the tenths of a point that it uses of the budget. `prices`: to explain it, and to start the next round.
    """

    actions: tuple[int, ...]
    total_ms: float
    bound_ms: float
    prices: Prices
    deficit: int

    @property
    def gap(self) -> float:
        """By what share the sum may be above the optimum, at most."""
        if self.total_ms <= self.bound_ms:
            return 0.0
        return self.total_ms / self.bound_ms - 1 if self.bound_ms > 0 else float("inf")


def solve_within(problem: Problem, gap: float = 0.001, prices: Prices | None = None, nodes: int = NODES) -> Bounded:
    """A joint action proven to be within `gap` of the optimum where that is quickly found, else with the gap there is.

    `prices` of a like problem shorten the way; fewer `nodes` prove less, sooner. Raises FloorUnreachable as
    `exact.solve` does.
    """
    if problem.devices <= FEW_DEVICES:
        reduced = reduce(problem)
        if dynamic.effort(reduced)[0] <= FEW_CELLS:
            return _exact(reduced)
    search = Search(lagrangian.relax(problem), gap, prices, nodes)
    search.run()
    if search.rows is None and nodes < NODES:
        search = Search(search.relaxation, gap, prices)
        search.run()
    if search.rows is None:
        _rescue(search)
    if search.rows is None:
        solution = exact.solve(problem)
        bound_ms = solution.total_ms - TOLERANCE * max(1.0, solution.total_ms)
        return _bounded(problem, solution, bound_ms, search.prices)
    actions = search.relaxation.columns[search.rows, np.arange(problem.devices)].tolist()
    return _bounded(problem, solution_of(problem, actions), search.bound_ms, search.prices)


def _bounded(problem: Problem, solution: Solution, bound_ms: float, prices: Prices) -> Bounded:
    deficit = int(problem.deficits[list(solution.actions)].sum())
    return Bounded(solution.actions, solution.total_ms, min(bound_ms, solution.total_ms), prices, deficit)


def _exact(reduced: Reduced) -> Bounded:
    """The optimum, and the prices at it: of a device more on a tier; of the floor, what a tenth less of budget costs at
    least, inf where less would not do."""
    solution, by_deficit_ms = dynamic.solve_by_deficit(reduced)
    tiers = reduced.problem.tier[list(solution.actions)].tolist()
    sums_ms = reduced.problem.sums_ms
    edge, cloud = (_of_one_more(sums_ms[tier - 1], tiers.count(tier)) for tier in (EDGE, CLOUD))
    floor = 0.0
    if len(by_deficit_ms) == reduced.slack + 1 > 1:
        saved_ms = np.minimum.accumulate(by_deficit_ms)[:-1] - by_deficit_ms.min()
        floor = float((saved_ms / np.arange(reduced.slack, 0, -1)).min()) / reduced.unit
    return _bounded(reduced.problem, solution, solution.total_ms, Prices(floor, edge, cloud))


def _of_one_more(sums_ms: Floats, on: int) -> float:
    """What one device more costs all sharers in ms; where a tier takes no more, what the last one cost."""
    if on + 1 < len(sums_ms) and sums_ms[on + 1] < np.inf:
        return float(sums_ms[on + 1] - sums_ms[on])
    return float(sums_ms[on] - sums_ms[on - 1]) if on and sums_ms[on - 1] < np.inf else 0.0


def _rescue(search: Search) -> None:
    """Where prices led to nothing feasible: the joint action of the least deficits, improved. Raises FloorUnreachable
    where even that is proven to be above the budget."""
    relaxation = search.relaxation
    problem = relaxation.problem
    least = replace(
        problem,
        own_ms=np.where(np.isfinite(problem.own_ms), problem.deficits, np.inf),
        deficits=np.zeros_like(problem.deficits),
        shared_ms=np.where(np.isfinite(problem.shared_ms), 0.0, np.inf),
        budget=0,
    )
    inner = Search(lagrangian.relax(least), 0.0, None)
    inner.run()
    if inner.bound_ms > problem.budget + 0.5:
        raise FloorUnreachable("edge and cloud take too few devices for all to be served at this floor; lower it")
    if inner.rows is None:
        return
    columns = inner.relaxation.columns[inner.rows, np.arange(problem.devices)]
    same = relaxation.columns == columns
    like = relaxation.tier[:, None] == problem.tier[columns]  # where only each tier's fastest is left
    rows: Ints = np.where(same.any(axis=0), same, like).argmax(axis=0)
    search.offer(rows, search.prices)
    if search.rows is not None:
        search.offer(repair.exchange(relaxation, rows, 2 * problem.devices), search.prices)
