"""Timestamps of the response log: unique per node and table, increasing, and close to the wall clock.

A timestamp is the wall clock's, or the last of its series plus 1 ns where that clock stands still or steps back. A
series whose last timestamp is more than MAX_LEAD_S ahead was written while the clock was wrong: it is re-anchored to
the wall clock. From there on its timestamps increase again, and none is used that a row of the series has already.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable

from broker.clock import Clock
from broker.events import event
from broker.vocabulary import NodeId

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
MAX_LEAD_S = 3600.0
WARN_LEAD_S = 1.0  # NTP's own corrections are smaller, and many rows of one node are stored at one moment
WARN_EVERY_S = 600.0
MIN_WALL_NS = 1_672_531_200 * NS_PER_S  # 2023: a clock before that has not been set yet, and is no anchor
HINT = "check this machine's clock (timedatectl); rows that it stored while it was ahead keep their times"


class SeriesTimes:
    """Assigns `time_ns` for the nodes of each table. Mutable; not for threads."""

    def __init__(self, connection: sqlite3.Connection, tables: Iterable[str], clock: Clock) -> None:
        """Read where each series ends, and log if that is ahead of the clock."""
        self._connection = connection
        self._clock = clock
        self._warned_s = float("-inf")
        self._last_ns: dict[str, dict[str, int]] = {}
        self._highest_ns: dict[str, dict[str, int]] = {}
        for table in tables:
            ends = connection.execute(f"SELECT node, max(time_ns), max(id) FROM {table} GROUP BY node").fetchall()
            self._highest_ns[table] = {node: highest_ns for node, highest_ns, _ in ends}
            self._last_ns[table] = {node: self._time_of(table, newest) for node, _, newest in ends}
        last_ns = [time_ns for times in self._last_ns.values() for time_ns in times.values()]
        now_ns = self.now_ns()
        self._warn_of(max(last_ns, default=0) - now_ns, now_ns)

    def now_ns(self) -> int:
        """The wall clock."""
        return int(self._clock.wall() * NS_PER_S)

    def assign(self, table: str, node: NodeId, wall_ns: int) -> int:
        """The timestamp of the node's next row in `table`. Raises sqlite3.Error."""
        last_ns, highest_ns = self._last_ns[table], self._highest_ns[table]
        time_ns = max(wall_ns, last_ns.get(node, 0) + 1)
        if time_ns - wall_ns > WARN_LEAD_S * NS_PER_S:
            self._warn_of(time_ns - wall_ns, wall_ns)
            if _is_anchor(time_ns - wall_ns, wall_ns):
                time_ns = wall_ns
        if time_ns <= highest_ns.get(node, 0):
            time_ns = self._first_free(table, node, time_ns)
        last_ns[node] = time_ns
        highest_ns[node] = max(highest_ns.get(node, 0), time_ns)
        return time_ns

    def _time_of(self, table: str, row: int) -> int:
        time_ns: int = self._connection.execute(f"SELECT time_ns FROM {table} WHERE id = ?", (row,)).fetchone()[0]
        return time_ns

    def _first_free(self, table: str, node: NodeId, time_ns: int) -> int:
        """`time_ns`, or the end of the run of consecutive timestamps that it lies in."""
        taken = f"SELECT 1 FROM {table} WHERE node = ? AND time_ns = ?"
        if self._connection.execute(taken, (node, time_ns)).fetchone() is None:
            return time_ns
        free: int = self._connection.execute(
            f"SELECT min(one.time_ns) + 1 FROM {table} one WHERE one.node = ? AND one.time_ns >= ? AND NOT EXISTS "
            f"(SELECT 1 FROM {table} next WHERE next.node = one.node AND next.time_ns = one.time_ns + 1)",
            (node, time_ns),
        ).fetchone()[0]
        return free

    def _warn_of(self, lead_ns: int, wall_ns: int) -> None:
        now_s, lead_s = self._clock.monotonic(), lead_ns / NS_PER_S
        if lead_s <= WARN_LEAD_S or now_s - self._warned_s < WARN_EVERY_S:
            return
        self._warned_s = now_s
        anchored = _is_anchor(lead_ns, wall_ns)
        event(log, logging.WARNING, "log_ahead_of_clock", lead_s=lead_s, re_anchored=anchored, hint=HINT)


def _is_anchor(lead_ns: int, wall_ns: int) -> bool:
    """Whether a series that is so far ahead of the wall clock begins anew from it."""
    return lead_ns > MAX_LEAD_S * NS_PER_S and wall_ns >= MIN_WALL_NS
