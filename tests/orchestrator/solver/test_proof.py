"""Nothing unproven is returned: what HiGHS says is checked against the problem itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from orchestrator.errors import NotProven
from orchestrator.solver import dynamic, exact, mixed_integer
from orchestrator.solver.exact import brute_force, solve
from orchestrator.solver.problem import Problem
from orchestrator.solver.reduction import reduce


@pytest.fixture
def problem() -> Problem:
    """Two unlike devices, d0 and a faster model of which the budget pays for one."""
    own_ms = np.array([[400.0, 100.0], [500.0, 120.0]])
    return Problem(own_ms, np.array([0, 0]), np.array([0, 50]), np.zeros((2, 3)), 50)


def _says(monkeypatch: pytest.MonkeyPatch, **said: Any) -> None:
    """HiGHS answers so. Its unknowns: two models of the first device, two of the second, nobody on edge, on cloud."""
    answer = {"status": 0, "message": "as told", "x": np.array([1.0, 0, 0, 1, 1, 1]), "mip_dual_bound": 520.0}
    monkeypatch.setattr(scipy.optimize, "milp", lambda *_args, **_options: SimpleNamespace(**answer | said))


def test_what_holds_is_returned(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 + 120 is the optimum, and almost whole numbers are rounded."""
    _says(monkeypatch, x=np.array([1 - 1e-7, 1e-7, 0, 1 + 1e-7, 1, 1]))

    assert brute_force(problem) == mixed_integer.solve(reduce(problem))


@pytest.mark.parametrize(
    "said",
    [
        {"status": 1, "message": "Time limit reached"},
        {"status": 4, "x": None},
        {"status": 2, "x": None, "message": "infeasible, which cannot be"},
        {"mip_dual_bound": 519.9},
        {"mip_dual_bound": 520.1},
        {"x": np.array([0.0, 1, 0, 1, 1, 1]), "mip_dual_bound": 220.0},
        {"x": np.array([1.0, 1, 0, 0, 1, 1])},
    ],
    ids=["limit", "failure", "infeasible", "gap", "bound-above", "floor-broken", "device-idle"],
)
def test_what_does_not_hold_is_not_proven(
    problem: Problem, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit, a failure, a gap to the bound, a broken floor, a device that does nothing."""
    _says(monkeypatch, **said)
    with pytest.raises(NotProven):
        mixed_integer.solve(reduce(problem))


def test_where_highs_fails_dynamic_programming_takes_over(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it can hold the problem."""
    _says(monkeypatch, status=1)
    monkeypatch.setattr(exact, "FEW_CELLS", 0)

    assert brute_force(problem) == solve(problem)
    monkeypatch.setattr(exact, "MOST_CELLS", 0)
    with pytest.raises(NotProven, match="no proof of the optimum of 2 devices"):
        solve(problem)


def test_effort_is_what_the_tables_hold(problem: Problem) -> None:
    """Of deficits 0 and 1 each (50 is the unit, one the slack): tables of 2 and 2 cells, two options each."""
    assert (8, 4) == dynamic.effort(reduce(problem))
