"""How long decisions take: a rolling record of the last thousand rounds."""

from __future__ import annotations

from collections import deque

KEPT = 1000


class Latencies:
    """From the last request's arrival to all decisions handed to the client, in ms. Mutable."""

    def __init__(self) -> None:
        self._kept_ms: deque[float] = deque(maxlen=KEPT)

    def add(self, latency_ms: float) -> None:
        """Of one round."""
        self._kept_ms.append(latency_ms)

    def percentile(self, percent: float) -> float:
        """The nearest-rank percentile in ms; 0 before the first round."""
        ordered = sorted(self._kept_ms)
        rank = -int(-len(ordered) * percent // 100)
        return ordered[max(0, rank - 1)] if ordered else 0.0
