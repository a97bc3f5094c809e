"""What one line a minute says about requests."""

from __future__ import annotations

from broker.messages import Report, Stages
from broker.request_statistics import MAX_KEPT, MAX_REASONS, PERIOD_S, RequestStatistics
from broker.vocabulary import Outcome, Tier


def report(
    response_ms: float, tier: Tier = Tier.END, outcome: Outcome = Outcome.DONE, reason: str | None = None
) -> Report:
    return Report(
        request_id="12345678", outcome=outcome, decided=True, tier=tier, model="d0", serving_node="s1",
        response_ms=response_ms, stages=Stages(), reason=reason,
    )  # fmt: skip


def test_a_minute_is_one_line_with_mean_p95_tiers_and_fall_backs() -> None:
    """Failed requests have no response time; the most frequent reason is named."""
    statistics = RequestStatistics(100.0)
    for number in range(1, 101):
        statistics.add(report(float(number), Tier.EDGE if number <= 30 else Tier.END))
    statistics.add(report(200.0, Tier.END, Outcome.FALLEN_BACK, "no decision"))
    statistics.add(report(5000.0, Tier.END, Outcome.FAILED, "no model"))
    statistics.add(report(5000.0, Tier.END, Outcome.FAILED, "no model"))

    assert statistics.due(100.0 + PERIOD_S - 0.1) is None
    assert {
        "requests": 103,
        "mean_ms": 5250.0 / 101,
        "p95_ms": 96.0,
        "end": 71,
        "edge": 30,
        "cloud": 0,
        "fallen_back": 1,
        "failed": 2,
        "reason": "no model",
        "during_s": PERIOD_S,
    } == statistics.due(100.0 + PERIOD_S)


def test_a_minute_without_requests_is_no_line() -> None:
    """And the next one begins anew."""
    statistics = RequestStatistics(0.0)
    assert statistics.due(PERIOD_S) is None
    statistics.add(report(10.0))

    assert statistics.due(PERIOD_S + 1.0) is None
    line = statistics.due(2 * PERIOD_S)
    assert line is not None
    assert line["requests"] == 1


def test_memory_is_bounded_whatever_a_minute_brings() -> None:
    """Response times and reasons; the count stays right."""
    statistics = RequestStatistics(0.0)
    for number in range(2 * MAX_KEPT):
        statistics.add(report(1.0, outcome=Outcome.FALLEN_BACK, reason=f"reason {number}"))

    assert len(statistics._response_ms) == MAX_KEPT
    assert len(statistics._reasons) == MAX_REASONS
    line = statistics.take(1.0)
    assert line is not None
    assert line["requests"] == 2 * MAX_KEPT
