"""Exact by mixed-integer programming, for what dynamic programming cannot hold. HiGHS, through SciPy, proves it.

Devices with the same row of times are one group, and an integer says how many of a group take an action: a thousand
like devices are ten unknowns. How many are on the edge is one-hot (a binary per number, worth what that many pay
together), and so for the cloud; so what sharers pay may have any shape, and the relaxation is its convex hull.
Of equal optima HiGHS finds one, the same every time; within a group the first devices take the earliest columns. Now
and then HiGHS prints a line of its own to stdout (1.12, in SciPy 1.17), which no option prevents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.errors import FloorUnreachable, NotProven
from orchestrator.solver.problem import CLOUD, EDGE, Floats, Ints, Solution, solution_of
from orchestrator.solver.reduction import Reduced

LIMIT_S = 60.0
# HiGHS calls values within 1e-6 whole and equal; what its proof may lack of the rounded solution's sum, as a share.
TOLERANCE = 1e-6
OPTIMAL, INFEASIBLE = 0, 2  # of scipy.optimize.milp


def solve(reduced: Reduced, limit_s: float = LIMIT_S) -> Solution:
    """The optimum, proven to a millionth of its sum. Raises FloorUnreachable, and NotProven after `limit_s` seconds."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    firsts, group_of = _groups(reduced)
    groups, columns = np.nonzero(reduced.allowed[firsts])
    hot = [np.flatnonzero(np.isfinite(sums_ms)) for sums_ms in _sums_ms(reduced)]
    costs = [reduced.own_ms[firsts][groups, columns]]
    costs += [sums_ms[numbers] for sums_ms, numbers in zip(_sums_ms(reduced), hot, strict=True)]
    sizes = np.bincount(group_of)
    matrix, low, high = _constraints(reduced, firsts, groups, columns, sizes, hot)
    found = milp(
        np.concatenate(costs),
        integrality=1,
        bounds=Bounds(0, np.concatenate([sizes[groups], np.ones(len(hot[0]) + len(hot[1]))])),
        constraints=LinearConstraint(matrix, low, high),
        options={"mip_rel_gap": 0.0, "time_limit": limit_s},
    )
    # With tiers that take any number each device's most accurate action is feasible: then HiGHS would be mistaken.
    if found.status == INFEASIBLE and not np.isfinite(reduced.problem.shared_ms).all():
        raise FloorUnreachable("edge and cloud take too few devices for all to be served at this floor; lower it")
    if found.status != OPTIMAL or found.x is None:
        raise NotProven(f"no proof of the optimum of {reduced.problem.devices} devices: {found.message}")
    taken = np.rint(found.x[: len(groups)]).astype(np.int64)
    return _verified(reduced, _dealt(taken, groups, columns, group_of), float(found.mip_dual_bound))


def _groups(reduced: Reduced) -> tuple[Ints, Ints]:
    """One device of each group of like ones, and the group of each device. Like times allow for like deficits."""
    _, firsts, group_of = np.unique(reduced.own_ms, axis=0, return_index=True, return_inverse=True)
    return firsts, group_of.reshape(-1)


def _sums_ms(reduced: Reduced) -> list[Floats]:
    """What 0, 1, ... devices on the edge, on the cloud, pay together, up to the most that can be there."""
    return [sums_ms[: most + 1] for sums_ms, most in zip(reduced.problem.sums_ms, reduced.most_on, strict=True)]


def _constraints(
    reduced: Reduced, firsts: Ints, groups: Ints, columns: Ints, sizes: Ints, hot: list[Ints]
) -> tuple[Any, Floats, Floats]:
    """A sparse matrix with its limits: all devices of a group act, the hot numbers are true, the budget is kept."""
    from scipy.sparse import csr_array, hstack, vstack

    count, numbers = len(groups), len(hot[0]) + len(hot[1])
    acting = csr_array((np.ones(count), (groups, np.arange(count))), shape=(len(firsts), count))
    tiers = reduced.problem.tier[columns]
    there = np.stack([tiers == EDGE, tiers == CLOUD, np.zeros(count), np.zeros(count)]).astype(np.float64)
    edge, cloud = (np.stack([-of_tier.astype(np.float64), np.ones(len(of_tier))]) for of_tier in hot)
    told = np.zeros((4, numbers))
    told[[0, 2], : len(hot[0])] = edge
    told[[1, 3], len(hot[0]) :] = cloud
    used = reduced.deficits[firsts][groups, columns].astype(np.float64)
    rows = [
        hstack([acting, csr_array((len(firsts), numbers))]),
        hstack([csr_array(there), csr_array(told)]),
        csr_array(np.concatenate([used, np.zeros(numbers)])[None]),
    ]
    exact = np.concatenate([sizes, [0.0, 0.0, 1.0, 1.0]])
    return vstack(rows).tocsr(), np.append(exact, -np.inf), np.append(exact, float(reduced.slack))


def _dealt(taken: Ints, groups: Ints, columns: Ints, group_of: Ints) -> list[int]:
    """A column per device: those of a group take its columns in order, each as often as it was taken."""
    actions = np.full(len(group_of), -1)
    for group in range(int(group_of.max()) + 1):
        mine = groups == group
        dealt = np.repeat(columns[mine], np.maximum(taken[mine], 0))
        devices = np.flatnonzero(group_of == group)
        if len(dealt) != len(devices):
            raise NotProven(f"HiGHS let {len(dealt)} of {len(devices)} like devices act; report this problem")
        actions[devices] = dealt
    return actions.tolist()


def _verified(reduced: Reduced, actions: list[int], bound_ms: float) -> Solution:
    """The rounded solution, if the problem itself finds it feasible and no worse than the bound."""
    if not reduced.problem.feasible(actions):
        raise NotProven("HiGHS' solution breaks the floor once it is rounded; report this problem")
    solution = solution_of(reduced.problem, actions)
    if abs(solution.total_ms - bound_ms) > TOLERANCE * max(1.0, solution.total_ms):
        raise NotProven(f"HiGHS proves {bound_ms} ms, its rounded solution takes {solution.total_ms} ms")
    return solution
