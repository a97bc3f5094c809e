"""The Intelligent Service of a real node, and what it has in common with an emulated one.

fifo            as many workers as vCPUs; the others wait in a bounded queue
time_shared     every admitted job runs at once, each in a thread
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from broker.clock import Clock
from broker.events import event
from broker.rate_limit import RefusalLog
from device_agent.service.inference import Classification, Models, classify, outcome_of
from device_agent.service.job import Declined, Job, Refusal, Served

log = logging.getLogger(__name__)

JobFuture = asyncio.Future[Served | Declined]


class IntelligentService(ABC):
    """Takes jobs until `limit` are admitted. All methods are called from the loop's thread.

    A job's future always ends with Served or Declined. Who cancels it gives the job up: if it waits, it is not run.
    """

    emulated: bool

    def __init__(self, models: Models, limit: int, clock: Clock) -> None:
        self.overruns = 0
        self._models = models
        self._limit = limit
        self._clock = clock
        self._stopping = False
        self._refusals = RefusalLog()
        self._unanswered: set[JobFuture] = set()

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Jobs admitted and not started."""

    @property
    @abstractmethod
    def in_service(self) -> int:
        """Jobs that run now."""

    def submit(self, job: Job) -> JobFuture:
        """Admit `job`, or decline it at once."""
        future: JobFuture = asyncio.get_running_loop().create_future()
        if self._stopping:
            future.set_result(Declined(Refusal.STOPPING, "this node is being stopped"))
        elif self.waiting + self.in_service >= self._limit:
            detail = f"{self.in_service} jobs run and {self.waiting} wait"
            says, unsaid = self._refusals.says(self._clock.monotonic())
            if says:
                event(
                    log, logging.INFO, "job_refused", reason=Refusal.BUSY, detail=detail, before_without_a_line=unsaid
                )
            future.set_result(Declined(Refusal.BUSY, detail))
        else:
            self._unanswered.add(future)
            future.add_done_callback(self._unanswered.discard)
            self._admit(job, future)
        return future

    async def drain(self, timeout_s: float) -> None:
        """Admit nothing more, hand back what waits as `stopping`, and let what runs finish, or hand it back too."""
        self._stopping = True
        for future in self._hand_back():
            answer(future, Declined(Refusal.STOPPING, "this node is being stopped"))
        if running := self._running_jobs():
            await asyncio.wait(running, timeout=timeout_s)
        self._close()
        for future in tuple(self._unanswered):
            answer(future, Declined(Refusal.STOPPING, "this node was stopped before the job ended"))

    @abstractmethod
    def _admit(self, job: Job, future: JobFuture) -> None: ...

    @abstractmethod
    def _hand_back(self) -> list[JobFuture]:
        """Empty the queue."""

    @abstractmethod
    def _running_jobs(self) -> list[JobFuture]: ...

    @abstractmethod
    def _close(self) -> None: ...


def answer(future: JobFuture, outcome: Served | Declined) -> None:
    """Give `outcome` to whoever still waits for it."""
    if not future.done():
        future.set_result(outcome)


@dataclass(slots=True)
class _Waiting:
    job: Job
    future: JobFuture
    arrived_s: float


class RealService(IntelligentService):
    """Runs jobs on this machine's cores, `slots` at once, and reports what was measured."""

    emulated = False

    def __init__(self, models: Models, slots: int, limit: int, clock: Clock) -> None:
        super().__init__(models, limit, clock)
        self._slots = slots
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="inference")
        self._queue: deque[_Waiting] = deque()
        self._running: set[JobFuture] = set()

    @property
    def waiting(self) -> int:
        return sum(not entry.future.done() for entry in self._queue)

    @property
    def in_service(self) -> int:
        return len(self._running)

    def _admit(self, job: Job, future: JobFuture) -> None:
        self._queue.append(_Waiting(job, future, self._clock.monotonic()))
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._queue and len(self._running) < self._slots:
            entry = self._queue.popleft()
            now_s = self._clock.monotonic()
            if entry.future.done():
                continue
            if entry.job.deadline_s < now_s:
                answer(entry.future, Declined(Refusal.EXPIRED, "its deadline passed while it waited"))
                continue
            self._run(entry, now_s)

    def _run(self, entry: _Waiting, started_s: float) -> None:
        # The requester may cancel its future; the thread runs on, and its slot is taken until it ends.
        occupied: JobFuture = asyncio.get_running_loop().create_future()
        self._running.add(occupied)
        run = asyncio.get_running_loop().run_in_executor(self._threads, classify, self._models, entry.job)
        run.add_done_callback(partial(self._finished, entry, started_s, occupied))

    def _finished(
        self,
        entry: _Waiting,
        started_s: float,
        occupied: JobFuture,
        run: asyncio.Future[Classification | Declined],
    ) -> None:
        outcome = outcome_of(run)
        if not isinstance(outcome, Declined):
            queue_ms = (started_s - entry.arrived_s) * 1000
            compute_ms = (self._clock.monotonic() - started_s) * 1000
            outcome = Served(outcome.label, outcome.trained, queue_ms, compute_ms, emulated=False)
        answer(entry.future, outcome)
        self._running.discard(occupied)
        answer(occupied, outcome)
        self._start_waiting()

    def _hand_back(self) -> list[JobFuture]:
        handed_back = [entry.future for entry in self._queue]
        self._queue.clear()
        return handed_back

    def _running_jobs(self) -> list[JobFuture]:
        return list(self._running)

    def _close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
