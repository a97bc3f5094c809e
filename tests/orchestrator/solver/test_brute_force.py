"""Brute force knows its limits."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.errors import ProblemTooLarge
from orchestrator.solver.exact import brute_force
from orchestrator.solver.problem import Problem, Solution


def _like_devices(devices: int, actions: int) -> Problem:
    own_ms = np.full((devices, actions), 100.0)
    return Problem(own_ms, np.zeros(actions, int), np.zeros(actions, int), np.zeros((2, devices + 1)), 0)


def test_above_ten_million_joint_actions_it_refuses() -> None:
    """10^8 would take minutes; the error names what to use."""
    with pytest.raises(ProblemTooLarge, match=r"10\^8 joint actions .* use solve"):
        brute_force(_like_devices(8, 10))


def test_of_equal_joint_actions_it_takes_the_first() -> None:
    """Also across chunks."""
    assert Solution((0,) * 18, 1800.0) == brute_force(_like_devices(18, 2))
