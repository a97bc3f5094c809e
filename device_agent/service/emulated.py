"""The Intelligent Service of an emulated node: a virtual server says when, a real inference says what.

Each job runs for real, one after the other in one thread, because all nodes of a fleet share the machine's cores. Its
result is held back until the virtual server has finished the job. An inference that took longer than that is counted
in `overruns`, and its time is reported as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from broker.clock import Clock
from broker.events import event
from broker.vocabulary import ModelName
from device_agent.emulation.virtual_server import Happened, Step, VirtualServer
from device_agent.service.fair_queue import JobFuture, Waiting
from device_agent.service.inference import Classification, Models, classify, outcome_of
from device_agent.service.job import Declined, Job, Refusal, Served
from device_agent.service.service import IntelligentService, answer

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """A job in the virtual server, and what is known of it so far."""

    job: Job
    future: JobFuture
    arrived_s: float
    started_s: float | None = None
    finished_s: float | None = None  # virtual
    classification: Classification | None = None


class EmulatedService(IntelligentService):
    """Jobs take `reference_ms` as the virtual server shares it out; what it reports says so."""

    emulated = True

    def __init__(
        self,
        models: Models,
        server: VirtualServer,
        reference_ms: Mapping[ModelName, float],
        limit: int,
        clock: Clock,
        slots: int | None = None,
    ) -> None:
        """`slots`: how many jobs the virtual server runs at once; None: `limit`."""
        super().__init__(models, limit if slots is None else slots, limit, clock)
        self._server = server
        self._reference_ms = reference_ms
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._held: dict[int, _Held] = {}
        self._last_key = 0
        self._timer: asyncio.TimerHandle | None = None
        self._cpu_read: tuple[float, float] | None = None

    @property
    def in_service(self) -> int:
        return len(self._held)

    def cpu_percent(self) -> float:
        """The emulated CPU since the last call: the time average of min(1, jobs/vCPUs)."""
        now_s = self._clock.monotonic()
        busy_s = self._server.busy_s(now_s)
        since_s, busy_before_s = self._cpu_read or (now_s, busy_s)
        self._cpu_read = (now_s, busy_s)
        return min(100.0, 100.0 * (busy_s - busy_before_s) / (now_s - since_s)) if now_s > since_s else 0.0

    def _start(self, entry: Waiting, now_s: float) -> None:
        job, future = entry.job, entry.future
        reference_ms = self._reference_ms.get(job.model)
        if reference_ms is None:
            answer(future, Declined(Refusal.UNKNOWN_MODEL, f"no emulated time for {job.model}"))
            return
        self._last_key += 1
        self._held[self._last_key] = _Held(job, future, entry.arrived_s)
        future.add_done_callback(partial(self._forget_given_up, self._last_key))
        self._server.admit(self._last_key, reference_ms / 1000, now_s, job.deadline_s)
        self._step()

    def _step(self) -> None:
        """Act on what has happened in the virtual server until now, and come back for the next event."""
        for happened in self._server.advance(self._clock.monotonic()):
            if (held := self._held.get(happened.key)) is not None:
                self._act(happened, held)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (next_s := self._server.next_finish_s) is not None:
            delay_s = max(0.0, next_s - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._step)

    def _act(self, happened: Happened, held: _Held) -> None:
        if happened.step is Step.STARTED:
            held.started_s = happened.at_s
            run = asyncio.get_running_loop().run_in_executor(self._thread, classify, self._models, held.job)
            run.add_done_callback(partial(self._inferred, happened.key))
        elif happened.step is Step.EXPIRED:
            self._end(happened.key, Declined(Refusal.EXPIRED, "its deadline passed while it waited"))
        else:
            held.finished_s = happened.at_s
            if held.classification is not None:
                self._release(happened.key, held, held.classification, happened.at_s)

    def _inferred(self, key: int, run: asyncio.Future[Classification | Declined]) -> None:
        outcome, held = outcome_of(run), self._held.get(key)
        if held is None:  # given up meanwhile
            return
        if isinstance(outcome, Declined):
            self._end(key, outcome)
        elif held.finished_s is None:
            held.classification = outcome
        else:
            now_s = self._clock.monotonic()
            self.overruns += 1
            late_ms = (now_s - held.finished_s) * 1000
            event(log, logging.WARNING, "overrun", model=held.job.model, late_ms=late_ms, overruns=self.overruns)
            self._release(key, held, outcome, now_s)

    def _release(self, key: int, held: _Held, classification: Classification, ended_s: float) -> None:
        started_s = ended_s if held.started_s is None else held.started_s
        queue_ms, compute_ms = (started_s - held.arrived_s) * 1000, (ended_s - started_s) * 1000
        self._end(key, Served(classification.label, classification.trained, queue_ms, compute_ms, emulated=True))

    def _end(self, key: int, outcome: Served | Declined) -> None:
        answer(self._held[key].future, outcome)
        self._withdraw(key)

    def _forget_given_up(self, key: int, future: JobFuture) -> None:
        if future.cancelled():
            self._withdraw(key)

    def _withdraw(self, key: int) -> None:
        if self._held.pop(key, None) is not None:
            self._server.withdraw(key, self._clock.monotonic())
            self._step()
            self._start_waiting(self._clock.monotonic())

    def _running_jobs(self) -> list[JobFuture]:
        return [held.future for held in self._held.values()]

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
