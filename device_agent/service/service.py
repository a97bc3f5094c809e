"""The Intelligent Service of a real node, and what it has in common with an emulated one.

fifo            as many workers as vCPUs; the others wait in a bounded queue
time_shared     every admitted job runs at once, each in a thread
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from broker.clock import Clock
from broker.events import event
from broker.rate_limit import RefusalLog
from broker.vocabulary import NodeId
from device_agent.service.fair_queue import MAX_WAITING, FairQueue, JobFuture, Waiting
from device_agent.service.inference import Classification, Models, classify, outcome_of
from device_agent.service.job import Declined, Job, Refusal, Served

log = logging.getLogger(__name__)

MAX_OF_SENDER = 1 + MAX_WAITING  # jobs of one other node that run and wait here
MAX_UNDECIDED_RUNNING = 1  # jobs that no decision named never take more than one worker


class IntelligentService(ABC):
    """Takes jobs until `limit` are admitted, and runs `slots` at once. All methods are called from the loop's thread.

    A job's future always ends with Served or Declined. Who cancels it gives the job up: if it waits, it is not run.
    """

    emulated: bool

    def __init__(self, models: Models, slots: int, limit: int, clock: Clock) -> None:
        self.overruns = 0
        self._models = models
        self._slots = slots
        self._limit = limit
        self._clock = clock
        self._stopping = False
        self._refusals = RefusalLog()
        self._unanswered: set[JobFuture] = set()
        self._queue = FairQueue()
        self._running_of: Counter[NodeId | None] = Counter()
        self._undecided_running = 0

    @property
    def waiting(self) -> int:
        """Jobs admitted and not started."""
        return len(self._queue)

    @property
    @abstractmethod
    def in_service(self) -> int:
        """Jobs that run now."""

    def submit(self, job: Job) -> JobFuture:
        """Admit `job`, or decline it at once."""
        future: JobFuture = asyncio.get_running_loop().create_future()
        if self._stopping:
            future.set_result(Declined(Refusal.STOPPING, "this node is being stopped"))
            return future
        if (full := self._has_no_room(job)) is not None:
            self._decline(future, full)
            return future
        now_s = self._clock.monotonic()
        self._unanswered.add(future)
        self._queue.push(Waiting(job, future, now_s))
        future.add_done_callback(self._ended)
        self._start_waiting(now_s)
        return future

    def _has_no_room(self, job: Job) -> str | None:
        """Why `job` is not admitted; None: it is, perhaps in place of one that waited."""
        if job.foreign:
            wait, run = self._queue.of(job.sender), self._running_of[job.sender]
            if wait >= MAX_WAITING or wait + run >= MAX_OF_SENDER:
                return f"{run} jobs of {job.sender} run and {wait} wait"
        if self.waiting + self.in_service < self._limit:
            return None
        if (displaced := self._queue.displace(job)) is None:
            return f"{self.in_service} jobs run and {self.waiting} wait"
        self._decline(displaced.future, "others come first")
        return None

    def _decline(self, future: JobFuture, detail: str) -> None:
        says, unsaid = self._refusals.says(self._clock.monotonic())
        if says:
            event(log, logging.INFO, "job_refused", reason=Refusal.BUSY, detail=detail, before_without_a_line=unsaid)
        answer(future, Declined(Refusal.BUSY, detail))

    def _start_waiting(self, now_s: float) -> None:
        """Start jobs while there are slots; those whose deadline has passed meanwhile expire."""
        while self.in_service < self._slots and not self._stopping:
            entry = self._queue.pop(undecided=self._undecided_running < MAX_UNDECIDED_RUNNING)
            if entry is None:
                return
            if entry.future.done():
                continue
            if entry.job.deadline_s < now_s:
                answer(entry.future, Declined(Refusal.EXPIRED, "its deadline passed while it waited"))
                continue
            self._running_of[entry.job.sender] += 1
            self._undecided_running += not entry.job.decided
            entry.future.add_done_callback(partial(self._left, entry.job))
            self._start(entry, now_s)

    def _left(self, job: Job, _future: JobFuture) -> None:
        self._undecided_running -= not job.decided
        self._running_of[job.sender] -= 1
        if self._running_of[job.sender] <= 0:
            del self._running_of[job.sender]
        self._start_waiting(self._clock.monotonic())

    def _ended(self, future: JobFuture) -> None:
        self._unanswered.discard(future)
        if future.cancelled():
            self._queue.forget_done()

    async def drain(self, timeout_s: float) -> None:
        """Admit nothing more, hand back what waits as `stopping`, and let what runs finish, or hand it back too."""
        self._stopping = True
        for entry in self._queue.pop_all():
            answer(entry.future, Declined(Refusal.STOPPING, "this node is being stopped"))
        if running := self._running_jobs():
            await asyncio.wait(running, timeout=timeout_s)
        self._close()
        for future in tuple(self._unanswered):
            answer(future, Declined(Refusal.STOPPING, "this node was stopped before the job ended"))

    @abstractmethod
    def _start(self, entry: Waiting, now_s: float) -> None:
        """Run a job; its outcome goes to its future."""

    @abstractmethod
    def _running_jobs(self) -> list[JobFuture]: ...

    @abstractmethod
    def _close(self) -> None: ...


def answer(future: JobFuture, outcome: Served | Declined) -> None:
    """Give `outcome` to whoever still waits for it."""
    if not future.done():
        future.set_result(outcome)


class RealService(IntelligentService):
    """Runs jobs on this machine's cores, `slots` at once, and reports what was measured."""

    emulated = False

    def __init__(self, models: Models, slots: int, limit: int, clock: Clock) -> None:
        super().__init__(models, slots, limit, clock)
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="inference")
        self._running: set[JobFuture] = set()

    @property
    def in_service(self) -> int:
        return len(self._running)

    def _start(self, entry: Waiting, now_s: float) -> None:  # noqa: ARG002  # real time passes meanwhile
        # The requester may cancel its future; the thread runs on, and its slot is taken until it ends.
        occupied: JobFuture = asyncio.get_running_loop().create_future()
        self._running.add(occupied)
        run = asyncio.get_running_loop().run_in_executor(self._threads, classify, self._models, entry.job)
        run.add_done_callback(partial(self._finished, entry, self._clock.monotonic(), occupied))

    def _finished(
        self,
        entry: Waiting,
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
        self._start_waiting(self._clock.monotonic())

    def _running_jobs(self) -> list[JobFuture]:
        return list(self._running)

    def _close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
