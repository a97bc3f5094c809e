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
from dataclasses import astuple, dataclass, field
from pathlib import Path

from broker.clock import Clock
from broker.events import event
from broker.vocabulary import ModelName, NodeId, RequestId, SiteId
from orchestrator.errors import LogRefused
from orchestrator.explained import WHY_COLUMNS, LoggedDecision, decision_of
from orchestrator.log_rows import (
    Answered,
    DecisionRow,
    ExplanationRow,
    Listener,
    QuestionRow,
    ReportRow,
    Row,
    Stored,
    TelemetryRow,
)
from orchestrator.response_log import open_for_writing

log = logging.getLogger(__name__)

BATCH_ROWS = 2000
TELEMETRY_WAITS_S = 1.0  # telemetry alone is committed once a second, not message by message
RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0
CLOSE_RETRIES = 5
MOST_PENDING = 100_000
NO_POLICY = "none"
UNKNOWN_POLICY = "unknown"

# A row that can never be stored, whatever the disk does; it must not hold up the others.
UNSTORABLE = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    UnicodeEncodeError,
    OverflowError,
)


@dataclass(slots=True)
class _Done:
    """What one batch came to; told once it is committed."""

    stored: Stored = field(default_factory=list)
    foreign: Stored = field(default_factory=list)
    answered: Answered = field(default_factory=list)


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
    ) -> None:
        """Raises LogRefused."""
        self.dropped: Counter[str] = Counter()
        self.connection = open_for_writing(path)
        self._site = site
        self._accuracy_tenths = accuracy_tenths
        self._listener = listener
        self._clock = clock
        self._telemetry_rows = telemetry_rows
        self._last_ns = {
            table: dict(self.connection.execute(f"SELECT node, max(time_ns) FROM {table} GROUP BY node"))
            for table in ("response", "decision", "telemetry")
        }
        self._queue: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run, name="response-log")

    def start(self) -> None:
        """Begin to store. From here on the connection is the thread's."""
        self._thread.start()

    def check(self) -> None:
        """Raise LogRefused if the thread has ended by itself: then nothing would be stored or acknowledged any more."""
        if not self._thread.is_alive():
            raise LogRefused("the thread that writes the response log has ended; the log above says why")

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
                return
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

    def _collect(self, batch: list[Row]) -> None:
        """Wait for rows: until a report or decision is there and the queue empty, or telemetry has waited enough."""
        due_s: float | None = None
        while len(batch) < BATCH_ROWS:
            try:
                wait_s = None if due_s is None else due_s - self._clock.monotonic()
                row = self._queue.get() if wait_s is None else self._queue.get(wait_s > 0, max(wait_s, 0.0))
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

    # -- one transaction --------------------------------------------------------------------------------------

    def _store(self, batch: Sequence[Row]) -> None:
        """All rows in one commit; then tell. Raises sqlite3.Error when nothing was stored."""
        done = _Done()
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for row in batch:
                self._take(row, done)
            self.connection.execute("COMMIT")
        except sqlite3.Error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        if done.stored:
            self._listener.stored(done.stored)
        if done.foreign:
            self._listener.foreign(done.foreign)
        if done.answered:
            self._listener.answered(done.answered)

    def _take(self, row: Row, done: _Done) -> None:
        try:
            if isinstance(row, DecisionRow):
                self._insert_decision(row)
            elif isinstance(row, ExplanationRow):
                self._add_explanation(row)
            elif isinstance(row, TelemetryRow):
                self._insert_telemetry(row)
            elif isinstance(row, QuestionRow):
                done.answered.append((row, self._answer(row)))
            else:
                taken = self._insert_report(row)
                (done.stored if taken else done.foreign).append((row.node, RequestId(row.report.request_id)))
        except UNSTORABLE as error:
            self.dropped["unstorable"] += 1
            event(log, logging.ERROR, "log_row_refused", row=type(row).__name__, node=row.node, error=error)

    def _answer(self, row: QuestionRow) -> LoggedDecision | None:
        try:
            return decision_of(self.connection, row.node, row.request_id)
        except ValueError as error:  # a tier or outcome that this version does not know
            event(log, logging.ERROR, "logged_decision_not_understood", node=row.node, error=error)
            return None

    def _insert_report(self, row: ReportRow) -> bool:
        """False: the request was decided for another device.

        One that was decided for nobody is stored under the policy `unknown`: a process that was killed between sending
        a decision and committing it must not cost a row.
        """
        report, stages = row.report, row.report.stages
        decisions = self.connection.execute(
            "SELECT node, round, policy, policy_version, explored, floor_tenths FROM decision WHERE request_id=?",
            (report.request_id,),
        ).fetchall()
        own = next((decision[1:] for decision in decisions if decision[0] == row.node), None)
        if decisions and own is None:
            return False
        round_, policy, version, explored, floor = own or (None, UNKNOWN_POLICY, None, 0, None)
        if not report.decided:
            policy, version, explored = NO_POLICY, None, 0
        elif own is None:
            event(log, logging.WARNING, "decision_not_known", node=row.node, request=report.request_id)
        values = (
            round_, policy, version, explored, floor, report.outcome, report.tier, report.model, report.serving_node,
            self._accuracy_tenths.get(ModelName(report.model)), report.response_ms, stages.decide_ms, stages.encode_ms,
            stages.uplink_ms, stages.queue_ms, stages.compute_ms, stages.downlink_ms, report.label, report.trained,
            report.emulated, report.reason,
        )  # fmt: skip
        self._insert_row(
            "response",
            row.node,
            "request_id, round, policy, policy_version, explored, floor_tenths, outcome, tier, model, serving_node, "
            "accuracy_tenths, response_ms, decide_ms, encode_ms, uplink_ms, queue_ms, compute_ms, downlink_ms, label, "
            "trained, emulated, reason",
            (report.request_id, *values),
        )
        return True

    def _insert_decision(self, row: DecisionRow) -> None:
        sent = row.decision
        columns = (
            "request_id, round, policy, policy_version, explored, floor_tenths, tier, model, serving_node, "
            "fallback_model, deadline_ms"
        )
        values = (
            sent.request_id, sent.round, sent.policy, sent.policy_version, sent.explored, row.floor_tenths,
            sent.tier, sent.model, sent.serving_node, sent.fallback_model, sent.deadline_ms,
        )  # fmt: skip
        self._insert_row("decision", row.node, columns, values)

    def _add_explanation(self, row: ExplanationRow) -> None:
        self.connection.execute(
            f"UPDATE decision SET {', '.join(f'{column} = ?' for column in WHY_COLUMNS)} WHERE request_id=? AND node=?",
            (*astuple(row.why), row.request_id, row.node),
        )

    def _insert_telemetry(self, row: TelemetryRow) -> None:
        told = row.telemetry
        row_id = self._insert_row(
            "telemetry",
            row.node,
            "tier, seq, cpu_percent, memory_percent, link, rtt_ms, uplink_mbit_s, queue_length, overruns, refused, "
            "emulated",
            (
                row.tier, told.seq, told.cpu_percent, told.memory_percent, told.link, told.rtt_ms, told.uplink_mbit_s,
                told.queue_length, told.overruns, told.refused, told.emulated,
            ),
        )  # fmt: skip
        if row_id % 100 == 0:
            self.connection.execute("DELETE FROM telemetry WHERE id <= ?", (row_id - self._telemetry_rows,))

    def _insert_row(self, table: str, node: NodeId, columns: str, values: tuple[object, ...]) -> int:
        last_ns = self._last_ns[table]
        time_ns = max(int(self._clock.wall() * 1e9), last_ns.get(node, 0) + 1)
        marks = ", ".join("?" * (3 + len(values)))
        conflict = "" if table == "telemetry" else "ON CONFLICT (node, request_id) DO NOTHING"
        cursor = self.connection.execute(
            f"INSERT INTO {table} (time_ns, site, node, {columns}) VALUES ({marks}) {conflict}",
            (time_ns, self._site, node, *values),
        )
        last_ns[node] = time_ns
        return cursor.lastrowid or 0
