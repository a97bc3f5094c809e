"""Rows per second that the response log stores, beside bare sqlite3 on the same disk in the same run.

    python benchmarks/log_rate.py [--rows 20000] [--json FILE]

Ours is orchestrator.log_writer with the real schema: each report looks up its decision, is inserted into a table with
three indexes, and is acknowledged after its commit. In batches: all rows are handed over at once. One by one: the next
is handed over when the last was acknowledged, so each has a commit, and its fsync, of its own. Bare: the same 27 values
a row into a table without an index or key but its row id, by executemany in one commit, and with a commit for each row.
Both use the log's pragmas. They take turns. No goal.
"""

from __future__ import annotations

import argparse
import queue
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report_form import Report as Figures
from benchmarks.report_form import Row, write_report
from broker.clock import SystemClock
from broker.messages import Decision, Report, Stages
from broker.vocabulary import ModelName, NodeId, Outcome, SiteId, Tier, new_request_id
from orchestrator.log_rows import DecisionRow, Listener, ReportRow, Stored
from orchestrator.log_writer import LogWriter
from orchestrator.response_log import LOG_NAME

SITE, DEVICE = SiteId("bench"), NodeId("s1")
COLUMNS = 27  # of table `response` without its id
TURNS = 3
ONE_BY_ONE_SHARE = 200  # one commit each takes long: so many times fewer rows
STORED_TIMEOUT_S = 60.0
NOTES = {
    "in batches": "ours also looks up each report's decision, drops doubles and keeps three indexes",
    "one by one": "ours rests after each commit, so that rows share the next: nobody waits for an acknowledgement",
}


class Ours:
    """A response log, and who waits for its acknowledgements."""

    def __init__(self, directory: Path) -> None:
        self._told: queue.SimpleQueue[int] = queue.SimpleQueue()
        listener = Listener(stored=self._stored, foreign=lambda rows: self._told.put(len(rows)))
        self._path = directory / LOG_NAME
        self._writer = LogWriter(self._path, SITE, {ModelName("d0"): 899}, listener, SystemClock())
        self._writer.start()

    def _stored(self, rows: Stored) -> None:
        self._told.put(len(rows))

    def _wait(self, rows: int) -> None:
        while rows > 0:
            rows -= self._told.get(timeout=STORED_TIMEOUT_S)

    def pairs(self, count: int) -> list[tuple[DecisionRow, ReportRow]]:
        """Decisions and the reports that belong to them."""
        return [pair(number) for number in range(count)]

    def in_batches(self, count: int) -> float:
        """Reports per second whose decisions are in the log already."""
        rows = self._decided(count)
        started_s = time.perf_counter()
        for row in rows:
            self._writer.put(row)
        self._wait(count)
        return count / (time.perf_counter() - started_s)

    def one_by_one(self, count: int) -> float:
        """Reports per second, each handed over when the last was acknowledged."""
        rows = self._decided(count)
        started_s = time.perf_counter()
        for row in rows:
            self._writer.put(row)
            self._wait(1)
        return count / (time.perf_counter() - started_s)

    def _decided(self, count: int) -> list[ReportRow]:
        """Reports whose decisions were stored, and one report more after them to know it."""
        pairs = self.pairs(count + 1)
        for decision, _ in pairs:
            self._writer.put(decision)
        self._writer.put(pairs[-1][1])
        self._wait(1)
        return [report for _, report in pairs[:-1]]

    def close(self) -> int:
        """End the thread; how many responses are in the file."""
        self._writer.close()
        with closing(sqlite3.connect(self._path)) as connection:
            stored: int = connection.execute("SELECT count(*) FROM response").fetchone()[0]
        return stored


def pair(number: int) -> tuple[DecisionRow, ReportRow]:
    """The decision of one request of one device, and its report."""
    request = new_request_id()
    decision = Decision(
        request_id=request,
        round=number,
        tier=Tier.END,
        model="d0",
        serving_node=DEVICE,
        fallback_model="d0",
        deadline_ms=5000.0,
        policy="factored",
        policy_version=1,
        explored=False,
    )
    report = Report(
        request_id=request,
        outcome=Outcome.DONE,
        decided=True,
        tier=Tier.END,
        model="d0",
        serving_node=DEVICE,
        response_ms=470.25,
        stages=Stages(decide_ms=1.5, compute_ms=460.75),
        label="espresso",
    )
    return DecisionRow(DEVICE, 850, decision), ReportRow(DEVICE, report)


class Bare:
    """A table of as many values, and nothing else."""

    def __init__(self, directory: Path) -> None:
        self._connection = sqlite3.connect(directory / "bare.sqlite3", isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(f"CREATE TABLE bare ({', '.join(f'c{index}' for index in range(COLUMNS))})")
        self._insert = f"INSERT INTO bare VALUES ({', '.join('?' * COLUMNS)})"

    def _values(self, count: int) -> list[tuple[object, ...]]:
        texts = (SITE, DEVICE, new_request_id(), "factored", "done", "end", "d0", DEVICE, "espresso")
        numbers = (470.25,) * (COLUMNS - len(texts) - 1)
        return [(number, *texts, *numbers) for number in range(count)]

    def in_batches(self, count: int) -> float:
        """Rows per second by executemany in one commit."""
        rows = self._values(count)
        started_s = time.perf_counter()
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(self._insert, rows)
        self._connection.execute("COMMIT")
        return count / (time.perf_counter() - started_s)

    def one_by_one(self, count: int) -> float:
        """Rows per second with a commit, and its fsync, for each."""
        rows = self._values(count)
        started_s = time.perf_counter()
        for row in rows:
            self._connection.execute(self._insert, row)
        return count / (time.perf_counter() - started_s)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def measure(directory: Path, rows: int) -> dict[str, float]:
    """Medians of the turns, in rows per second. Raises SystemExit when a row is missing afterwards."""
    rates: dict[str, list[float]] = {}
    ours, bare = Ours(directory), Bare(directory)
    few = max(1, rows // ONE_BY_ONE_SHARE)
    for _ in range(TURNS):
        for name, side in (("ours", ours), ("bare", bare)):
            rates.setdefault(f"{name}, in batches", []).append(side.in_batches(rows))
            rates.setdefault(f"{name}, one by one", []).append(side.one_by_one(few))
    bare.close()
    expected, stored = TURNS * (rows + few + 2), ours.close()
    if stored != expected:
        raise SystemExit(f"{stored} rows are in the log, {expected} were acknowledged: report this")
    return {name: statistics.median(found) for name, found in rates.items()}


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="How many rows a second the response log stores.")
    parser.add_argument("--rows", type=int, default=20_000, help="of each turn; for one by one a two-hundredth of it")
    parser.add_argument("--directory", type=Path, help="on the disk to be measured; default: where temporary files go")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        rates = measure(Path(directory), options.rows)
    print(f"{'rows/s':20}{'ours':>12}{'bare sqlite3':>14}{'ratio':>8}")
    rows = []
    for how, beside in (("in batches", "bare executemany, one commit"), ("one by one", "bare insert, a commit each")):
        ours, bare = rates[f"ours, {how}"], rates[f"bare, {how}"]
        print(f"{how:20}{ours:12,.0f}{bare:14,.0f}{ours / bare:8.2f}")
        what = f"reports stored and acknowledged, {how}"
        rows.append(Row(what=what, ours=ours, unit="rows/s", beside=beside, beside_value=bare, note=NOTES[how]))
    details = {"rows": options.rows, "turns": TURNS, "rates": rates}
    write_report(options.json, Figures(benchmark="log_rate", title="The response log", rows=rows, details=details))


if __name__ == "__main__":
    main()
