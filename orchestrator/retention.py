"""Deletion of the response log's oldest rows, a few at a time, in the thread that owns the log.

A row is deleted once it is older than `files.retention_days`, or while the log is larger than `files.max_megabytes`;
never before the configured InfluxDB has it, and never one of the newest `MIN_KEPT_ROWS` of a table, which tell the
number of the last round. Freed pages are used again, so the file stops growing; it does not shrink by itself.

Of a deleted response or decision a tombstone stays ten times as long as the row was kept: device, request id and time.
A report that is sent again meanwhile is acknowledged and not stored twice, and `explain` answers `expired`.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass

from broker.clock import Clock
from broker.events import event
from configs.orchestrator import OrchestratorConfig
from orchestrator.series_times import MIN_WALL_NS

log = logging.getLogger(__name__)

TABLES = ("response", "decision", "telemetry")
BATCH_ROWS = 200  # of each table in one transaction: 6 ms of a processor
MIN_KEPT_ROWS = 100
TOMBSTONE_FACTOR = 10  # times the age of the row
TOMBSTONE_BYTES = 120  # in the file, index included
MAX_TOMBSTONE_SHARE = 0.5  # of max_bytes
PAUSE_S = 0.05  # between two batches: 4,000 rows of each table a second, twice what a thousand devices store
CHECK_S = 1.0  # where nothing was due the last time
WARN_S = 3600.0
INSERT_TOMBSTONES = f"""
INSERT INTO tombstone (node, request_id, time_ns, expires_ns, reported)
SELECT node, request_id, time_ns, :now_ns + {TOMBSTONE_FACTOR - 1} * max(:now_ns - time_ns, 0), :reported
FROM {{table}} WHERE {{which}} ORDER BY id
ON CONFLICT (request_id, node) DO UPDATE
SET reported = max(reported, excluded.reported), expires_ns = max(expires_ns, excluded.expires_ns)
"""
NS_PER_DAY = 86_400 * 10**9
MEGABYTE = 10**6


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of the response log; None: no limit. `target` names the server whose rows must have left."""

    days: float | None = None
    max_bytes: int | None = None
    target: str | None = None

    @classmethod
    def of(cls, config: OrchestratorConfig) -> Retention:
        """As the configuration says."""
        megabytes = config.files.max_megabytes
        return cls(
            config.files.retention_days,
            None if megabytes is None else megabytes * MEGABYTE,
            None if config.influxdb is None else config.influxdb.target,
        )


class Expiry:
    """Deletes through the connection of the log's own thread. Mutable; not for threads."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._checked_s = float("-inf")
        self._warned_s = float("-inf")
        self.more = False  # whether rows were due beyond the last batch

    def delete(self, retention: Retention) -> int:
        """Delete at most `BATCH_ROWS` rows of each table, as far as they are due; how many. Raises sqlite3.Error."""
        now_s = self._clock.monotonic()
        if now_s - self._checked_s < (PAUSE_S if self.more else CHECK_S):
            return 0
        self._checked_s = now_s
        now_ns = int(self._clock.wall() * 10**9)
        too_large = retention.max_bytes is not None and self._used_bytes() > retention.max_bytes
        due = self._due(retention, now_ns, too_large)
        tombstones = self._due_tombstones(retention, now_ns)
        self.more = bool(due) or tombstones > 0
        if not self.more:
            if too_large:
                self._warn(retention)
            return 0
        return self._delete(due, tombstones, retention, now_ns)

    def _used_bytes(self) -> int:
        """Of the file, less the pages that are free to be used again."""
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _due(self, retention: Retention, now_ns: int, too_large: bool) -> dict[str, int]:
        """The last id to be deleted of each table that has any; over the size, the oldest rows of all tables first."""
        oldest = {table: rows for table in TABLES if (rows := self._oldest(table, retention.target, now_ns))}
        before_ns = 0 if retention.days is None else now_ns - int(retention.days * NS_PER_DAY)
        if too_large and oldest:
            before_ns = max(before_ns, 1 + min(max(time_ns for _, time_ns in rows) for rows in oldest.values()))
        due = {table: [row for row, time_ns in rows if time_ns < before_ns] for table, rows in oldest.items()}
        return {table: max(rows) for table, rows in due.items() if rows}

    def _oldest(self, table: str, target: str | None, now_ns: int) -> list[tuple[int, int]]:
        """Id and time of the first rows that may be deleted.

        A row of a time when the clock had not been set counts as old as the first one after it that has a real time.
        """
        newest = f"SELECT id FROM {table} ORDER BY id DESC LIMIT 1 OFFSET ?"
        last = (self._connection.execute(newest, (MIN_KEPT_ROWS,)).fetchone() or (0,))[0]
        if target is not None:
            shipped = self._connection.execute(
                "SELECT shipped_id FROM shipping WHERE target = ? AND source = ?", (target, table)
            ).fetchone()
            last = min(last, 0 if shipped is None else shipped[0])
        query = f"SELECT id, time_ns FROM {table} WHERE {_deletable(table)} ORDER BY id LIMIT {BATCH_ROWS}"
        rows = self._connection.execute(query, {"last": last, "target": target}).fetchall()
        if not rows or now_ns < MIN_WALL_NS or min(time_ns for _, time_ns in rows) >= MIN_WALL_NS:
            return rows
        later = f"SELECT time_ns FROM {table} WHERE id > ? AND time_ns >= ? ORDER BY id LIMIT 1"
        (real_ns,) = self._connection.execute(later, (rows[-1][0], MIN_WALL_NS)).fetchone() or (now_ns,)
        dated = []
        for row, time_ns in reversed(rows):
            real_ns = time_ns if time_ns >= MIN_WALL_NS else real_ns
            dated.append((row, real_ns))
        return dated[::-1]

    def _due_tombstones(self, retention: Retention, now_ns: int) -> int:
        """The last id to be deleted, 0 for none: those that are old enough, and the oldest of too many."""
        (last,) = self._connection.execute("SELECT max(id) FROM tombstone").fetchone()
        if last is None:
            return 0
        rows = self._connection.execute(
            "SELECT id, expires_ns FROM tombstone ORDER BY id LIMIT ?", (BATCH_ROWS,)
        ).fetchall()
        due = [row for row, expires_ns in rows if expires_ns <= now_ns]
        if retention.max_bytes is not None:
            most = int(retention.max_bytes * MAX_TOMBSTONE_SHARE / TOMBSTONE_BYTES)
            due += [row for row, _ in rows if row <= last - most]
        return max(due, default=0)

    def _delete(self, due: dict[str, int], tombstones: int, retention: Retention, now_ns: int) -> int:
        deleted = 0
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for table, last in due.items():
                deleted += self._delete_rows(table, last, retention.target, now_ns)
            if tombstones:
                self._connection.execute("DELETE FROM tombstone WHERE id <= ?", (tombstones,))
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        return deleted

    def _delete_rows(self, table: str, last: int, target: str | None, now_ns: int) -> int:
        values = {"last": last, "target": target, "now_ns": now_ns, "source": table, "reported": table == "response"}
        which = _deletable(table)
        if table == "decision":
            self._connection.execute("DELETE FROM amended WHERE target IS NOT :target AND decision_id <= :last", values)
        if table != "telemetry":
            self._connection.execute(INSERT_TOMBSTONES.format(table=table, which=which), values)
        deleted = self._connection.execute(f"DELETE FROM {table} WHERE {which}", values).rowcount
        # What a server refused cannot be sent again without its row.
        self._connection.execute(
            "UPDATE shipping SET trimmed_rows = trimmed_rows + (SELECT count(*) FROM dead_letter "
            "WHERE target = shipping.target AND source = :source AND row_id <= :last) WHERE source = :source",
            values,
        )
        self._connection.execute("DELETE FROM dead_letter WHERE source = :source AND row_id <= :last", values)
        return deleted

    def _warn(self, retention: Retention) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._warned_s < WARN_S:
            return
        self._warned_s = now_s
        hint = "raise files.max_megabytes"
        if retention.target is not None:
            hint = f"rows that have not been shipped to InfluxDB are kept (tierwise influx status); {hint}"
        event(
            log, logging.WARNING, "log_too_large", megabytes=self._used_bytes() / MEGABYTE,
            max_megabytes=(retention.max_bytes or 0) / MEGABYTE, hint=hint,
        )  # fmt: skip


def _deletable(table: str) -> str:
    """Which rows up to the id `last`: a decision that was explained after it had left is to leave again."""
    amended = " AND id NOT IN (SELECT decision_id FROM amended WHERE target IS :target)"
    return "id <= :last" + (amended if table == "decision" else "")


def expired_time_ns(connection: sqlite3.Connection, node: str | None, request_id: str) -> int | None:
    """When a decision or report that is deleted was stored; None where there was none. Raises sqlite3.Error."""
    found = connection.execute(
        "SELECT time_ns FROM tombstone WHERE request_id = ?1 AND (?2 IS NULL OR node = ?2)", (request_id, node)
    ).fetchone()
    return None if found is None else found[0]
