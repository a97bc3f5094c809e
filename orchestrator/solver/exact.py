"""P1 (equation 2) solved to a proven optimum, by whichever method suits the size."""

from __future__ import annotations

from orchestrator.errors import NotProven
from orchestrator.solver import dynamic, mixed_integer
from orchestrator.solver.brute_force import brute_force
from orchestrator.solver.problem import Problem, Solution
from orchestrator.solver.reduction import reduce

__all__ = ["brute_force", "solve"]

# About 20 ms of dynamic programming. HiGHS takes 3 ms for anything, and most often less than 100 beyond this.
FEW_CELLS = 10**7
# What dynamic programming may still take where HiGHS failed: about ten seconds, 256 MiB.
MOST_CELLS = 3 * 10**9
MOST_BYTES = 1 << 28


def solve(problem: Problem) -> Solution:
    """The proven optimum of equation 2, the same for the same problem every time; ties as its method says.

    Small problems go to dynamic programming, others to mixed-integer programming, whose proof is to a millionth of the
    sum. Raises FloorUnreachable when no joint action is feasible, and NotProven when neither method came to an end.
    """
    reduced = reduce(problem)
    cells, held = dynamic.effort(reduced)
    if cells <= FEW_CELLS:
        return dynamic.solve(reduced)
    try:
        return mixed_integer.solve(reduced)
    except NotProven:
        if cells > MOST_CELLS or held > MOST_BYTES:
            raise
        return dynamic.solve(reduced)
