"""The outbox's memory on disk: one SQLite file (WAL), written by a thread of its own.

A request is on record before it leaves, its report before nobody knows of it any more, and both until the orchestrator
has acknowledged the report. So after a crash or a power cut every request that was issued still ends in one report: a
request without one is reported as failed. The latest state of each request is what counts, so states that wait for
the disk replace each other, and share a commit.

A disk that is full or broken costs durability, never a request: it is an event, tried again, and told by `durable`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from broker.codec import encode
from broker.events import event
from broker.messages import Report
from broker.vocabulary import ModelName, NodeId, RequestId
from device_agent.outbox_file import open_outbox

log = logging.getLogger(__name__)

RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0
CLOSE_RETRIES = 3
BATCH = 500  # states in one commit
SLOW_DISK_S = 5.0  # a disk that stalls for longer is as good as broken


@dataclass(frozen=True, slots=True)
class _Begun:
    model: ModelName


class _Gone:
    """The report is acknowledged, or given up."""


GONE = _Gone()
_State = _Begun | bytes | _Gone


class ReportStore:
    """Owns one named thread from `start` to `close`. Everything but `begun` returns at once."""

    def __init__(self, path: Path, node: NodeId, synchronous: str = "full") -> None:
        """`synchronous`: `full` survives a power cut, `normal` only the death of this process. Raises OutboxRefused."""
        self._path = path
        self._connection, self.found = open_outbox(path, synchronous, node)
        self._on_disk = {report.request_id for report in self.found}
        self._waiting: dict[str, _State] = {}
        self._writing: dict[str, _State] = {}
        self._promised: dict[str, asyncio.Future[bool]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._failures = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=f"outbox-{node}")

    @property
    def durable(self) -> bool:
        """Whether the last commit succeeded."""
        return self._failures == 0

    def start(self) -> None:
        """Begin to write. Call it inside the loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def begun(self, request: RequestId, model: ModelName) -> bool:
        """Return when the request is on record; False if the disk did not take it (it is tried again), or stalls."""
        if self._failures:
            self._put(request, _Begun(model))
            return False
        promise: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with self._changed:
            self._promised[request] = promise
        self._put(request, _Begun(model))
        done, _ = await asyncio.wait({promise}, timeout=SLOW_DISK_S)
        if not done:
            with self._changed:
                self._promised.pop(request, None)
            event(log, logging.WARNING, "outbox_slow", path=self._path, longer_than_s=SLOW_DISK_S)
            return False
        return promise.result()

    def ended(self, report: Report) -> None:
        """Keep the report of a request."""
        self._put(report.request_id, encode(report))

    def forget(self, request: str) -> None:
        """Its report is acknowledged, or given up."""
        self._put(request, GONE)

    def close(self) -> None:
        """Write what waits, then end the thread; a broken disk is given up after a few failures. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._loop is not None:
            self._thread.join()
        self._connection.close()

    def _put(self, request: str, state: _State) -> None:
        with self._changed:
            if state is GONE and request not in self._on_disk and request not in self._writing:
                self._waiting.pop(request, None)  # never written: a disk that is broken for days must not fill memory
                return
            self._waiting[request] = state
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                self._writing = batch = dict(list(self._waiting.items())[:BATCH])
                closing = self._closing
            if not batch:
                return
            try:
                self._store(batch)
            except (sqlite3.Error, UnicodeEncodeError) as error:
                self._failed(error, len(batch), closing)
                if closing and self._failures >= CLOSE_RETRIES:
                    event(log, logging.ERROR, "outbox_not_stored_at_end", requests=len(batch))
                    return
            else:
                self._written(batch)

    def _store(self, batch: dict[str, _State]) -> None:
        """All in one commit. Raises sqlite3.Error when nothing was written."""
        write = self._connection.execute
        write("BEGIN IMMEDIATE")
        try:
            for request, state in batch.items():
                if isinstance(state, _Begun):
                    write("INSERT OR IGNORE INTO request (request_id, model) VALUES (?, ?)", (request, state.model))
                elif isinstance(state, bytes):
                    write(
                        "INSERT INTO request (request_id, model, report) VALUES (?, '', ?) "
                        "ON CONFLICT (request_id) DO UPDATE SET report = excluded.report",
                        (request, state),
                    )
                else:
                    write("DELETE FROM request WHERE request_id = ?", (request,))
            write("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                write("ROLLBACK")
            raise

    def _written(self, batch: dict[str, _State]) -> None:
        if self._failures:
            event(log, logging.WARNING, "outbox_stored_again", path=self._path, after_failures=self._failures)
        self._failures = 0
        with self._changed:
            for request, state in batch.items():
                if self._waiting.get(request) is state:
                    del self._waiting[request]
                if state is GONE:
                    self._on_disk.discard(request)
                else:
                    self._on_disk.add(request)
            self._writing = {}
        self._keep_promises(batch, durable=True)

    def _failed(self, error: Exception, requests: int, closing: bool) -> None:
        self._failures += 1
        if self._failures == 1:
            event(log, logging.ERROR, "outbox_not_stored", path=self._path, error=error, requests=requests)
        self._keep_promises(list(self._promised), durable=False)
        with self._changed:
            self._writing = {}
            if not closing:
                self._changed.wait_for(
                    lambda: self._closing, min(RETRY_MIN_S * 2 ** min(self._failures, 10), RETRY_MAX_S)
                )

    def _keep_promises(self, requests: dict[str, _State] | list[str], *, durable: bool) -> None:
        with self._changed:
            kept = [promise for request in requests if (promise := self._promised.pop(request, None)) is not None]
        if kept and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_keep, kept, durable)


def _keep(promises: list[asyncio.Future[bool]], durable: bool) -> None:
    for promise in promises:
        if not promise.done():
            promise.set_result(durable)
