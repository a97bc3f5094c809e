"""When devices in closed loop are told to ask."""

from __future__ import annotations

from broker.messages import Round
from configs.orchestrator import RoundsMode, RoundsSection
from orchestrator.pace import MOST_ENDS_PER_S, Pace


def test_a_round_is_opened_when_idle_and_again_while_nobody_asks() -> None:
    """Not while another is under way, and the same number not before the period is over."""
    pace = Pace(RoundsSection(open_period_s=1.0))

    assert Round(round=4, open=True) == pace.opening(4, idle=True, now_s=10.0)
    assert pace.opening(4, idle=True, now_s=10.9) is None
    assert Round(round=4, open=True) == pace.opening(4, idle=True, now_s=11.0)
    assert pace.opening(5, idle=False, now_s=11.1) is None
    assert Round(round=5, open=True) == pace.opening(5, idle=True, now_s=11.2)


def test_immediate_says_each_period_that_one_may_ask() -> None:
    """Whatever is under way, and not more often because requests come."""
    pace = Pace(RoundsSection(mode=RoundsMode.IMMEDIATE, open_period_s=1.0))

    assert Round(round=4, open=True, immediate=True) == pace.opening(4, idle=False, now_s=10.0)
    assert pace.opening(5, idle=True, now_s=10.9) is None
    assert Round(round=9, open=True, immediate=True) == pace.opening(9, idle=False, now_s=11.0)


def test_the_ends_of_all_joint_rounds_are_told() -> None:
    """However many there are."""
    pace = Pace(RoundsSection())

    assert all(pace.tells_end(10.0) for _ in range(10 * MOST_ENDS_PER_S))


def test_of_rounds_of_one_request_so_many_ends_are_told_each_second() -> None:
    """Every device hears them all: their number may not grow with the devices' own."""
    pace = Pace(RoundsSection(mode=RoundsMode.IMMEDIATE))
    first = [pace.tells_end(10.0 + place / 1000) for place in range(500)]
    later = [pace.tells_end(11.0) for _ in range(500)]

    assert (MOST_ENDS_PER_S, MOST_ENDS_PER_S) == (sum(first), sum(later))
