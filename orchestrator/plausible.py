"""Reports whose times cannot be: stored, so that no request is lost, but as failed and without these times."""

from __future__ import annotations

from msgspec import structs

from broker.messages import Report, Stages
from broker.vocabulary import Outcome

# A device gives up at the deadline and then runs a network of its own, perhaps loading it first, on a machine that may
# be busy. What takes longer than this beyond it is no response time of anything.
MIN_SLACK_MS = 30_000.0


def plausible_report(report: Report, deadline_ms: float) -> Report:
    """Return `report` itself, or a failed one in its place if one of its times is beyond the deadline and its slack."""
    limit_ms = deadline_ms + max(deadline_ms, MIN_SLACK_MS)
    if max(report.response_ms, *structs.astuple(report.stages)) <= limit_ms:
        return report
    told_ms = report.response_ms
    return structs.replace(
        report,
        outcome=Outcome.FAILED,
        response_ms=min(told_ms, limit_ms),
        stages=Stages(),
        label=None,
        reason=f"implausible times: {told_ms:.0f} ms, where at most {limit_ms:.0f} ms can be",
    )
