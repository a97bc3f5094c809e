"""Acknowledges stored reports: at once, but not the same device more than once a second; then several ids together.

A device sends a report again after 3 s, so it may wait for one. A thousand devices with two requests a second are told
half as often then.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from broker.clock import Clock
from broker.messages import ReportAck
from broker.vocabulary import NodeId
from orchestrator.log_rows import Stored

APART_S = 1.0
MOST_AT_ONCE, BREATH_S = 16, 0.002  # a thousand at once would hold up requests for 50 ms
MOST_IDS = 1000  # of one message; the wire's bound

Publish = Callable[[NodeId, ReportAck], object]


class Acknowledging:
    """All calls are made in the loop's thread. What waits is bounded by what the log stores in a second."""

    def __init__(self, publish: Publish, clock: Clock) -> None:
        self._publish = publish
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[NodeId, list[str]] = {}
        self._told_s: dict[NodeId, float] = {}
        self._due: list[tuple[float, NodeId]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._tidied_s = float("-inf")

    def stored(self, stored: Stored) -> None:
        """These reports are on disk."""
        now_s = self._clock.monotonic()
        for node, request_id in stored:
            ids = self._waiting.get(node)
            if ids is None:
                ids = self._waiting[node] = []
                heapq.heappush(self._due, (self._told_s.get(node, now_s - APART_S) + APART_S, node))
            ids.append(request_id)
        self._tell(now_s)

    def close(self) -> None:
        """Tell all that waits, and from now on at once."""
        self._closed = True
        self._tell(self._clock.monotonic())
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self, now_s: float) -> None:
        told = 0
        while self._due and (self._due[0][0] <= now_s or self._closed):
            if told == MOST_AT_ONCE and not self._closed:
                break  # requests come first
            told += 1
            _, node = heapq.heappop(self._due)
            ids = self._waiting.pop(node)
            self._told_s[node] = now_s
            for start in range(0, len(ids), MOST_IDS):
                self._publish(node, ReportAck(request_ids=ids[start : start + MOST_IDS]))
        if self._due and self._timer is None:
            wait_s = max(BREATH_S, self._due[0][0] - now_s)
            self._timer = self._loop.call_later(wait_s, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now_s = self._clock.monotonic()
        if now_s - self._tidied_s >= APART_S:
            self._tidied_s = now_s
            self._told_s = {node: told_s for node, told_s in self._told_s.items() if told_s + APART_S > now_s}
        self._tell(now_s)
