"""The response log as outbox: what waits, in batches, and the books of how far it went to one server.

The books are in the log itself (`response_log.SHIPPING`), so they can never disagree with it: a log that is moved away
takes them along, and one that is restored from a copy ships again what came after. Rows leave in the order of their
ids. Before a batch is read its last id is written down as claimed: a decision that is explained later than that is
queued again by the log's own trigger, so no explanation is lost between reading and sending.

Not for several threads. Raises sqlite3.Error when the disk or another process is in the way; then nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.clock import Clock
from orchestrator.response_log import open_for_writing
from orchestrator.shipping.delivery import Refusal, Waiting
from orchestrator.shipping.points import DECISION, MEASUREMENTS, RESPONSE, TELEMETRY, Measurement, Row, line_builder

SOURCES = (RESPONSE, DECISION, TELEMETRY)
BUSY_TIMEOUT_MS = 30_000  # the orchestrator's thread commits often, each time for a moment
MOST_ERROR = 500  # characters that are kept


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one table that leave together. `last_id` becomes the shipped one.

    `amended` are ids of the queue of that name: the rows left before, and are struck out there. `trimmed` rows were
    deleted between the last look at the backlog and this reading.
    """

    source: str
    last_id: int
    waiting: tuple[Waiting, ...]
    amended: tuple[int, ...] = ()
    trimmed: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """Rows that will not be shipped, and why."""

    source: str
    skipped: int
    trimmed: int


class Outbox:
    """The books of one target in one log. Opens the log for writing, and so brings it up to date."""

    def __init__(self, log: Path, target: str, backlog_rows: int, clock: Clock) -> None:
        """Raises LogRefused, sqlite3.Error."""
        self._connection = open_for_writing(log)
        self._target = target
        self._backlog_rows = backlog_rows
        self._clock = clock
        self._read: dict[str, int] = {}  # how far batches were made, settled or not
        self._lines: dict[str, Callable[[Row], str]] = {each.name: line_builder(each) for each in SOURCES}
        self._connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        # A power cut may take back the last commits, in their order; then their rows are sent again.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            for source in SOURCES:
                self._open_books(source)

    def close(self) -> None:
        """Let go of the log."""
        self._connection.close()

    def start_over(self) -> None:
        """Forget how far it went: all rows leave again, skipped and refused ones too. The shipper must not run."""
        with self._transaction():
            for table in ("shipping", "amended", "dead_letter"):
                self._connection.execute(f"DELETE FROM {table} WHERE target = ?", (self._target,))
            for source in SOURCES:
                self._open_books(source)

    def waiting_rows(self) -> int:
        """How many rows are still to leave; telemetry that is deleted meanwhile is counted until it is noticed."""
        return sum(max(0, self._last_id(source.name) - self._shipped_id(source.name)) for source in SOURCES)

    def bound(self) -> list[Left]:
        """Strike out what was deleted before it left, and the oldest rows beyond the backlog's bound."""
        left = []
        for source in SOURCES:
            shipped = self._shipped_id(source.name)
            new, skipped, trimmed = self._beyond(source, shipped)
            if new > shipped:
                if skipped or trimmed:  # ids of the other tables have gaps where doubles came
                    left.append(Left(source.name, skipped, trimmed))
                self._connection.execute(
                    "UPDATE shipping SET shipped_id = ?1, claimed_id = max(claimed_id, ?1), "
                    "skipped_rows = skipped_rows + ?2, trimmed_rows = trimmed_rows + ?3 "
                    "WHERE target = ?4 AND source = ?5",
                    (new, skipped, trimmed, self._target, source.name),
                )
        return left

    def _beyond(self, measurement: Measurement, shipped: int) -> tuple[int, int, int]:
        """Up to which id rows behind `shipped` will not leave, and how many are skipped and trimmed for that."""
        source = measurement.name
        last, new = self._last_id(source), shipped
        if last - shipped > self._backlog_rows:
            query = f"SELECT id FROM {source} WHERE id > ? ORDER BY id DESC LIMIT 1 OFFSET ?"
            found = self._connection.execute(query, (shipped, self._backlog_rows)).fetchone()
            new = shipped if found is None else found[0]
        # Deleted before it left: telemetry that was too much, and what was there before this server was configured.
        first = self._connection.execute(f"SELECT min(id) FROM {source} WHERE id > ?", (shipped,)).fetchone()[0]
        if first is not None or measurement is TELEMETRY:
            new = max(new, (last + 1 if first is None else first) - 1)
        if new == shipped:
            return shipped, 0, 0
        query = f"SELECT count(*) FROM {source} WHERE id > ? AND id <= ?"
        skipped: int = self._connection.execute(query, (shipped, new)).fetchone()[0]
        return new, skipped, new - shipped - skipped if measurement is TELEMETRY else 0

    def rewind(self) -> None:
        """Begin again behind what is settled."""
        self._read.clear()

    def next_batch(self, measurement: Measurement, rows: int) -> Batch | None:
        """Claim and read the rows of a table after those of the last batch, at most so many; None when none wait."""
        source = measurement.name
        after, last = self._read.get(source) or self._shipped_id(source), self._last_id(source)
        if last <= after:
            return None
        last = self._read[source] = min(last, after + rows)
        self._connection.execute(
            "UPDATE shipping SET claimed_id = ? WHERE target = ? AND source = ? AND claimed_id < ?",
            (last, self._target, source, last),
        )
        found = self._select(measurement, "id > ? AND id <= ? ORDER BY id", (after, last))
        # Of the other tables no row is deleted before it leaves; their ids may have gaps.
        trimmed = last - after - len(found) if measurement is TELEMETRY else 0
        return Batch(source, last, tuple(self._waiting(source, found)), trimmed=trimmed)

    def next_amended(self, rows: int) -> Batch | None:
        """Decisions that were explained after they may have left; None when there are none."""
        queued = self._connection.execute(
            "SELECT id, decision_id FROM amended WHERE target = ? ORDER BY id LIMIT ?", (self._target, rows)
        ).fetchall()
        if not queued:
            return None
        ids = sorted({decision for _, decision in queued})
        found = self._select(DECISION, f"id IN ({', '.join('?' * len(ids))}) ORDER BY id", ids)
        return Batch(DECISION.name, 0, tuple(self._waiting(DECISION.name, found)), tuple(each for each, _ in queued))

    def settle(self, batch: Batch, refusals: Sequence[Refusal]) -> None:
        """All of `batch` is with the server, but for the refused ones, which become dead letters."""
        target, source, now_ns = self._target, batch.source, int(self._clock.wall() * 1e9)
        refused = {refusal.waiting.row_id for refusal in refusals}
        with self._transaction():
            if batch.amended:
                self._connection.executemany("DELETE FROM amended WHERE id = ?", [(each,) for each in batch.amended])
                cured = [(target, source, each.row_id) for each in batch.waiting if each.row_id not in refused]
                self._revive(cured)
            else:
                self._connection.execute(
                    "UPDATE shipping SET shipped_id = ?, shipped_rows = shipped_rows + ?, "
                    "trimmed_rows = trimmed_rows + ? WHERE target = ? AND source = ?",
                    (batch.last_id, len(batch.waiting) - len(refusals), batch.trimmed, target, source),
                )
            self._connection.executemany(
                "INSERT OR REPLACE INTO dead_letter VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (target, source, each.waiting.row_id, now_ns, each.status, each.message, each.waiting.line)
                    for each in refusals
                ],
            )
            if refusals and source == TELEMETRY.name:
                self._bury(target, source)
            if batch.waiting:  # else nothing was asked of the server
                self._connection.execute(
                    "UPDATE shipping_target SET accepted_ns = ?, error = NULL WHERE target = ?", (now_ns, target)
                )

    def note_failure(self, error: str) -> None:
        """Keep for `tierwise influx status` why the last attempt failed."""
        self._connection.execute(
            "UPDATE shipping_target SET failed_ns = ?, error = ? WHERE target = ?",
            (int(self._clock.wall() * 1e9), error[:MOST_ERROR], self._target),
        )

    def dead_letters(self, source: str) -> list[Waiting]:
        """Those of one table, as lines made anew from their rows; of deleted telemetry there is nothing to send."""
        measurement = MEASUREMENTS[source]
        where = "id IN (SELECT row_id FROM dead_letter WHERE target = ? AND source = ?) ORDER BY id"
        return self._waiting(source, self._select(measurement, where, (self._target, source)))

    def revive(self, source: str, row_id: int) -> None:
        """A dead letter was taken after all."""
        with self._transaction():
            self._revive([(self._target, source, row_id)])

    # -- inside -----------------------------------------------------------------------------------------------

    def _open_books(self, source: Measurement) -> None:
        # Telemetry that was deleted before anybody thought of shipping it is not missed.
        self._connection.execute(
            f"INSERT OR IGNORE INTO shipping (target, source, claimed_id, shipped_id) "
            f"SELECT ?, ?, first, first FROM (SELECT coalesce((SELECT min(id) FROM {source.name}), 1) - 1 AS first)",
            (self._target, source.name),
        )
        self._connection.execute("INSERT OR IGNORE INTO shipping_target (target) VALUES (?)", (self._target,))

    def _bury(self, target: str, source: str) -> None:
        """Letters whose rows were deleted can never be sent again: they go too, or they would fill the disk."""
        gone = self._connection.execute(
            f"DELETE FROM dead_letter WHERE target = ? AND source = ? "
            f"AND row_id < (SELECT coalesce(min(id), 0) FROM {source})",
            (target, source),
        ).rowcount
        self._connection.execute(
            "UPDATE shipping SET trimmed_rows = trimmed_rows + ? WHERE target = ? AND source = ?",
            (gone, target, source),
        )

    def _revive(self, letters: Sequence[tuple[str, str, int]]) -> None:
        for target, source, row_id in letters:
            gone = self._connection.execute(
                "DELETE FROM dead_letter WHERE target = ? AND source = ? AND row_id = ?", (target, source, row_id)
            ).rowcount
            self._connection.execute(
                "UPDATE shipping SET shipped_rows = shipped_rows + ? WHERE target = ? AND source = ?",
                (gone, target, source),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _select(self, measurement: Measurement, where: str, values: Sequence[object]) -> list[Row]:
        query = f"SELECT {measurement.selection} FROM {measurement.name} WHERE {where}"
        return self._connection.execute(query, values).fetchall()

    def _waiting(self, source: str, rows: Sequence[Row]) -> list[Waiting]:
        line = self._lines[source]
        return [Waiting(row[0], line(row)) for row in rows]

    def _shipped_id(self, source: str) -> int:
        found = self._connection.execute(
            "SELECT shipped_id FROM shipping WHERE target = ? AND source = ?", (self._target, source)
        ).fetchone()
        return int(found[0])

    def _last_id(self, source: str) -> int:
        if source != TELEMETRY.name:  # doubles that were not stored have taken ids too
            return int(self._connection.execute(f"SELECT coalesce(max(id), 0) FROM {source}").fetchone()[0])
        # Of sqlite_sequence: telemetry may be deleted to the last row.
        found = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (source,)).fetchone()
        return 0 if found is None else int(found[0])
