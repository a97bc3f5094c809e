"""When a device asks."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from device_agent.requester.ticks import PeriodicTicks, RoundGate

periods = st.floats(0.1, 3600)
walls = st.floats(1.6e9, 2.0e9)


@given(periods, st.lists(walls, min_size=2, max_size=2))
def test_periodic_devices_ask_at_the_same_moments(period_s: float, walls_s: list[float]) -> None:
    """Two devices that look at different times aim at whole multiples of the same period."""
    targets = [wall_s + PeriodicTicks(period_s).wait_s(wall_s) for wall_s in walls_s]

    assert all(math.isclose(target, round(target / period_s) * period_s, rel_tol=1e-12) for target in targets)


@given(periods, walls)
def test_periodic_waits_at_most_one_period(period_s: float, wall_s: float) -> None:
    """The first tick is never more than a period away."""
    assert 0 <= PeriodicTicks(period_s).wait_s(wall_s) <= period_s + 1e-6


def test_periodic_takes_each_multiple_once() -> None:
    """After a tick the next one is due a period later."""
    ticks = PeriodicTicks(10.0)

    assert 3.0 == ticks.wait_s(107.0)
    assert 0.0 == ticks.wait_s(110.0)
    ticks.take()
    assert 9.5 == ticks.wait_s(110.5)


def test_periodic_skips_what_a_slow_request_missed() -> None:
    """A request that took three periods is followed by the next multiple, not by three requests at once."""
    ticks = PeriodicTicks(10.0)
    ticks.wait_s(107.0)
    ticks.take()

    assert 8.0 == ticks.wait_s(142.0)


@given(periods, walls, st.floats(-1e8, 1e8))
def test_periodic_survives_a_clock_that_is_set(period_s: float, wall_s: float, step_s: float) -> None:
    """Wherever the wall clock goes, the wait is never more than two periods, and never for the tick just taken."""
    ticks = PeriodicTicks(period_s)
    due_s = wall_s + ticks.wait_s(wall_s)
    ticks.take()
    ticks.wait_s(due_s)
    set_to_s = due_s + step_s
    wait_s = ticks.wait_s(set_to_s)

    assert wait_s <= 2 * period_s + 1e-6
    assert not math.isclose(set_to_s + wait_s, due_s, rel_tol=0, abs_tol=period_s / 1000) or abs(step_s) > period_s


def test_periodic_does_not_ask_twice_when_the_clock_goes_back_a_little() -> None:
    """NTP sets the clock back by 20 ms just after a tick: that tick does not come again."""
    ticks = PeriodicTicks(10.0)
    ticks.wait_s(107.0)
    ticks.take()

    assert 10.02 == round(ticks.wait_s(109.98), 6)


def test_gate_asks_once_for_an_open_round() -> None:
    """Echoes of the announcement while the request is under way do not make a second one."""
    gate = RoundGate(5.0, 0.0)
    gate.heard(1, True, 1.0)
    assert 0.0 == gate.wait_s(1.0)
    gate.take()
    gate.heard(1, True, 1.5)
    gate.ended(2.0)

    assert 5.0 == gate.wait_s(2.0)


def test_gate_asks_again_when_the_round_is_still_announced_after_the_request() -> None:
    """The orchestrator announces a round while nobody has asked, so it never heard of that request."""
    gate = RoundGate(5.0, 0.0)
    gate.heard(1, True, 1.0)
    gate.take()
    gate.ended(2.0)
    gate.heard(1, True, 3.0)

    assert 0.0 == gate.wait_s(3.0)


def test_gate_keeps_a_round_that_opens_during_a_request() -> None:
    """The next round may open while this device still waits for its result."""
    gate = RoundGate(5.0, 0.0)
    gate.heard(1, True, 1.0)
    gate.take()
    gate.heard(2, True, 1.5)
    gate.ended(2.0)

    assert 0.0 == gate.wait_s(2.0)


def test_gate_asks_anyway_after_silence() -> None:
    """Without a word about rounds for five seconds, the device asks, and then after another five."""
    gate = RoundGate(5.0, 0.0)
    assert 0.0 == gate.wait_s(5.0)
    gate.take()
    gate.ended(6.0)

    assert 5.0 == gate.wait_s(6.0)


def test_gate_does_not_ask_for_a_round_that_is_complete() -> None:
    """A round that ended without this device is not asked for any more."""
    gate = RoundGate(5.0, 0.0)
    gate.heard(1, True, 1.0)
    gate.heard(1, False, 2.0)

    assert 5.0 == gate.wait_s(2.0)


def test_gate_asks_on_and_on_where_requests_are_decided_at_once() -> None:
    """One announcement is enough, and the end of its own round does not close the gate."""
    gate = RoundGate(5.0, 0.0)
    gate.heard(1, True, 1.0, immediate=True)
    for now_s in (1.0, 2.0, 3.0):
        assert 0.0 == gate.wait_s(now_s)
        gate.take()
        gate.ended(now_s + 0.5)
        gate.heard(1, False, now_s + 0.5)

    assert 0.0 == gate.wait_s(4.0)


def test_gate_waits_for_an_announcement_after_a_request_without_decision() -> None:
    """The orchestrator may be gone: it asks again when that speaks, or after five seconds of silence."""
    gate = RoundGate(5.0, 0.0)
    gate.heard(1, True, 1.0, immediate=True)
    gate.take()
    gate.ended(2.0, decided=False)
    assert 5.0 == gate.wait_s(2.0)
    gate.heard(2, True, 3.0, immediate=True)

    assert 0.0 == gate.wait_s(3.0)


def test_gate_does_not_go_on_for_ever_without_a_word() -> None:
    """What was announced holds for five seconds; then it is a silence like any other."""
    gate = RoundGate(5.0, 0.0)
    gate.heard(1, True, 1.0, immediate=True)
    gate.take()
    gate.ended(6.5)

    assert 5.0 == gate.wait_s(6.5)


def test_gate_keeps_to_rounds_when_they_are_announced_again() -> None:
    """The orchestrator was started anew in synchronous mode."""
    gate = RoundGate(5.0, 0.0)
    gate.heard(1, True, 1.0, immediate=True)
    gate.heard(2, True, 1.5)
    gate.take()
    gate.ended(2.0)

    assert 5.0 == gate.wait_s(2.0)
