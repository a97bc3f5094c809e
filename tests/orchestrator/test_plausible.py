"""Reports with times that cannot be."""

from __future__ import annotations

import pytest

from broker.messages import Report, Stages
from broker.vocabulary import Outcome, Tier
from orchestrator.plausible import plausible_report


def _report(response_ms: float, **stages: float) -> Report:
    return Report(
        request_id="request-1", outcome=Outcome.DONE, decided=True, tier=Tier.EDGE, model="d0", serving_node="edge",
        response_ms=response_ms, stages=Stages(**stages), label="cat",
    )  # fmt: skip


@pytest.mark.parametrize(("response_ms", "deadline_ms"), [(35_000.0, 5000.0), (120_000.0, 60_000.0), (12.5, 5000.0)])
def test_what_a_device_may_need_is_taken_as_it_is(response_ms: float, deadline_ms: float) -> None:
    """The deadline, and beyond it as long again, at least 30 s."""
    report = _report(response_ms, compute_ms=response_ms)

    assert report is plausible_report(report, deadline_ms)


@pytest.mark.parametrize("report", [_report(86_400_000.0), _report(35_001.0), _report(100.0, compute_ms=86_400_000.0)])
def test_what_cannot_be_is_stored_as_failed_without_its_times(report: Report) -> None:
    """The request is not lost, nothing is sent again for ever, and no average holds the time."""
    taken = plausible_report(report, 5000.0)

    assert ("request-1", Outcome.FAILED, None, Stages()) == (
        taken.request_id, taken.outcome, taken.label, taken.stages,
    )  # fmt: skip
    assert taken.response_ms <= 35_000.0
    assert taken.reason is not None
    assert taken.reason.startswith("implausible times")
