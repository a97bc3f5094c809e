"""How far the response log went to each server: from the books in the log, read without disturbing anybody."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from orchestrator.response_log import has_shipping
from orchestrator.shipping.outbox import SOURCES


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table and one server, in rows.

    `waiting` are still to leave, `amended` of them for a second time, with their explanation; `dead_letters` were
    refused for good, `skipped` were too many in the backlog, `trimmed` were deleted here before they left.
    """

    table: str
    shipped: int
    waiting: int
    amended: int
    dead_letters: int
    skipped: int
    trimmed: int


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One server; times in ns of the wall clock, None for never. `error` is why the last failed attempt failed."""

    target: str
    accepted_ns: int | None
    failed_ns: int | None
    error: str | None
    tables: tuple[TableStatus, ...]

    @property
    def failing(self) -> bool:
        """Whether nothing was taken since the last failure."""
        return self.error is not None  # not by the times: a clock may step


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One row that a server refuses."""

    target: str
    table: str
    row_id: int
    refused_ns: int
    status: int
    message: str
    line: str


def statuses(connection: sqlite3.Connection) -> list[TargetStatus]:
    """Of every server that the log was ever shipped to, by name; none for a log that an older Tierwise wrote."""
    if not has_shipping(connection):
        return []
    connection.execute("BEGIN")  # all of one moment
    try:
        targets = connection.execute(
            "SELECT target, accepted_ns, failed_ns, error FROM shipping_target ORDER BY target"
        ).fetchall()
        return [
            TargetStatus(target, taken, failed, error, tuple(_table(connection, target, each.name) for each in SOURCES))
            for target, taken, failed, error in targets
        ]
    finally:
        connection.execute("ROLLBACK")


def _table(connection: sqlite3.Connection, target: str, table: str) -> TableStatus:
    shipped_id, shipped, skipped, trimmed = connection.execute(
        "SELECT shipped_id, shipped_rows, skipped_rows, trimmed_rows FROM shipping WHERE target = ? AND source = ?",
        (target, table),
    ).fetchone()
    (waiting,) = connection.execute(f"SELECT count(*) FROM {table} WHERE id > ?", (shipped_id,)).fetchone()
    amended = 0
    if table == "decision":
        amended = connection.execute("SELECT count(*) FROM amended WHERE target = ?", (target,)).fetchone()[0]
    (dead,) = connection.execute(
        "SELECT count(*) FROM dead_letter WHERE target = ? AND source = ?", (target, table)
    ).fetchone()
    return TableStatus(table, shipped, waiting + amended, amended, dead, skipped, trimmed)


def dead_letters(connection: sqlite3.Connection, limit: int) -> tuple[list[DeadLetter], int]:
    """The newest ones, and how many there are."""
    if not has_shipping(connection):
        return [], 0
    rows = connection.execute(
        "SELECT target, source, row_id, refused_ns, status, message, line FROM dead_letter "
        "ORDER BY refused_ns DESC, target, source, row_id LIMIT ?",
        (limit,),
    ).fetchall()
    (count,) = connection.execute("SELECT count(*) FROM dead_letter").fetchone()
    return [DeadLetter(*row) for row in rows], count
