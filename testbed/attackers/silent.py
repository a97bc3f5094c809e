"""A device that asks and does not report, or asks late, beside honest ones: a closed loop over the round book."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count

from broker.errors import Refused
from broker.messages import Report, Stages
from broker.vocabulary import ModelName, NodeId, Outcome, RequestId, Tier
from orchestrator.rounds import RoundBook, RoundEntry

WINDOW_S, DEADLINE_S = 0.2, 5.0
ASKS_AFTER_S, REPORTS_AFTER_S = 0.005, 0.02


def _report(request_id: str) -> Report:
    return Report(
        request_id=request_id, outcome=Outcome.DONE, decided=True, tier=Tier.END, model=ModelName("d0"),
        serving_node="s1", response_ms=1.0, stages=Stages(),
    )  # fmt: skip


class ClosedLoop:
    """Devices that ask when a round is opened, and report 20 ms after their decision unless `reports` says no.

    A round is opened when none is in flight, as the conductor does it.
    """

    def __init__(self, devices: int, changed: Callable[[NodeId, bool], None] = lambda _device, _alone: None) -> None:
        self.book = RoundBook(1, WINDOW_S, DEADLINE_S, changed=changed)
        self.devices = [NodeId(f"s{place}") for place in range(devices)]
        self.delay_s = dict.fromkeys(self.devices, ASKS_AFTER_S)
        self.reports: Callable[[NodeId, int], bool] = lambda _device, _number: True
        self.decided_s: dict[NodeId, list[float]] = {device: [] for device in self.devices}
        self.sizes: list[int] = []
        self._events: list[tuple[float, int, NodeId, RequestId | None]] = []
        self._numbers = count()

    def run(self, until_s: float) -> None:
        """From 0."""
        now_s, opened = 0.0, 0
        while now_s < until_s:
            while self._events and self._events[0][0] <= now_s:
                _, _, device, request_id = heappop(self._events)
                if request_id is None:
                    with suppress(Refused):
                        self.book.ask(device, RequestId(f"r{next(self._numbers)}"), now_s)
                else:
                    self.book.report(device, _report(request_id))
            for entry in self.book.due(frozenset(self.devices), now_s):
                self._decided(entry, now_s)
            self.book.complete(now_s)
            if not self.book.in_flight and self.book.collecting_number != opened:
                opened = self.book.collecting_number
                for device in self.devices:
                    heappush(self._events, (now_s + self.delay_s[device], next(self._numbers), device, None))
            by_time = self.book.next_event_s()
            now_s = min([event[0] for event in self._events[:1]] + [by_time or until_s, until_s])

    def _decided(self, entry: RoundEntry, now_s: float) -> None:
        self.sizes.append(len(entry.asked))
        for device, asked in entry.asked.items():
            self.decided_s[device].append(now_s)
            if self.reports(device, len(self.decided_s[device])):
                heappush(self._events, (now_s + REPORTS_AFTER_S, next(self._numbers), device, asked.request_id))

    def rate(self, since_s: float, until_s: float) -> float:
        """Decisions per second of all devices but the last, which is the one that misbehaves."""
        times = [time_s for device in self.devices[:-1] for time_s in self.decided_s[device]]
        return sum(since_s <= time_s < until_s for time_s in times) / (until_s - since_s)
