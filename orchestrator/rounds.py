"""The round book: which request belongs to which round, when a round is decided, and when it is complete.

Pure: no I/O, the time is passed in. A round is *collecting*, then *running* (decided, waiting for reports), then gone
from the book. Every accepted request is in exactly one round and every round is decided exactly once. Rounds may
overlap: a request that comes while others run starts the next collection. Where requests are decided at once, each is a
round of its own and due as soon as it is there. So is each request of a device that did not report (`awaited.py`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from itertools import islice

from broker.errors import Refused
from broker.messages import Report
from broker.vocabulary import NodeId, RequestId
from orchestrator.awaited import LATE_SHARE, PROMPT_SHARE, AwaitedDevices

GRACE_S = 0.5  # for a report that says "fell back at the deadline"
MISSES_BEFORE_UNEXPECTED = 3
MOST_COLLECTING = 8  # a device that asks faster than rounds are decided cannot fill the memory
MOST_UNDER_WAY = 8  # nor can one, where requests are decided at once, that asks faster than it reports
REMEMBERED_REQUESTS = 20_000


@dataclass(slots=True)
class Asked:
    """One request of one device in its round, and its report once that is there."""

    device: NodeId
    request_id: RequestId
    report: Report | None = None
    asked_s: float = 0.0
    server: NodeId | None = None  # that was named by the decision; None: the device itself, or not yet decided
    awaited: bool = True  # the next round is not opened before its report is in, or its deadline has passed


@dataclass(slots=True)
class RoundEntry:
    """One round. `outstanding` reports are waited for; `decided_s` is None while it is being collected.

    After `ends_s` no report is waited for. `alone`: of one device that is decided outside the joint round.
    """

    number: int
    first_asked_s: float
    asked: dict[NodeId, Asked] = field(default_factory=dict)
    outstanding: int = 0
    decided_s: float | None = None
    ends_s: float = float("inf")
    alone: bool = False


class RoundBook:
    """Collects requests into rounds. Times are monotonic seconds. Mutable; its calls are the only way to change it."""

    def __init__(
        self,
        next_number: int,
        window_s: float,
        deadline_s: float,
        *,
        at_once: bool = False,
        changed: Callable[[NodeId, bool], None] = lambda _device, _alone: None,
    ) -> None:
        """`at_once`: each request is a round of its own that waits for nobody.

        `changed` is called when the requests of a device begin (True) or cease to be decided outside the joint round.
        """
        self._next_number = next_number
        self._at_once = at_once
        self._window_s = window_s
        self._deadline_s = deadline_s
        self._devices = AwaitedDevices(deadline_s + GRACE_S, changed)
        self._collecting: deque[RoundEntry] = deque()
        self._alone: deque[RoundEntry] = deque()
        self._awaited = 0  # requests
        self._linked_s = float("-inf")
        self._running: dict[int, RoundEntry] = {}  # in the order in which they were decided, hence of their deadlines
        self._all_reported: list[RoundEntry] = []
        self._round_of: dict[RequestId, RoundEntry] = {}
        self._waiting_for: Counter[NodeId] = Counter()
        self._missed: Counter[NodeId] = Counter()
        self._remembered: deque[RequestId] = deque()
        self._known: set[RequestId] = set()
        self._expected_last: NodeId | None = None
        self._last_end_s = float("-inf")

    def reconfigure(self, window_s: float, deadline_s: float) -> None:
        """Collect, and wait, for so long; a round that is decided already keeps the deadline that its devices know."""
        self._window_s = window_s
        self._deadline_s = deadline_s
        self._devices.hold_up_s = deadline_s + GRACE_S

    def reconnected(self, now_s: float) -> None:
        """Reports of rounds that were decided before are missing through no fault of the devices."""
        self._linked_s = now_s

    @property
    def collecting_number(self) -> int:
        """The number of the round that the next request joins or starts."""
        return self._collecting[0].number if self._collecting else self._next_number

    @property
    def next_number(self) -> int:
        """The lowest number that no round has had yet."""
        return self._next_number

    @property
    def in_flight(self) -> bool:
        """Whether any request, or the report of one, is waited for."""
        return bool(self._collecting) or self._awaited > 0

    def ask(self, device: NodeId, request_id: RequestId, now_s: float) -> int:
        """Take a request into the first collection that lacks its device; returns the round's number.

        A device that did not report gets a collection of its own, which is due at once.
        Raises Refused: `duplicate` (the id was taken before), `too_many_requests` (its device is in every collection,
        or has too many under way that are decided at once).
        """
        if request_id in self._known or request_id in self._round_of:
            raise Refused("duplicate", f"request {request_id} of {device} was taken before")
        alone = self._devices.decided_alone(device, now_s)
        entry = self._collection_for(device, self._at_once or alone)
        if entry is None:
            entry = RoundEntry(self._next_number, now_s, alone=alone)
            self._next_number += 1
            (self._alone if alone else self._collecting).append(entry)
        awaited = self._devices.waits_for(device)
        entry.asked[device] = Asked(device, request_id, asked_s=now_s, awaited=awaited)
        entry.outstanding += 1
        self._awaited += awaited
        self._remember(request_id)
        self._round_of[request_id] = entry
        self._waiting_for[device] += 1
        del self._missed[device]
        return entry.number

    def answer(self, device: NodeId, request_id: RequestId) -> None:
        """Take a request that is answered outside all rounds. Raises Refused (`duplicate`)."""
        if request_id in self._known or request_id in self._round_of:
            raise Refused("duplicate", f"request {request_id} of {device} was taken before")
        self._remember(request_id)

    def due(self, online: Set[NodeId], now_s: float) -> list[RoundEntry]:
        """Close and return, oldest first, each round that has to be decided now.

        That is when every expected device has asked, or `window_s` after the round's first request. Expected: online,
        with no request in flight, and not one that missed the last three rounds, nor one that rounds do not wait for
        (`awaited.py`). Where requests are decided at once nobody is expected.
        """
        if self._at_once:
            return self.close_all(now_s)
        closed = self._close(self._alone, now_s)
        while self._collecting:
            entry = self._collecting[0]
            window_ends_s = entry.first_asked_s + self._window_s
            if self._somebody_is_expected(online, entry):
                if now_s < window_ends_s:
                    break
                absent = [device for device in online if self._is_expected(device, entry)]
                self._missed.update(absent)
                self._devices.on_late(absent)
            self._note_order(entry, now_s)
            closed.append(self._close_oldest(self._collecting, now_s))
        return closed

    def close_all(self, now_s: float) -> list[RoundEntry]:
        """Close every collection, whoever is expected."""
        return self._close(self._alone, now_s) + self._close(self._collecting, now_s)

    def report(self, device: NodeId, report: Report) -> bool:
        """Take a report into its round. False: not one that a round in the book still waits for from this device."""
        entry = self._round_of.get(RequestId(report.request_id))
        asked = entry.asked.get(device) if entry is not None else None
        if entry is None or asked is None or asked.request_id != report.request_id or asked.report is not None:
            return False
        asked.report = report
        entry.outstanding -= 1
        self._awaited -= asked.awaited
        if entry.decided_s is not None:
            self._devices.on_report(device)
        if entry.outstanding == 0 and entry.decided_s is not None:
            self._all_reported.append(entry)
        self._no_longer_waits_for(device)
        return True

    def complete(self, now_s: float) -> list[RoundEntry]:
        """Remove and return each running round of which all reports are in, or whose deadline has passed."""
        ended, self._all_reported = self._all_reported, []
        for entry in self._running.values():
            if now_s < entry.ends_s:
                break
            if entry.outstanding:
                ended.append(entry)
        for entry in ended:
            del self._running[entry.number]
            for asked in entry.asked.values():
                del self._round_of[asked.request_id]
            if entry.outstanding:
                self._miss_reports(entry, now_s)
        return ended

    def _miss_reports(self, entry: RoundEntry, now_s: float) -> None:
        # Where none of several devices reported, or the link was lost meanwhile, it is hardly the devices' fault.
        decided_s = now_s if entry.decided_s is None else entry.decided_s
        at_fault = decided_s >= self._linked_s and (len(entry.asked) == 1 or entry.outstanding < len(entry.asked))
        for asked in entry.asked.values():
            if asked.report is None:
                self._awaited -= asked.awaited
                self._no_longer_waits_for(asked.device)
                if at_fault and asked.awaited:
                    self._devices.on_missing(asked.device, now_s)

    def next_event_s(self) -> float | None:
        """When, by time alone, a round is due or complete; None when nothing is in flight."""
        times_s = [entry.first_asked_s + self._window_s for entry in islice(self._collecting, 1)]
        times_s += [entry.ends_s for entry in islice(self._running.values(), 1)]
        return min(times_s, default=None)

    def _collection_for(self, device: NodeId, own: bool) -> RoundEntry | None:
        """The collection that a request of `device` joins; None: a new one. Raises Refused (`too_many_requests`)."""
        if own:
            if self._waiting_for[device] >= MOST_UNDER_WAY:
                raise Refused("too_many_requests", f"{device} has {MOST_UNDER_WAY} requests under way")
            return None
        entry = next((entry for entry in self._collecting if device not in entry.asked), None)
        if entry is None and len(self._collecting) >= MOST_COLLECTING:
            raise Refused("too_many_requests", f"{device} has {MOST_COLLECTING} requests undecided")
        return entry

    def _note_order(self, entry: RoundEntry, now_s: float) -> None:
        """Who joined late what most had joined early, and whether those that were late before did not."""
        late_s, prompt_s = (entry.first_asked_s + share * self._window_s for share in (LATE_SHARE, PROMPT_SHARE))
        if len(entry.asked) == 1 or (now_s < late_s and not self._devices.any_late):
            return
        prompt = [asked.device for asked in entry.asked.values() if asked.asked_s <= prompt_s]
        if 2 * len(prompt) > len(entry.asked):
            self._devices.on_late(asked.device for asked in entry.asked.values() if asked.asked_s >= late_s)
        self._devices.on_prompt(prompt)

    def _close(self, collecting: deque[RoundEntry], now_s: float) -> list[RoundEntry]:
        closed = []
        while collecting:
            closed.append(self._close_oldest(collecting, now_s))
        return closed

    def _close_oldest(self, collecting: deque[RoundEntry], now_s: float) -> RoundEntry:
        entry = collecting.popleft()
        entry.decided_s = now_s
        # Never before a round that was decided earlier, under a longer deadline: they end in order.
        entry.ends_s = self._last_end_s = max(self._last_end_s, now_s + self._deadline_s + GRACE_S)
        self._running[entry.number] = entry
        if entry.outstanding == 0:
            self._all_reported.append(entry)
        return entry

    def _is_expected(self, device: NodeId, entry: RoundEntry) -> bool:
        return (
            device not in entry.asked
            and self._waiting_for[device] == 0
            and self._missed[device] < MISSES_BEFORE_UNEXPECTED
            and self._devices.waits_for(device)
        )

    def _somebody_is_expected(self, online: Set[NodeId], entry: RoundEntry) -> bool:
        # The device that was waited for last is asked about first, so a round of N devices is not scanned N times.
        last = self._expected_last
        if last is None or last not in online or not self._is_expected(last, entry):
            last = self._expected_last = next((device for device in online if self._is_expected(device, entry)), None)
        return last is not None

    def _no_longer_waits_for(self, device: NodeId) -> None:
        self._waiting_for[device] -= 1
        if self._waiting_for[device] <= 0:
            del self._waiting_for[device]

    def _remember(self, request_id: RequestId) -> None:
        self._known.add(request_id)
        self._remembered.append(request_id)
        if len(self._remembered) > REMEMBERED_REQUESTS:
            self._known.discard(self._remembered.popleft())
