"""A batch with bad points in it: each of them found, all others stored, and a sick server told from a bad point."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.influxdb import InfluxSection
from orchestrator.errors import InfluxUnavailable, PointsRefused
from orchestrator.shipping.delivery import Waiting, deliver
from orchestrator.shipping.shipper import retry_delay_s

GOOD = "good"


class Judge:
    """A server that refuses a write as soon as one of its lines is bad, and stores it otherwise."""

    def __init__(self, bad: frozenset[str]) -> None:
        self.bad = bad
        self.stored: set[str] = set()
        self.writes = 0

    def send(self, lines: Sequence[str]) -> None:
        self.writes += 1
        if found := self.bad & set(lines):
            raise PointsRefused(400, f"bad: {min(found)}")
        self.stored |= set(lines)


def batch_of(size: int) -> list[Waiting]:
    return [Waiting(number, f"line-{number}") for number in range(size)]


@given(size=st.integers(0, 70), data=st.data())
def test_exactly_the_bad_points_are_refused_and_all_others_stored(size: int, data: st.DataObject) -> None:
    """Whatever their number and place."""
    bad = data.draw(st.frozensets(st.sampled_from(range(size)), max_size=10)) if size else frozenset()
    judge = Judge(frozenset(f"line-{number}" for number in bad))

    refusals = deliver(batch_of(size), judge.send, GOOD)

    assert sorted(bad) == [refusal.waiting.row_id for refusal in refusals]
    assert {f"line-{number}" for number in range(size) if number not in bad} == judge.stored - {GOOD}
    assert [f"bad: line-{number}" for number in sorted(bad)] == [refusal.message for refusal in refusals]


def test_one_bad_point_in_five_thousand_costs_few_writes() -> None:
    """Halving: two writes for each halving, thirteen of them, the first write and the test point."""
    judge = Judge(frozenset({"line-4321"}))

    deliver(batch_of(5000), judge.send, GOOD)

    assert 2 * 13 + 2 >= judge.writes


def test_a_server_that_refuses_even_a_good_point_condemns_no_row() -> None:
    """That is a fault of the server or of the configuration: the rows wait."""
    judge = Judge(frozenset({GOOD, "line-1"}))

    with pytest.raises(InfluxUnavailable, match="refuses even a plain test point"):
        deliver(batch_of(3), judge.send, GOOD)


@given(failures=st.integers(1, 2000), draw=st.floats(0, 1))
def test_a_pause_doubles_up_to_a_limit_and_half_of_it_is_chance(failures: int, draw: float) -> None:
    """1 s, 2 s, 4 s, ... 60 s; never less than half of that."""
    section = InfluxSection(url="http://127.0.0.1", bucket="b", retry_min_s=1.0, retry_max_s=60.0)
    whole_s = min(60.0, 2.0 ** min(failures - 1, 10))

    assert whole_s / 2 <= retry_delay_s(failures, section, lambda: draw) <= whole_s
