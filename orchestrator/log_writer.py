"""The thread that stores rows in the response log: in batches, one commit each, and only then an acknowledgement.

Nothing here blocks the loop: rows go into a queue. A full disk or a locked database is an event and tried again, for
as long as it takes; what is not stored is not acknowledged, so its device sends it again.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from broker.clock import Clock
from broker.events import event
from broker.rate_limit import RefusalLog
from broker.vocabulary import ModelName, SiteId
from orchestrator.errors import LogRefused
from orchestrator.log_rows import Listener, Row, TelemetryRow
from orchestrator.log_store import LogStore
from orchestrator.response_log import open_for_writing
from orchestrator.retention import PAUSE_S, Expiry, Retention

log = logging.getLogger(__name__)

BATCH_ROWS = 2000
TELEMETRY_WAITS_S = 1.0  # telemetry alone is committed once a second, not message by message
RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0
CLOSE_RETRIES = 5
MOST_PENDING = 100_000
IDLE_S = 60.0  # after so long without a row, old ones are looked for all the same
COMMITS_APART_S = 0.02  # a commit costs as much as fifty rows


class LogWriter:
    """Owns one named thread from `start` to `close`. `put` never blocks. Counts what it dropped, per kind."""

    def __init__(
        self,
        path: Path,
        site: SiteId,
        accuracy_tenths: Mapping[ModelName, int],
        listener: Listener,
        clock: Clock,
        telemetry_rows: int = 500_000,
        retention: Retention | None = None,
    ) -> None:
        """Raises LogRefused."""
        self.dropped: Counter[str] = Counter()
        self.connection = open_for_writing(path)
        self._log_store = LogStore(self.connection, site, accuracy_tenths, clock, self.dropped)
        self._listener = listener
        self._clock = clock
        self._telemetry_rows = telemetry_rows
        self._retention = retention or Retention()
        self._expiry = Expiry(self.connection, clock)
        self._queue: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._undeleted = RefusalLog()
        self._closing = threading.Event()
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run, name="response-log")

    def reconfigure(self, telemetry_rows: int, retention: Retention | None = None) -> None:
        """Keep so many rows of telemetry, from the next one that is stored on, and all rows so long."""
        self._telemetry_rows = telemetry_rows
        self._retention = retention or self._retention

    def start(self) -> None:
        """Begin to store. From here on the connection is the thread's."""
        self._thread.start()

    def check(self) -> None:
        """Raise LogRefused if the thread has ended by itself: then nothing would be stored or acknowledged any more."""
        if not self._thread.is_alive():
            raise LogRefused("the thread that writes the response log has ended; the log above says why")

    @property
    def waiting(self) -> int:
        """How many rows wait for the disk."""
        return self._queue.qsize()

    def put(self, row: Row) -> bool:
        """Hand over one row. False, counted, when too many wait: a report is sent again then, others are lost."""
        if self._queue.qsize() >= MOST_PENDING:
            self.dropped[type(row).__name__] += 1
            return False
        self._queue.put(row)
        return True

    def close(self) -> None:
        """Store what waits, then end the thread; gives up after a few failures, without acknowledging. Blocks."""
        self._closing.set()
        self._pause.set()
        self._queue.put(None)
        self._thread.join()
        self.connection.close()

    def _run(self) -> None:
        batch: list[Row] = []
        failures = 0
        while True:
            if not batch:
                self._collect(batch)
            if closing := self._closing.is_set():
                self._drain(batch)
            if not batch:
                if closing:
                    return
                self._delete_old()
                continue
            try:
                self._store(batch)
            except sqlite3.Error as error:
                failures += 1
                retry_s = min(RETRY_MIN_S * 2 ** min(failures, 10), RETRY_MAX_S)
                event(log, logging.ERROR, "log_not_stored", error=error, rows=len(batch), retry_s=retry_s)
                if closing and failures >= CLOSE_RETRIES:
                    event(log, logging.ERROR, "log_rows_lost", rows=len(batch))
                    return
                self._pause.wait(RETRY_MIN_S if closing else retry_s)
                self._pause.clear()
            else:
                batch, failures = [], 0
                if closing:
                    return  # all that was put before `close` was in that batch
                self._delete_old()
                self._pause.wait(COMMITS_APART_S)

    def _delete_old(self) -> None:
        """What is stored has been acknowledged; one small batch is deleted before the next is stored."""
        try:
            self._expiry.delete(self._retention)
        except sqlite3.Error as error:
            says, unsaid = self._undeleted.says(self._clock.monotonic())
            if says:
                event(log, logging.WARNING, "log_rows_not_deleted", error=error, not_logged=unsaid)

    def _collect(self, batch: list[Row]) -> None:
        """Wait for rows: until a report or decision is there and the queue empty, or telemetry has waited enough.

        None come for a while: then there is time to delete old ones.
        """
        due_s: float | None = None
        while len(batch) < BATCH_ROWS:
            try:
                idle_s = PAUSE_S if self._expiry.more else IDLE_S
                wait_s = idle_s if due_s is None else due_s - self._clock.monotonic()
                row = self._queue.get(wait_s > 0, max(wait_s, 0.0))
            except queue.Empty:
                return
            if row is None:
                return
            batch.append(row)
            if not isinstance(row, TelemetryRow):
                due_s = float("-inf")
            elif due_s is None:
                due_s = self._clock.monotonic() + TELEMETRY_WAITS_S

    def _drain(self, batch: list[Row]) -> None:
        while True:
            try:
                row = self._queue.get_nowait()
            except queue.Empty:
                return
            if row is not None:
                batch.append(row)

    def _store(self, batch: Sequence[Row]) -> None:
        """All rows in one commit; then tell. Raises sqlite3.Error when nothing was stored."""
        done = self._log_store.store(batch, self._telemetry_rows)
        if done.stored:
            self._listener.stored(done.stored)
        if done.foreign:
            self._listener.foreign(done.foreign)
        if done.deferred:
            self._listener.deferred(done.deferred)
        if done.answered:
            self._listener.answered(done.answered)
