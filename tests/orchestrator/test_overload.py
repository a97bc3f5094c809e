"""Refusal over delay: how far behind the orchestrator is, and when it answers as cheaply as can be."""

from __future__ import annotations

import pytest

from orchestrator.lag import Lag
from orchestrator.overload import CAUGHT_UP_S, CHEAP_FROM_S, MANY_PER_S, NONE_FROM_S, Answer, Overload


def test_nothing_is_late_before_a_first_ping_has_come_back() -> None:
    """A broker that does not let us ping ourselves is no overload."""
    lag = Lag()
    lag.next_ping(0.0)
    lag.next_ping(0.05)

    assert 0.0 == lag.seconds(100.0)


def test_it_is_as_late_as_the_way_of_its_last_ping() -> None:
    """There and back through the broker."""
    lag = Lag()
    lag.heard(lag.next_ping(1.0), 1.25)

    assert 0.25 == lag.seconds(1.3)


def test_a_ping_that_is_still_under_way_counts_by_its_age() -> None:
    """The first came; the second does not."""
    lag = Lag()
    lag.heard(lag.next_ping(0.0), 0.001)
    lag.next_ping(1.0)

    assert [0.01, 0.2] == pytest.approx([lag.seconds(1.01), lag.seconds(1.2)])


def test_pings_that_the_broker_dropped_are_forgotten_with_the_next_that_comes() -> None:
    """The third came in 1 ms, though the second never did."""
    lag = Lag()
    lag.heard(lag.next_ping(0.0), 0.001)
    lag.next_ping(1.0)
    lag.heard(lag.next_ping(2.0), 2.001)

    assert 0.001 == pytest.approx(lag.seconds(2.01))


def test_a_strangers_ping_is_not_ours() -> None:
    """It wants an answer; a late one of a former session of ours does not."""
    lag = Lag()
    old = lag.next_ping(0.0)
    lag.reset()

    assert [False, True] == [lag.heard("somebody-asks", 1.0), lag.heard(old, 1.0)]


def test_a_new_session_knows_nothing() -> None:
    """What was late before it was reconnected says nothing of now."""
    lag = Lag()
    lag.heard(lag.next_ping(0.0), 1.0)
    assert 1.0 == lag.seconds(1.0)
    lag.reset()

    assert 0.0 == lag.seconds(1.0)


def _answers(late_s: list[float]) -> list[Answer]:
    """Of one request each, after a second with many."""
    now = iter(late_s)
    overload = Overload(lambda _now_s: next(now))
    for _ in range(MANY_PER_S - 1):
        overload.answer(1.0)
    return [overload.answer(1.5) for _ in late_s]


def test_few_requests_are_always_decided() -> None:
    """Whoever is late with them is late for another reason."""
    overload = Overload(lambda _now_s: 1e9)
    answers = {overload.answer(second + 0.01 * request) for second in range(1, 4) for request in range(100)}

    assert {Answer.DECIDED} == answers


def test_many_requests_are_answered_by_how_late_they_are() -> None:
    """Cheap from one threshold until below another; not at all from a third."""
    between = (CHEAP_FROM_S + CAUGHT_UP_S) / 2
    answers = _answers([between, CHEAP_FROM_S, between, NONE_FROM_S, between, 0.001, between])

    decided, cheap = Answer.DECIDED, Answer.CHEAP
    assert [decided, cheap, cheap, Answer.NONE, cheap, decided, decided] == answers


def test_what_was_many_in_one_second_is_in_the_next_from_its_first_request_on() -> None:
    """And what was refused is counted."""
    overload = Overload(lambda _now_s: CHEAP_FROM_S)
    first = [overload.answer(1.0) for _ in range(MANY_PER_S)]
    second = overload.answer(2.0)

    assert ([Answer.DECIDED, Answer.CHEAP], Answer.CHEAP) == (first[-2:], second)
    assert (2, 0) == (overload.cheap, overload.unanswered)
