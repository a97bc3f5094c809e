"""The loop: a batch of each table in turn, as long as rows wait; a pause that grows while the server is away."""

from __future__ import annotations

import logging
import random
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from broker.clock import Clock
from broker.events import event
from configs.influxdb import InfluxSection
from orchestrator.errors import InfluxUnavailable
from orchestrator.shipping.delivery import Refusal, Send, deliver
from orchestrator.shipping.outbox import SOURCES, Batch, Outbox
from orchestrator.shipping.points import CHECK, series_key

log = logging.getLogger(__name__)

LAST_PASS_S = 2.0  # what a shipper that is told to end still spends on rows that wait
LONGEST_WISH_S = 3600.0  # of a server that asks for a pause
MOST_BATCHES = 200  # before the backlog is bounded again
MOST_AMENDED = 500  # ids in one SQL statement

Pause = Callable[[float], bool]
"""Waits so many seconds, or shorter when it is time to end; whether it is."""


def retry_delay_s(failures: int, section: InfluxSection, draw: Callable[[], float]) -> float:
    """The pause after so many failures on end: doubled each time, up to a limit, of which half is left to chance.

    `draw` gives a number from 0 to 1. Many shippers of one server that was away do not come back at one moment.
    """
    longest_s: float = min(section.retry_max_s, section.retry_min_s * 2 ** min(failures - 1, 30))
    return longest_s * (1 + draw()) / 2


def check_point(now_ns: int) -> str:
    """A point that nothing is wrong with. One an hour: what is sent again overwrites it."""
    hour_ns = 3_600_000_000_000
    return f"{series_key(CHECK, {'source': 'tierwise'})} written=1i {now_ns - now_ns % hour_ns}"


class Shipper:
    """Ships one log to one server. `told` hears of each batch how many rows it had.

    A batch is read while the one before it is on its way: `send` is called in a thread of its own, the log is touched
    in the caller's alone. A context manager, which ends that thread.
    """

    def __init__(
        self,
        outbox: Outbox,
        send: Send,
        section: InfluxSection,
        clock: Clock,
        told: Callable[[int], None] = lambda _rows: None,
    ) -> None:
        self._outbox = outbox
        self._send = send
        self._section = section
        self._clock = clock
        self._told = told
        self.refused = 0  # rows, so far
        self._sender = ThreadPoolExecutor(1, "influxdb-sender")

    def __enter__(self) -> Shipper:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._sender.shutdown()

    def run(self, pause: Pause) -> None:
        """Ship until `pause` says that it is time to end; then what waits, for a moment."""
        failures = 0
        ending = False

        def over() -> bool:
            nonlocal ending
            ending = ending or pause(0.0)
            return ending

        while not ending:
            delay_s = self._section.poll_s
            try:
                self.ship(over)
            except (InfluxUnavailable, sqlite3.Error) as error:
                failures += 1
                wish_s = min(getattr(error, "retry_after_s", 0.0), LONGEST_WISH_S)
                delay_s = max(wish_s, retry_delay_s(failures, self._section, random.random))
                self._tell_failure(error, failures, delay_s)
            else:
                if failures:
                    event(log, logging.INFO, "influxdb_back", url=self._section.url, failures=failures)
                failures = 0
            ending = ending or pause(delay_s)
        if not failures:
            self._last_pass()

    def ship(self, over: Callable[[], bool] = lambda: False) -> None:
        """Ship what waits, a batch of each table in turn, until nothing does or `over`.

        Raises InfluxUnavailable, sqlite3.Error; what was not settled is read and sent again by the next call.
        """
        while self._some_rounds(over) and not over():
            pass

    def _some_rounds(self, over: Callable[[], bool]) -> bool:
        """Whether more may wait."""
        for left in self._outbox.bound():
            level = logging.ERROR if left.skipped else logging.WARNING
            event(log, level, "rows_not_shipped", table=left.source, skipped=left.skipped, trimmed=left.trimmed)
        on_its_way: deque[tuple[Batch, Future[list[Refusal]]]] = deque()
        known_good = check_point(int(self._clock.wall() * 1e9))
        self._outbox.rewind()
        more = False
        try:
            for number, batch in enumerate(self._batches(), start=1):
                on_its_way.append((batch, self._sender.submit(deliver, batch.waiting, self._send, known_good)))
                if len(on_its_way) > 1:
                    self._settle(*on_its_way.popleft())
                more = bool(batch.amended)  # one batch of them at a time: they are struck out when it is settled
                if number >= MOST_BATCHES or over():
                    more = True
                    break
            while on_its_way:
                self._settle(*on_its_way.popleft())
        finally:
            wait([future for _, future in on_its_way])  # one before it failed: it is sent again, but not beside itself
        return more

    def _batches(self) -> Iterator[Batch]:
        rows = self._section.batch_rows
        more = True
        while more:
            more = False
            for measurement in SOURCES:
                if (batch := self._outbox.next_batch(measurement, rows)) is not None:
                    more = True
                    yield batch
        if (batch := self._outbox.next_amended(min(MOST_AMENDED, rows))) is not None:
            yield batch

    def _settle(self, batch: Batch, future: Future[list[Refusal]]) -> None:
        refusals = future.result()
        self._outbox.settle(batch, refusals)
        self.refused += len(refusals)
        if refusals:
            rows, first = [refusal.waiting.row_id for refusal in refusals], refusals[0]
            event(
                log, logging.ERROR, "dead_letters", table=batch.source, count=len(rows), first_row=rows[0],
                status=first.status, message=first.message,
            )  # fmt: skip
        self._told(len(batch.waiting))

    def _tell_failure(self, error: Exception, failures: int, delay_s: float) -> None:
        name = "influxdb_unavailable" if isinstance(error, InfluxUnavailable) else "response_log_unavailable"
        late = {"deadline_s": error.deadline_s} if isinstance(error, InfluxUnavailable) and error.deadline_s else {}
        event(log, logging.WARNING, name, error=error, failures=failures, retry_s=delay_s, **late)
        try:
            self._outbox.note_failure(str(error))
        except sqlite3.Error as second:  # a full disk; the event above has told
            event(log, logging.WARNING, "failure_not_noted", error=second)

    def _last_pass(self) -> None:
        ends_s = self._clock.monotonic() + LAST_PASS_S
        try:
            self.ship(lambda: self._clock.monotonic() > ends_s)
        except (InfluxUnavailable, sqlite3.Error) as error:
            event(log, logging.WARNING, "rows_left_for_later", error=error)
