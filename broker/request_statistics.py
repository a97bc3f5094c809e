"""One log line a minute about requests, in place of one for each. Pure; the time is passed in."""

from __future__ import annotations

from collections import Counter, deque

from broker.messages import Report
from broker.vocabulary import Outcome, Tier

PERIOD_S = 60.0
MAX_KEPT = 10_000  # response times of one period; of more, the latest
MAX_REASONS = 200  # different ones of one period


class RequestStatistics:
    """Counts the reports of a period. Mutable. Requests that failed have no response time."""

    def __init__(self, now_s: float, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._begun_s = now_s
        self._clear()

    def add(self, report: Report) -> None:
        """Count one request that has ended."""
        self._requests += 1
        self._outcomes[report.outcome] += 1
        if report.outcome is not Outcome.FAILED:
            self._tiers[report.tier] += 1
            self._response_ms.append(report.response_ms)
        if report.outcome is not Outcome.DONE and (report.reason in self._reasons or len(self._reasons) < MAX_REASONS):
            self._reasons[report.reason or "-"] += 1

    def due(self, now_s: float) -> dict[str, object] | None:
        """The fields of a line once the period is over and anything was counted, and begin the next period."""
        if now_s - self._begun_s < self._period_s:
            return None
        return self.take(now_s)

    def take(self, now_s: float) -> dict[str, object] | None:
        """The fields of a line if anything was counted, and begin the next period now.

        `requests`; `mean_ms` and `p95_ms` (nearest rank) of those with a result; how many ran on `end`, `edge` and
        `cloud`; how many are `fallen_back` and `failed`; the most frequent `reason` of those, if any; `during_s`.
        """
        during_s, self._begun_s = now_s - self._begun_s, now_s
        if not self._requests:
            return None
        ordered = sorted(self._response_ms)
        fields: dict[str, object] = {"requests": self._requests}
        if ordered:
            fields |= {"mean_ms": sum(ordered) / len(ordered), "p95_ms": ordered[-(-len(ordered) * 95 // 100) - 1]}
        fields |= {str(tier): self._tiers[tier] for tier in Tier}
        fields |= {"fallen_back": self._outcomes[Outcome.FALLEN_BACK], "failed": self._outcomes[Outcome.FAILED]}
        if self._reasons:
            fields["reason"] = self._reasons.most_common(1)[0][0]
        self._clear()
        return {**fields, "during_s": during_s}

    def _clear(self) -> None:
        self._requests = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._tiers: Counter[Tier] = Counter()
        self._reasons: Counter[str] = Counter()
        self._response_ms: deque[float] = deque(maxlen=MAX_KEPT)
