"""What a decision problem is: its checks, its sum, its floor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ProblemRefused, UnfitChoice
from orchestrator.solver.problem import Problem, Solution

INF = float("inf")


def _problem(**changed: Any) -> Problem:
    """Two devices; local best, local worse, edge, cloud. The second device cannot reach the cloud."""
    fields: dict[str, Any] = {
        "own_ms": np.array([[400.0, 100.0, 20.0, 30.0], [500.0, 90.0, 40.0, INF]]),
        "tier": np.array([0, 0, 1, 2]),
        "deficits": np.array([0, 50, 0, 0]),
        "shared_ms": np.array([[np.nan, 200.0, 350.0], [-1.0, 250.0, 300.0]]),
        "budget": 50,
    }
    return Problem(**fields | changed)


def test_the_sum_is_what_each_pays_alone_and_what_sharers_pay_on_top() -> None:
    """Both on the edge: 20 + 40 + 2 x 350. One there and one local: 20 + 200 + 90. What 0 sharers pay is not read."""
    assert 760.0 == _problem().total_ms([2, 2])
    assert 310.0 == _problem().total_ms((2, 1))
    assert 190.0 == _problem().total_ms(np.array([1, 1]))


def test_feasible_counts_deficits_in_integers() -> None:
    """50 of 50 is within the budget, 100 is not."""
    assert _problem().feasible([1, 2])
    assert not _problem().feasible([1, 1])


def test_what_a_device_or_a_tier_cannot_do_has_no_sum() -> None:
    """An infinite own time, or more devices than the tier takes; it is not feasible either."""
    full = _problem(shared_ms=np.array([[0.0, 200.0, INF], [0.0, 250.0, 300.0]]))
    for problem, joint in ((_problem(), [0, 3]), (full, [2, 2])):
        assert not problem.feasible(joint)
        with pytest.raises(UnfitChoice, match="cannot do"):
            problem.total_ms(joint)


@pytest.mark.parametrize("joint", [[0], [0, 0, 0], [0, 4], [-1, 0], [], [[0, 0]]])
def test_a_joint_action_names_one_column_per_device(joint: list[Any]) -> None:
    """Anything else is the caller's mistake."""
    with pytest.raises(UnfitChoice, match="2 columns of 0 to 3"):
        _problem().total_ms(joint)
    with pytest.raises(UnfitChoice, match="2 columns of 0 to 3"):
        _problem().feasible(joint)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"own_ms": np.zeros(4)}, "own_ms has shape"),
        ({"own_ms": np.zeros((0, 4))}, "own_ms has shape"),
        ({"own_ms": np.full((2, 4), np.nan)}, "own_ms has NaN"),
        ({"own_ms": np.full((2, 4), -1.0)}, "below 0 ms"),
        ({"own_ms": np.full((2, 4), -INF)}, "below 0 ms"),
        ({"tier": np.array([0, 0, 1])}, "tier is int64 of shape"),
        ({"tier": np.array([0, 0, 1, 3])}, "tier has 0 to 3; 0 to 2 is allowed"),
        ({"tier": np.array([-1, 0, 1, 2])}, "tier has -1 to 2"),
        ({"tier": np.array([0.0, 0.0, 1.0, 2.0])}, "tier is float64"),
        ({"deficits": np.array([0, -1, 0, 0])}, "deficits has -1 to 0"),
        ({"deficits": np.array([0, 10**7, 0, 0])}, "deficits has 0 to 10000000"),
        ({"deficits": np.array([0.5, 0.0, 0.0, 0.0])}, "deficits is float64"),
        ({"shared_ms": np.zeros((2, 2))}, "shared_ms has shape"),
        ({"shared_ms": np.array([[0.0, np.nan, 1.0], [0.0, 1.0, 1.0]])}, "shared_ms has NaN"),
        ({"shared_ms": np.array([[0.0, 1.0, -1.0], [0.0, 1.0, 1.0]])}, "shared_ms has NaN or a time below 0"),
        ({"budget": 50.0}, "the budget is 50.0"),
        ({"budget": True}, "the budget is True"),
    ],
)
def test_what_is_no_problem_is_refused(changed: dict[str, Any], told: str) -> None:
    """When it is made, and the error says which field."""
    with pytest.raises(ProblemRefused, match=told):
        _problem(**changed)


def test_a_problem_cannot_be_written_to_and_leaves_the_callers_arrays_alone() -> None:
    """Its arrays are read-only; the caller's stay writable and unchanged."""
    shared_ms = np.array([[7.0, 200.0, 350.0], [7.0, 250.0, 300.0]])
    problem = _problem(shared_ms=shared_ms)
    for array in (problem.own_ms, problem.shared_ms, problem.tier, problem.deficits):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0

    assert 7.0 == shared_ms[0, 0]
    assert shared_ms.flags.writeable


def test_the_mean_is_the_sum_over_the_devices() -> None:
    """Equation 2's objective."""
    assert 150.0 == Solution((0, 1), 300.0).mean_ms
