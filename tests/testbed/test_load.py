"""The load that we put on an orchestrator: small, short, and every request accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.load.crowd import Crowd
from testbed.load.flood import flooding
from testbed.load.ledger import Ledger, percentile
from testbed.load.site import Site
from testbed.load.steady import crowd_at, hold

DEVICES = 50


@contextmanager
def _crowd(directory: Path, policy: str, devices: int) -> Iterator[tuple[Site, Crowd]]:
    with Site(directory, policy) as site:
        crowd = crowd_at(site, devices)
        try:
            yield site, crowd
        finally:
            crowd.close()


@pytest.mark.mosquitto
@pytest.mark.system
@pytest.mark.slow
@pytest.mark.parametrize("policy", ["edge_only", "factored"])
def test_every_request_of_fifty_devices_is_answered_and_stored_once(tmp_path: Path, policy: str) -> None:
    """For two seconds, over real Mosquitto: decided, reported, acknowledged, and as many rows in the log."""
    with _crowd(tmp_path, policy, DEVICES) as (site, crowd):
        run = hold(site, crowd, 2.0, 2.0, warm_up_s=0.5)
    figures = run.figures

    assert figures.sent >= DEVICES
    assert (0, 0, 0) == (figures.without_outcome, figures.doubled, figures.unacknowledged)
    assert DEVICES + len(crowd.ledger) <= site.stored()


@pytest.mark.mosquitto
@pytest.mark.system
@pytest.mark.slow
def test_beside_a_flood_the_requests_of_others_are_answered(tmp_path: Path) -> None:
    """One device sends 5,000 requests a second; what is over its limit is refused by name, and counted."""
    with _crowd(tmp_path, "edge_only", 20) as (site, crowd):
        with flooding(site):
            run = hold(site, crowd, 2.0, 2.0, warm_up_s=1.0)
        crowd.run(0.5)
    figures = run.figures

    assert figures.sent >= 20
    assert (0, 0) == (figures.without_outcome, figures.doubled)
    assert "too_many_messages" in site.log.read_text(encoding="utf-8")


def test_a_ledger_knows_what_became_of_each_request() -> None:
    """One decided, one refused, one late, one given up, one forgotten."""
    ledger = Ledger()
    decided, refused, late, given_up, _ = (ledger.send(float(number))[0] for number in range(5))
    assert ledger.decide(decided, "edge_only", 0.1)
    assert ledger.decide(refused, "safe_fallback", 1.3)
    assert not ledger.decide(decided, "edge_only", 0.2)
    assert [True, True] == [ledger.give_up(late), ledger.give_up(given_up)]
    assert not ledger.decide(late, "edge_only", 4.0)
    ledger.acknowledge(decided, 0.3)
    figures = ledger.figures()

    assert (5, 2, 1, 1) == (figures.sent, figures.within, figures.refused, figures.late)
    assert (2, 1, 1, 4) == (figures.unanswered, figures.without_outcome, figures.doubled, figures.unacknowledged)
    assert [300.0, 100.0] == pytest.approx([figures.worst_ms, figures.accepted_p99_ms])
    assert 4 == ledger.waiting()  # all but the first


def test_a_request_of_another_run_is_not_in_the_ledger() -> None:
    """Nor is an id of another shape."""
    ledger, other = Ledger(), Ledger()
    number, request_id = ledger.send(0.0)

    assert [number, None, None] == [ledger.number_of(request_id), other.number_of(request_id), ledger.number_of("x")]


@pytest.mark.parametrize(
    ("values", "percent", "expected"), [([], 99, 0.0), ([1.0, 2.0, 3.0], 50, 2.0), ([1.0], 99, 1.0)]
)
def test_a_percentile_is_by_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    """0 of nothing."""
    assert expected == percentile(values, percent)
