"""One transaction of the response log: rows become SQL, many to a statement.

SQLite runs without the interpreter's lock, once for each statement, and to get the lock back this thread waits for a
loop that is busy. So a statement takes many rows; what cannot be stored with the others is then tried by itself.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, TypeVar

from broker.clock import Clock
from broker.events import event
from broker.rate_limit import RateLimit, RefusalLog
from broker.vocabulary import ModelName, NodeId, RequestId, SiteId
from orchestrator.explained import WHY_COLUMNS, Expired, LoggedDecision, decision_of
from orchestrator.log_rows import (
    Answered,
    DecisionRow,
    ExplanationRow,
    QuestionRow,
    ReportRow,
    Row,
    Stored,
    TelemetryRow,
)
from orchestrator.retention import expired_time_ns
from orchestrator.series_times import SeriesTimes

log = logging.getLogger(__name__)

NO_POLICY = "none"
UNKNOWN_POLICY = "unknown"
# The first as far as SQLite takes so many values: before 3.32 those were 999.
ROWS_A_STATEMENT = (512, 32, 4, 1)
MOST_VALUES_A_ROW = 30
# Reports of one device without a decision. At once as many as an outbox holds by default (`outbox.reports`): those of a
# device that was cut off. For ever, more than a device makes that asks in vain each second.
UNDECIDED_PER_S, UNDECIDED_BURST = 2.0, 2000.0
TRIMMED_AT = 100  # so many rows of telemetry too many are deleted together

COLUMNS = {
    "response": (
        "request_id", "round", "policy", "policy_version", "explored", "floor_tenths", "outcome", "tier", "model",
        "serving_node", "accuracy_tenths", "response_ms", "decide_ms", "encode_ms", "uplink_ms", "queue_ms",
        "compute_ms", "downlink_ms", "label", "trained", "emulated", "reason",
    ),
    "decision": (
        "request_id", "round", "policy", "policy_version", "explored", "floor_tenths", "tier", "model",
        "serving_node", "fallback_model", "deadline_ms", *WHY_COLUMNS,
    ),
    "telemetry": (
        "tier", "seq", "cpu_percent", "memory_percent", "link", "rtt_ms", "uplink_mbit_s", "queue_length", "overruns",
        "refused", "emulated",
    ),
}  # fmt: skip
NO_WHY = (None,) * len(WHY_COLUMNS)

# A row that can never be stored, whatever the disk does; it must not hold up the others.
UNSTORABLE = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    UnicodeEncodeError,
    OverflowError,
)

Values = tuple[Any, ...]
T = TypeVar("T")


@dataclass(slots=True)
class Done:
    """What one batch came to; true once it is committed."""

    stored: Stored = field(default_factory=list)
    foreign: Stored = field(default_factory=list)
    answered: Answered = field(default_factory=list)
    deferred: Stored = field(default_factory=list)


class LogStore:
    """Stores batches through one connection. Mutable; not for threads."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        site: SiteId,
        accuracy_tenths: Mapping[ModelName, int],
        clock: Clock,
        dropped: Counter[str],
    ) -> None:
        """Counts in `dropped` what was left out because it can never be stored."""
        self._connection = connection
        self._site = site
        self._accuracy_tenths = accuracy_tenths
        self._dropped = dropped
        self._times = SeriesTimes(connection, COLUMNS, clock)
        self._clock = clock
        self._undecided = RateLimit(UNDECIDED_PER_S, UNDECIDED_BURST)
        self._warnings = RefusalLog()
        self._trimmed_id = 0
        most = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // MOST_VALUES_A_ROW
        self._sizes = [size for size in ROWS_A_STATEMENT if size <= most]

    def store(self, batch: Sequence[Row], telemetry_rows: int) -> Done:
        """All rows in one commit. Raises sqlite3.Error when nothing was stored."""
        done = Done()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            start = 0
            for at, row in enumerate(batch):
                if isinstance(row, QuestionRow):  # of what was said before it, and no more
                    self._put(batch[start:at], telemetry_rows, done)
                    done.answered.append((row, self._answer(row)))
                    start = at + 1
            self._put(batch[start:], telemetry_rows, done)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return done

    def _put(self, rows: Sequence[Row], telemetry_rows: int, done: Done) -> None:
        self._put_decisions(rows)
        self._put_telemetry([row for row in rows if isinstance(row, TelemetryRow)], telemetry_rows)
        self._put_reports([row for row in rows if isinstance(row, ReportRow)], done)

    # -- decisions, and why -------------------------------------------------------------------------------------

    def _put_decisions(self, batch: Sequence[Row]) -> None:
        """Why a decision was made goes with it, unless it was stored before."""
        why = {(row.node, row.request_id): row for row in batch if isinstance(row, ExplanationRow)}
        values = []
        for row in batch:
            if isinstance(row, DecisionRow):
                told = why.pop((row.node, RequestId(row.decision.request_id)), None)
                values.append((row.node, self._decision(row, told)))
        self._insert("decision", values)
        for row in why.values():
            self._explain(row)

    def _decision(self, row: DecisionRow, why: ExplanationRow | None) -> Values:
        sent = row.decision
        return (
            sent.request_id, sent.round, sent.policy, sent.policy_version, sent.explored, row.floor_tenths,
            sent.tier, sent.model, sent.serving_node, sent.fallback_model, sent.deadline_ms,
            *(NO_WHY if why is None else astuple(why.why)),
        )  # fmt: skip

    def _explain(self, row: ExplanationRow) -> None:
        columns = ", ".join(f"{column} = ?" for column in WHY_COLUMNS)
        try:
            self._connection.execute(
                f"UPDATE decision SET {columns} WHERE request_id=? AND node=?",
                (*astuple(row.why), row.request_id, row.node),
            )
        except UNSTORABLE as error:
            self._leave_out("explanation", row.node, error)

    def _answer(self, row: QuestionRow) -> LoggedDecision | Expired | None:
        try:
            found = decision_of(self._connection, row.node, row.request_id)
            if found is None and row.request_id is not None:
                time_ns = expired_time_ns(self._connection, row.node, row.request_id)
                return None if time_ns is None else Expired(row.request_id, time_ns)
            return found
        except ValueError as error:  # a tier or outcome that this version does not know
            event(log, logging.ERROR, "logged_decision_not_understood", node=row.node, error=error)
        except UNSTORABLE as error:
            self._leave_out("question", row.node, error)
        return None

    # -- reports ------------------------------------------------------------------------------------------------

    def _put_reports(self, rows: Sequence[ReportRow], done: Done) -> None:
        """One whose request was decided for another device is foreign.

        One that was decided for nobody is stored under the policy `unknown`: a process that was killed between sending
        a decision and committing it must not cost a row. Of those a device has a budget; beyond it they are deferred:
        not stored, so the device sends them again later. One that was stored and deleted since is not stored again.
        """
        now_s, ids = self._clock.monotonic(), [row.report.request_id for row in rows]
        decided, deleted = self._decided(ids), self._deleted(ids)
        values, names = [], []
        for row in rows:
            name = (row.node, RequestId(row.report.request_id))
            known = decided.get(row.report.request_id, {})
            former = deleted.get(row.report.request_id, {})
            if (known or former) and row.node not in (known or former):
                done.foreign.append(name)
                continue
            if former.get(row.node):
                done.stored.append(name)
                continue
            if not known and not former and not self._undecided.takes(row.node, now_s):
                done.deferred.append(name)
                continue
            values.append((row.node, self._report(row, known.get(row.node))))
            names.append(name)
        left_out = self._insert("response", values)
        done.stored += [name for at, name in enumerate(names) if at not in left_out]

    def _decided(self, request_ids: Sequence[str]) -> dict[str, dict[NodeId, Values]]:
        """By request and device: round, policy, its version, explored, floor."""
        decided: dict[str, dict[NodeId, Values]] = {}
        for ids in _portions(request_ids, self._sizes):
            rows = self._connection.execute(
                "SELECT request_id, node, round, policy, policy_version, explored, floor_tenths FROM decision "
                f"WHERE request_id IN ({', '.join('?' * len(ids))})",
                ids,
            )
            for request_id, node, *context in rows:
                decided.setdefault(request_id, {})[NodeId(node)] = tuple(context)
        return decided

    def _deleted(self, request_ids: Sequence[str]) -> dict[str, dict[NodeId, bool]]:
        """By request and device, of deleted rows: whether a report was among them."""
        deleted: dict[str, dict[NodeId, bool]] = {}
        for ids in _portions(request_ids, self._sizes):
            query = (
                f"SELECT request_id, node, reported FROM tombstone WHERE request_id IN ({', '.join('?' * len(ids))})"
            )
            for request_id, node, reported in self._connection.execute(query, ids):
                deleted.setdefault(request_id, {})[NodeId(node)] = bool(reported)
        return deleted

    def _report(self, row: ReportRow, own: Values | None) -> Values:
        report, stages = row.report, row.report.stages
        round_, policy, version, explored, floor = own or (None, UNKNOWN_POLICY, None, 0, None)
        if not report.decided:
            policy, version, explored = NO_POLICY, None, 0
        elif own is None:
            self._warn("decision_not_known", node=row.node, request=report.request_id)
        return (
            report.request_id, round_, policy, version, explored, floor, report.outcome, report.tier, report.model,
            report.serving_node, self._accuracy_tenths.get(ModelName(report.model)), report.response_ms,
            stages.decide_ms, stages.encode_ms, stages.uplink_ms, stages.queue_ms, stages.compute_ms,
            stages.downlink_ms, report.label, report.trained, report.emulated, report.reason,
        )  # fmt: skip

    # -- telemetry ----------------------------------------------------------------------------------------------

    def _put_telemetry(self, rows: Sequence[TelemetryRow], kept: int) -> None:
        values = []
        for row in rows:
            told = row.telemetry
            what = (
                row.tier, told.seq, told.cpu_percent, told.memory_percent, told.link, told.rtt_ms, told.uplink_mbit_s,
                told.queue_length, told.overruns, told.refused, told.emulated,
            )  # fmt: skip
            values.append((row.node, what))
        if not values:
            return
        self._insert("telemetry", values)
        (newest,) = self._connection.execute("SELECT max(id) FROM telemetry").fetchone()
        if newest is not None and newest - kept >= self._trimmed_id + TRIMMED_AT:
            self._connection.execute("DELETE FROM telemetry WHERE id <= ?", (newest - kept,))
            self._trimmed_id = newest - kept

    # -- any table ----------------------------------------------------------------------------------------------

    def _insert(self, table: str, rows: Sequence[tuple[NodeId, Values]]) -> set[int]:
        """Insert in this order, at times of `SeriesTimes`. Returns the places that were left out."""
        wall_ns = self._times.now_ns()
        timed = [(self._times.assign(table, node, wall_ns), self._site, node, *values) for node, values in rows]
        left_out, at = set(), 0
        for portion in _portions(timed, self._sizes):
            try:
                self._insert_together(table, portion)
            except UNSTORABLE:  # which one? the statement has changed nothing
                for place, values in enumerate(portion, at):
                    try:
                        self._insert_together(table, [values])
                    except UNSTORABLE as error:
                        left_out.add(place)
                        self._leave_out(table, values[2], error)
            at += len(portion)
        return left_out

    def _insert_together(self, table: str, rows: Sequence[Values]) -> None:
        columns = ("time_ns", "site", "node", *COLUMNS[table])
        marks = f"({', '.join('?' * len(columns))})"
        conflict = "" if table == "telemetry" else " ON CONFLICT (node, request_id) DO NOTHING"
        self._connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([marks] * len(rows))}{conflict}",
            [value for row in rows for value in row],
        )

    def _leave_out(self, what: str, node: NodeId, error: Exception) -> None:
        self._dropped["unstorable"] += 1
        self._warn("log_row_refused", row=what, node=node, error=error)

    def _warn(self, name: str, **fields: object) -> None:
        says, unsaid = self._warnings.says(self._clock.monotonic())
        if says:
            event(log, logging.WARNING, name, **fields, not_logged=unsaid)


def _portions(items: Sequence[T], sizes: Sequence[int]) -> Iterator[Sequence[T]]:
    """In order, in the few sizes for which SQLite then knows the statement already."""
    at = 0
    for size in sizes:
        while len(items) - at >= size:
            yield items[at : at + size]
            at += size
