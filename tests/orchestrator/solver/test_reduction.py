"""A reduced problem is smaller in the ways its module names."""

from __future__ import annotations

import numpy as np

from orchestrator.solver.problem import Problem
from orchestrator.solver.reduction import Option, Reduced, reduce

INF = float("inf")


def _reduced(own_ms: list[list[float]], tier: list[int], deficits: list[int], budget: int) -> Reduced:
    shared_ms = np.ones((2, len(own_ms) + 1))
    return reduce(Problem(np.array(own_ms), np.array(tier), np.array(deficits), shared_ms, budget))


def _columns(reduced: Reduced) -> list[list[int]]:
    return [[option.column for option in options] for options in reduced.options]


def test_what_no_slack_pays_for_is_dropped() -> None:
    """The first device lacks 20 at least, so 30 of the 50 are left: enough for 30 more, not for 31."""
    reduced = _reduced([[INF, 9.0, 8.0, 7.0], [9.0, 8.0, 7.0, 6.0]], [0, 0, 0, 0], [0, 20, 30, 51], 50)

    assert [[1, 2], [0, 1, 2]] == _columns(reduced)


def test_what_is_beaten_on_its_own_tier_is_dropped() -> None:
    """Slower and less accurate than another; of two equal ones the later. On the edge the slow one stays alone."""
    reduced = _reduced([[5.0, 6.0, 5.0, 4.0, 50.0]], [0, 0, 0, 0, 1], [0, 10, 0, 20, 0], 10)

    assert [[0, 4]] == _columns(reduced)


def test_where_the_budget_pays_for_everything_one_action_per_tier_is_left() -> None:
    """The fastest; deficits are gone."""
    reduced = _reduced([[9.0, 4.0, 5.0, 3.0, 2.0]] * 2, [0, 0, 1, 1, 2], [0, 171, 0, 10, 0], 342)

    assert [[Option(1, (0, 0, 0), 4.0), Option(3, (1, 0, 0), 3.0), Option(4, (0, 1, 0), 2.0)]] * 2 == reduced.options
    assert 0 == reduced.slack


def test_deficits_are_counted_in_their_greatest_common_divisor() -> None:
    """0, 20 and 50 of 99 are 0, 2 and 5 of 9."""
    reduced = _reduced([[9.0, 8.0, 7.0]] * 2, [0, 0, 0], [0, 20, 50], 99)

    assert [[0, 2, 5]] * 2 == reduced.deficits.tolist()
    assert 9 == reduced.slack


def test_a_tier_holds_only_devices_that_can_get_there() -> None:
    """One of three reaches the edge, none the cloud."""
    reduced = _reduced([[9.0, 9.0, INF], [9.0, INF, INF], [9.0, INF, INF]], [0, 1, 2], [0, 0, 0], 0)

    assert (1, 0) == reduced.most_on
