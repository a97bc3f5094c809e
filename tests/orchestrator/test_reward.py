"""Equation 4 with its corrections."""

from __future__ import annotations

from orchestrator.reward import reward


def test_reward_is_minus_the_average_when_the_floor_is_met() -> None:
    """The average response time in ms, negative."""
    assert -300.0 == reward([200.0, 400.0], True, 10_000.0)


def test_reward_is_minus_the_constant_when_the_floor_is_broken() -> None:
    """However fast the round was: all d7 in 72 ms is worth no more than any other violation."""
    assert -10_000.0 == reward([72.0, 72.0], False, 10_000.0)


def test_no_outcome_is_worth_less_than_a_broken_floor() -> None:
    """An average above the maximum counts as the maximum."""
    assert -10_000.0 == reward([30_000.0], True, 10_000.0)
