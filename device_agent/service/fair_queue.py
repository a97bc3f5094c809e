"""Jobs that wait for a worker: those that a decision named before all others, round robin between their senders.

Pure; no I/O, no clock. A sender is another node, or None for this node's own jobs.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

from broker.vocabulary import NodeId
from device_agent.service.job import Declined, Job, Served

JobFuture = asyncio.Future[Served | Declined]
MAX_WAITING = 2  # of one sender: a device that follows the protocol has one request under way, and one it gave up


@dataclass(eq=False, slots=True)
class Waiting:
    """A job, who waits for its outcome, and when it came (monotonic clock)."""

    job: Job
    future: JobFuture
    arrived_s: float


class _Senders:
    """Round robin: whoever was served goes to the end."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[NodeId | None, deque[Waiting]] = OrderedDict()

    def push(self, entry: Waiting) -> None:
        self._waiting.setdefault(entry.job.sender, deque()).append(entry)

    def pop(self) -> Waiting | None:
        if not self._waiting:
            return None
        sender, entries = self._waiting.popitem(last=False)
        entry = entries.popleft()
        if entries:
            self._waiting[sender] = entries
        return entry

    def pop_newest_of_most(self, least: int) -> Waiting | None:
        """The newest job of the node that has most waiting, if those are at least `least`."""
        others = [sender for sender in self._waiting if sender is not None]
        most = max(others, key=lambda sender: len(self._waiting[sender]), default=None)
        if most is None or len(self._waiting[most]) < least:
            return None
        entry = self._waiting[most].pop()
        if not self._waiting[most]:
            del self._waiting[most]
        return entry

    def pop_all(self) -> list[Waiting]:
        entries = [entry for waiting in self._waiting.values() for entry in waiting]
        self._waiting.clear()
        return entries

    def counts(self) -> Counter[NodeId | None]:
        return Counter({sender: len(entries) for sender, entries in self._waiting.items()})

    def forget_done(self) -> None:
        for sender, entries in list(self._waiting.items()):
            if any(entry.future.done() for entry in entries):
                self._waiting[sender] = deque(entry for entry in entries if not entry.future.done())
                if not self._waiting[sender]:
                    del self._waiting[sender]


class FairQueue:
    """Mutable. Jobs whose future is done, because they were given up, count no more."""

    def __init__(self) -> None:
        self._decided, self._undecided = _Senders(), _Senders()
        self._count: Counter[NodeId | None] = Counter()

    def __len__(self) -> int:
        return self._count.total()

    def of(self, sender: NodeId | None) -> int:
        """How many jobs of `sender` wait."""
        return self._count[sender]

    def push(self, entry: Waiting) -> None:
        """Let a job wait, behind those of its sender."""
        (self._decided if entry.job.decided else self._undecided).push(entry)
        self._count[entry.job.sender] += 1

    def pop(self, *, undecided: bool) -> Waiting | None:
        """The job whose turn it is; one that no decision named only if no other waits, and if `undecided`."""
        return self._popped(self._decided.pop() or (self._undecided.pop() if undecided else None))

    def displace(self, job: Job) -> Waiting | None:
        """Take out a job that has to make room for `job`; None where none is worse.

        That is one that no decision named, if a decision named `job`, else one of a node that has two waiting where
        the sender of `job` has none.
        """
        worse = self._undecided.pop_newest_of_most(1) if job.decided else None
        if worse is None and self._count[job.sender] == 0:
            worse = (self._decided if job.decided else self._undecided).pop_newest_of_most(2)
        return self._popped(worse)

    def pop_all(self) -> list[Waiting]:
        """Empty the queue."""
        entries = self._decided.pop_all() + self._undecided.pop_all()
        self._count.clear()
        return entries

    def forget_done(self) -> None:
        """Drop what nobody waits for any more."""
        self._decided.forget_done()
        self._undecided.forget_done()
        self._count = self._decided.counts() + self._undecided.counts()

    def _popped(self, entry: Waiting | None) -> Waiting | None:
        if entry is not None:
            self._count[entry.job.sender] -= 1
            if self._count[entry.job.sender] <= 0:
                del self._count[entry.job.sender]
        return entry
