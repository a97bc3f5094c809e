"""Every joint action tried, in chunks: slow, short, and independent of the methods it is there to check."""

from __future__ import annotations

import numpy as np

from orchestrator.errors import FloorUnreachable, ProblemTooLarge
from orchestrator.solver.problem import CLOUD, EDGE, Problem, Solution, solution_of

MOST_JOINT_ACTIONS = 10**7
CHUNK = 1 << 16  # joint actions at once: a few arrays of half a megabyte


def brute_force(problem: Problem) -> Solution:
    """The proven optimum; of equal ones the first in lexicographic order of columns.

    Raises ProblemTooLarge above ten million joint actions, and FloorUnreachable.
    """
    devices, actions = problem.own_ms.shape
    if actions**devices > MOST_JOINT_ACTIONS:
        raise ProblemTooLarge(f"{actions}^{devices} joint actions are above {MOST_JOINT_ACTIONS}; use solve")
    places = actions ** np.arange(devices - 1, -1, -1)
    least_ms, best = np.inf, -1
    for start in range(0, actions**devices, CHUNK):
        joint = np.arange(start, min(start + CHUNK, actions**devices))
        columns = joint[:, None] // places % actions
        on = problem.tier[columns]
        total_ms = problem.own_ms[np.arange(devices), columns].sum(axis=1)
        for tier in (EDGE, CLOUD):
            total_ms += problem.sums_ms[tier - 1, (on == tier).sum(axis=1)]
        total_ms[problem.deficits[columns].sum(axis=1) > problem.budget] = np.inf
        first = int(np.argmin(total_ms))
        if total_ms[first] < least_ms:
            least_ms, best = total_ms[first], int(joint[first])
    if best < 0:
        raise FloorUnreachable(f"none of {actions}^{devices} joint actions can be done and meets the floor; lower it")
    return solution_of(problem, (best // places % actions).tolist())
