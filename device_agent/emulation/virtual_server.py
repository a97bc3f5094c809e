"""Virtual servers: when each job starts and finishes, in exact event times.

ProcessorSharing        all jobs at once; with n of them each proceeds at speed 1/(1 + c(n-1))
FirstInFirstOut         k servers at full speed, one queue

Times are seconds on any clock that does not step back; `work_s` is what a job takes alone.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """What can happen to a job. Each job ends with `finished` or `expired`, unless it is withdrawn."""

    STARTED = "started"
    FINISHED = "finished"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Happened:
    """One step of one job, at the exact time at which it happened."""

    step: Step
    key: int
    at_s: float


class VirtualServer(ABC):
    """What both disciplines share: passing time, and how busy the node was."""

    def __init__(self, vcpus: int) -> None:
        self._vcpus = vcpus
        self._now_s = -math.inf
        self._busy_s = 0.0
        self._happened: list[Happened] = []

    @property
    @abstractmethod
    def in_service(self) -> int:
        """Jobs that proceed now."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Jobs that were admitted and have not started."""

    @property
    @abstractmethod
    def next_finish_s(self) -> float | None:
        """When the next job finishes if nothing else comes; None without jobs."""

    def admit(self, key: int, work_s: float, now_s: float, deadline_s: float = math.inf) -> None:
        """Take in a job. One that cannot start by `deadline_s` expires."""
        self._run_until(now_s)
        self._take(key, work_s, deadline_s)

    def withdraw(self, key: int, now_s: float) -> None:
        """Forget a job, running or waiting; unknown and ended ones are ignored."""
        self._run_until(now_s)
        self._drop(key)

    def advance(self, now_s: float) -> list[Happened]:
        """Let time pass; all that happened since the last call, in order."""
        self._run_until(now_s)
        happened, self._happened = self._happened, []
        return happened

    def busy_s(self, now_s: float) -> float:
        """The integral of min(1, n/vcpus) up to now: its difference over a period is the emulated CPU."""
        self._run_until(now_s)
        return self._busy_s

    @abstractmethod
    def _run_until(self, now_s: float) -> None: ...

    @abstractmethod
    def _take(self, key: int, work_s: float, deadline_s: float) -> None: ...

    @abstractmethod
    def _drop(self, key: int) -> None: ...

    def _pass_to(self, now_s: float) -> None:
        if now_s > self._now_s:
            if self.in_service:
                self._busy_s += (now_s - self._now_s) * min(1.0, self.in_service / self._vcpus)
            self._now_s = now_s

    def _note(self, step: Step, key: int) -> None:
        self._happened.append(Happened(step, key, self._now_s))


class ProcessorSharing(VirtualServer):
    """Time-shared, as the paper's nodes were: nobody waits, everybody is slowed down by `contention` per other job."""

    def __init__(self, contention: float, vcpus: int = 1) -> None:
        super().__init__(vcpus)
        self._contention = contention
        self._progress_s = 0.0  # work that a job present from the start would have got; jobs differ only by offset
        self._ends: list[tuple[float, int]] = []  # heap of (progress at which the job is done, key)

    @property
    def in_service(self) -> int:
        return len(self._ends)

    @property
    def waiting(self) -> int:
        return 0

    @property
    def next_finish_s(self) -> float | None:
        if not self._ends:
            return None
        return self._now_s + max(0.0, self._ends[0][0] - self._progress_s) * self._slowdown

    @property
    def _slowdown(self) -> float:
        return 1.0 + self._contention * (len(self._ends) - 1)

    def _run_until(self, now_s: float) -> None:
        while (finish_s := self.next_finish_s) is not None and finish_s <= now_s:
            self._pass_to(finish_s)
            self._progress_s, key = heapq.heappop(self._ends)
            self._note(Step.FINISHED, key)
        if not self._ends:
            self._progress_s = 0.0  # a number that only grew would lose precision
        elif now_s > self._now_s:
            self._progress_s += (now_s - self._now_s) / self._slowdown
        self._pass_to(now_s)

    def _take(self, key: int, work_s: float, deadline_s: float) -> None:
        if deadline_s < self._now_s:
            self._note(Step.EXPIRED, key)
            return
        heapq.heappush(self._ends, (self._progress_s + work_s, key))
        self._note(Step.STARTED, key)

    def _drop(self, key: int) -> None:
        self._ends = [end for end in self._ends if end[1] != key]
        heapq.heapify(self._ends)


class FirstInFirstOut(VirtualServer):
    """`servers` jobs at full speed; the others wait in the order of their arrival."""

    def __init__(self, servers: int, vcpus: int = 1) -> None:
        super().__init__(vcpus)
        self._servers = servers
        self._running: list[tuple[float, int]] = []  # heap of (finish, key)
        self._queue: deque[tuple[int, float, float]] = deque()  # (key, work, deadline)

    @property
    def in_service(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def next_finish_s(self) -> float | None:
        return self._running[0][0] if self._running else None

    def _run_until(self, now_s: float) -> None:
        while self._running and self._running[0][0] <= now_s:
            self._pass_to(self._running[0][0])
            _, key = heapq.heappop(self._running)
            self._note(Step.FINISHED, key)
            self._start_waiting()
        self._pass_to(now_s)

    def _take(self, key: int, work_s: float, deadline_s: float) -> None:
        self._queue.append((key, work_s, deadline_s))
        self._start_waiting()

    def _drop(self, key: int) -> None:
        self._queue = deque(job for job in self._queue if job[0] != key)
        self._running = [job for job in self._running if job[1] != key]
        heapq.heapify(self._running)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._queue and len(self._running) < self._servers:
            key, work_s, deadline_s = self._queue.popleft()
            if deadline_s < self._now_s:
                self._note(Step.EXPIRED, key)
                continue
            heapq.heappush(self._running, (self._now_s + work_s, key))
            self._note(Step.STARTED, key)
