"""Figures from the response log, checked by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import NothingLogged
from orchestrator.report import Filter, GroupBy, figures, percentile
from orchestrator.response_log import open_for_writing


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_for_writing(tmp_path / "log.sqlite3")) as connection:
        yield connection


def _add(connection: sqlite3.Connection, time_ns: int, node: str, response_ms: float, **changed: object) -> None:
    values: dict[str, object] = {
        "time_ns": time_ns, "site": "home", "node": node, "request_id": f"r{time_ns}", "round": 1,
        "policy": "q_learning", "policy_version": 1, "explored": 0, "floor_tenths": 890, "outcome": "done",
        "tier": "end", "model": "d0", "serving_node": node, "accuracy_tenths": 899, "response_ms": response_ms,
        "decide_ms": 0, "encode_ms": 0, "uplink_ms": 0, "queue_ms": 0, "compute_ms": 0, "downlink_ms": 0,
        "trained": 1, "emulated": 0, **changed,
    }  # fmt: skip
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO response ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def test_by_device_with_a_row_of_all(connection: sqlite3.Connection) -> None:
    """Mean, shares and outcomes of each and of both together; a failure has no response time."""
    _add(connection, 1, "s1", 100.0)
    _add(connection, 2, "s1", 300.0, tier="edge", explored=1)
    _add(connection, 3, "s2", 500.0, model="d7", accuracy_tenths=728, outcome="fallen_back")
    _add(connection, 4, "s2", 9999.0, outcome="failed", model="d4", accuracy_tenths=889)
    first, second, both = figures(connection, GroupBy.DEVICE, Filter())

    assert ("s1", 2, 200.0, 89.9, 0.5) == (
        first.group, first.requests, first.mean_ms, first.accuracy_percent, first.explored_share,
    )  # fmt: skip
    assert {"done": 0, "fallen_back": 1, "failed": 1} == second.outcomes
    assert (500.0, {"end": 1.0}, {"d7": 1.0}) == (second.mean_ms, second.tier_shares, second.model_shares)
    assert ("all", 4, 300.0, 89.0) == (both.group, both.requests, both.mean_ms, both.floor_percent)
    assert (899 * 2 + 728) / 30 == both.accuracy_percent
    assert {"edge": pytest.approx(1 / 3), "end": pytest.approx(2 / 3)} == both.tier_shares


def test_a_time_beyond_64_bits_is_as_good_as_for_ever(connection: sqlite3.Connection) -> None:
    """`--last 999999999d` and `--until 9999-01-01` are times that SQLite has no integer for."""
    _add(connection, 1, "s1", 100.0)

    assert 1 == figures(connection, GroupBy.DEVICE, Filter(-(10**23), 10**23))[0].requests


def test_a_time_span_is_half_open_and_a_policy_can_be_chosen(connection: sqlite3.Connection) -> None:
    """From `since` on, before `until`."""
    for time_ns, policy in ((10, "q_learning"), (20, "edge_only"), (30, "edge_only")):
        _add(connection, time_ns, "s1", float(time_ns), policy=policy)

    assert [10.0 + 20.0] == [2 * row.mean_ms for row in figures(connection, GroupBy.NONE, Filter(10, 30))]
    assert [20.0] == [row.mean_ms for row in figures(connection, GroupBy.DEVICE, Filter(0, 30, "edge_only"))]
    assert ["edge_only", "q_learning", "all"] == [row.group for row in figures(connection, GroupBy.POLICY, Filter())]


def test_six_times_the_best_average_the_best(connection: sqlite3.Connection) -> None:
    """89.9, not 89.89999."""
    for place in range(6):
        _add(connection, place, "s1", 1.0)

    assert [89.9] == [row.accuracy_percent for row in figures(connection, GroupBy.DEVICE, Filter())]


def test_no_rows_is_an_error(connection: sqlite3.Connection) -> None:
    """An empty log, or a span without rows."""
    with pytest.raises(NothingLogged):
        figures(connection, GroupBy.DEVICE, Filter())
    _add(connection, 10, "s1", 1.0)
    with pytest.raises(NothingLogged):
        figures(connection, GroupBy.NONE, Filter(since_ns=11))


def test_only_failures_have_no_times(connection: sqlite3.Connection) -> None:
    """None, not a number that looks like one."""
    _add(connection, 10, "s1", 1.0, outcome="failed")
    (row,) = figures(connection, GroupBy.DEVICE, Filter())

    assert (None, None, None) == (row.mean_ms, row.p99_ms, row.accuracy_percent)


@given(values=st.lists(st.floats(0, 1e5), min_size=1, max_size=60), percent=st.sampled_from([0, 50, 95, 99, 100]))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    """Linear interpolation between the closest ranks."""
    assert float(np.percentile(values, percent)) == pytest.approx(percentile(sorted(values), percent), abs=1e-6)
