"""The response log: stored before acknowledged, once, in strictly increasing time."""

from __future__ import annotations

import logging
import queue
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from logging.handlers import QueueHandler
from pathlib import Path
from typing import Any

import pytest

from broker.clock import ManualClock
from broker.messages import Decision, Report, Stages, Telemetry
from broker.vocabulary import Link, NodeId, Outcome, RequestId, SiteId, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.errors import LogRefused
from orchestrator.log_rows import DecisionRow, Listener, ReportRow, TelemetryRow
from orchestrator.log_writer import LogWriter
from orchestrator.response_log import LOG_NAME, VERSION, last_round, open_for_reading, open_for_writing

S1, S2 = NodeId("s1"), NodeId("s2")
PATIENCE_S = 120.0
DAY_S, NS = 86_400, 1_000_000_000
FULL_DISK = ("fiu-run", "-x", "-c", "enable name=posix/io/rw/pwrite*,failinfo=28")


@dataclass
class Ears:
    """What the writer told."""

    stored: queue.Queue[tuple[NodeId, RequestId]] = field(default_factory=queue.Queue)
    foreign: queue.Queue[tuple[NodeId, RequestId]] = field(default_factory=queue.Queue)
    deferred: queue.Queue[tuple[NodeId, RequestId]] = field(default_factory=queue.Queue)

    def listener(self) -> Listener:
        def into(to: queue.Queue[Any], ids: list[Any]) -> None:
            for one in ids:
                to.put(one)

        return Listener(
            stored=lambda ids: into(self.stored, ids),
            foreign=lambda ids: into(self.foreign, ids),
            deferred=lambda ids: into(self.deferred, ids),
        )

    def wait_stored(self, count: int) -> list[tuple[NodeId, RequestId]]:
        return [self.stored.get(timeout=PATIENCE_S) for _ in range(count)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite3"


@pytest.fixture
def writer(path: Path, accuracies: Accuracies, ears: Ears, clock: ManualClock) -> Iterator[LogWriter]:
    writer = LogWriter(path, SiteId("home"), accuracies.tenths, ears.listener(), clock, telemetry_rows=1000)
    writer.start()
    yield writer
    if writer._thread.is_alive():
        writer.close()


@pytest.fixture
def events() -> Iterator[queue.SimpleQueue[logging.LogRecord]]:
    """What the writer logs, to wait for."""
    heard: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(heard)
    logger = logging.getLogger("orchestrator.log_writer")
    logger.addHandler(handler)
    yield heard
    logger.removeHandler(handler)


def _decision(request_id: str, round_: int = 3) -> Decision:
    return Decision(
        request_id=request_id, round=round_, tier=Tier.EDGE, model="d0", serving_node="edge", fallback_model="d4",
        deadline_ms=5000.0, policy="q_learning", policy_version=2, explored=True,
    )  # fmt: skip


def _report(request_id: str, decided: bool = True, **changed: Any) -> Report:
    told = {
        "request_id": request_id, "outcome": Outcome.DONE, "decided": decided, "tier": Tier.EDGE, "model": "d0",
        "serving_node": "edge", "response_ms": 363.5, "stages": Stages(decide_ms=1.5, compute_ms=360.0),
        "label": "tabby", "trained": True, **changed,
    }  # fmt: skip
    return Report(**told)


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def test_a_report_becomes_one_row_with_its_decisions_context(writer: LogWriter, path: Path, ears: Ears) -> None:
    """Round, policy, version and floor come from the decision, the rest from the report."""
    writer.put(DecisionRow(S1, 890, _decision("request-1")))
    writer.put(ReportRow(S1, _report("request-1")))
    assert [(S1, "request-1")] == ears.wait_stored(1)
    writer.close()
    columns = "node, request_id, round, policy, policy_version, explored, floor_tenths, accuracy_tenths, response_ms"

    assert [("s1", "request-1", 3, "q_learning", 2, 1, 890, 899, 363.5)] == _rows(
        path, f"SELECT {columns} FROM response"
    )


def test_a_double_is_dropped_and_acknowledged_again(writer: LogWriter, path: Path, ears: Ears) -> None:
    """The device has not heard the first acknowledgement."""
    writer.put(DecisionRow(S1, 890, _decision("request-1")))
    writer.put(ReportRow(S1, _report("request-1")))
    ears.wait_stored(1)
    writer.put(ReportRow(S1, _report("request-1", response_ms=1.0)))
    assert [(S1, "request-1")] == ears.wait_stored(1)
    writer.close()

    assert [(363.5,)] == _rows(path, "SELECT response_ms FROM response")


def test_a_report_of_another_devices_request_is_not_stored(writer: LogWriter, path: Path, ears: Ears) -> None:
    """It is told as foreign and not acknowledged."""
    writer.put(DecisionRow(S1, 890, _decision("request-1")))
    writer.put(ReportRow(S2, _report("request-1")))
    told = ears.foreign.get(timeout=PATIENCE_S)
    writer.close()

    assert (S2, "request-1") == told
    assert ([], True) == (_rows(path, "SELECT * FROM response"), ears.stored.empty())


def test_a_report_whose_decision_was_lost_is_stored_under_policy_unknown(
    writer: LogWriter, path: Path, ears: Ears
) -> None:
    """A process that was killed before it committed the decision costs the round number, not the response."""
    writer.put(ReportRow(S1, _report("request-x")))
    assert [(S1, "request-x")] == ears.wait_stored(1)
    writer.close()

    assert [("request-x", "unknown", None)] == _rows(path, "SELECT request_id, policy, round FROM response")


def test_a_device_has_a_budget_of_reports_without_a_decision_and_in_the_end_all_are_stored(
    writer: LogWriter, path: Path, ears: Ears, clock: ManualClock
) -> None:
    """An outbox of 2,000 is stored at once; what is beyond that is not acknowledged, and stored when it comes later.

    Another device's report, and one that was decided, are stored all the same.
    """
    clock.advance(1.0)
    writer.put(DecisionRow(S1, 890, _decision("request-decided")))
    for number in range(2003):
        writer.put(ReportRow(S1, _report(f"request-{number:04d}", decided=number % 2 == 0)))
    writer.put(ReportRow(S1, _report("request-decided")))
    writer.put(ReportRow(S2, _report("request-other", decided=False)))
    stored = ears.wait_stored(2002)
    deferred = [ears.deferred.get(timeout=PATIENCE_S) for _ in range(3)]

    assert [(S1, f"request-{number}") for number in (2000, 2001, 2002)] == deferred
    assert {(S1, "request-decided"), (S2, "request-other")} <= set(stored)
    clock.advance(2.0)
    for _, request_id in deferred:
        writer.put(ReportRow(S1, _report(request_id, decided=False)))
    assert sorted(deferred) == sorted(ears.wait_stored(3))
    writer.close()
    assert [(2005,)] == _rows(path, "SELECT count(*) FROM response")


def test_forged_decisions_fill_no_log(writer: LogWriter, ears: Ears, caplog: pytest.LogCaptureFixture) -> None:
    """Of 900 reports of decisions that nobody made a few lines tell."""
    for number in range(900):
        writer.put(ReportRow(S1, _report(f"request-{number:04d}")))
    ears.wait_stored(900)
    writer.close()

    assert 0 < caplog.text.count("decision_not_known") <= 20


def test_a_report_without_a_decision_is_stored_under_policy_none(writer: LogWriter, path: Path, ears: Ears) -> None:
    """The device heard nothing in time and ran by itself; if a decision came late its round is known."""
    writer.put(DecisionRow(S1, 890, _decision("request-1")))
    writer.put(ReportRow(S1, _report("request-1", decided=False)))
    writer.put(ReportRow(S2, _report("request-2", decided=False)))
    ears.wait_stored(2)
    writer.close()

    assert [("none", 3, 0), ("none", None, 0)] == _rows(
        path, "SELECT policy, round, explored FROM response ORDER BY id"
    )


def test_decisions_of_a_former_process_still_count(
    writer: LogWriter, path: Path, ears: Ears, accuracies: Accuracies, clock: ManualClock
) -> None:
    """A report that comes after a restart finds the decision in the file."""
    writer.put(DecisionRow(S1, 890, _decision("request-1", round_=41)))
    writer.close()
    again = LogWriter(path, SiteId("home"), accuracies.tenths, ears.listener(), clock)
    assert 41 == last_round(again.connection)
    again.start()
    again.put(ReportRow(S1, _report("request-1")))
    ears.wait_stored(1)
    again.close()

    assert [(41,)] == _rows(path, "SELECT round FROM response")


def test_time_strictly_increases_per_node_though_the_clock_steps_back(
    writer: LogWriter, path: Path, ears: Ears, clock: ManualClock, accuracies: Accuracies
) -> None:
    """Also across a restart; another node's series is its own."""
    for place in range(3):
        writer.put(ReportRow(S1, _report(f"request-{place}", decided=False)))
        ears.wait_stored(1)
        clock.step_wall(-900)
    writer.close()
    again = LogWriter(path, SiteId("home"), accuracies.tenths, ears.listener(), clock)
    again.start()
    again.put(ReportRow(S1, _report("request-3", decided=False)))
    again.put(ReportRow(S2, _report("request-4", decided=False)))
    ears.wait_stored(2)
    again.close()
    times = [ns for (ns,) in _rows(path, "SELECT time_ns FROM response WHERE node='s1' ORDER BY id")]

    assert [times[0], times[0] + 1, times[0] + 2, times[0] + 3] == times
    assert [(int(clock.wall() * 1e9),)] == _rows(path, "SELECT time_ns FROM response WHERE node='s2'")


def test_a_clock_that_was_a_month_ahead_costs_one_stretch_of_rows(
    writer: LogWriter, path: Path, ears: Ears, clock: ManualClock, accuracies: Accuracies
) -> None:
    """Once the clock is right again, rows have the right time again, increase, and none shares a timestamp."""
    right_ns = int(clock.wall() * 1e9)
    clock.step_wall(30 * DAY_S)
    for place in range(3):
        writer.put(ReportRow(S1, _report(f"request-{place}", decided=False)))
    ears.wait_stored(3)
    clock.step_wall(-30 * DAY_S)
    for place in range(3, 6):
        clock.advance(1)
        writer.put(ReportRow(S1, _report(f"request-{place}", decided=False)))
        ears.wait_stored(1)
    writer.close()
    times = [ns - right_ns for (ns,) in _rows(path, "SELECT time_ns FROM response ORDER BY id")]

    assert [NS, 2 * NS, 3 * NS] == times[3:]
    assert len(set(times)) == len(times)
    clock.advance(1)
    again = LogWriter(path, SiteId("home"), accuracies.tenths, ears.listener(), clock)  # also in a later process
    again.start()
    again.put(ReportRow(S1, _report("request-6", decided=False)))
    ears.wait_stored(1)
    again.close()

    assert [(right_ns + 4 * NS,)] == _rows(path, "SELECT time_ns FROM response WHERE request_id='request-6'")


def test_a_log_ahead_of_the_clock_is_warned_of_at_once(
    writer: LogWriter,
    path: Path,
    ears: Ears,
    clock: ManualClock,
    accuracies: Accuracies,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the lead in seconds and a hint, once in ten minutes; and at a start, before anything is stored."""
    clock.step_wall(1000)
    writer.put(ReportRow(S1, _report("request-0", decided=False)))
    ears.wait_stored(1)
    clock.step_wall(-1000)
    for place in range(1, 4):
        writer.put(ReportRow(S1, _report(f"request-{place}", decided=False)))
        ears.wait_stored(1)
    writer.close()
    (warned,) = [record.getMessage() for record in caplog.records if "log_ahead_of_clock" in record.getMessage()]
    caplog.clear()
    LogWriter(path, SiteId("home"), accuracies.tenths, ears.listener(), clock).connection.close()

    assert "lead_s=1000.000" in warned
    assert "hint=" in warned
    assert "lead_s=1000.000" in caplog.text


def test_a_timestamp_of_the_wrong_clock_is_not_given_to_a_second_row(
    writer: LogWriter, path: Path, ears: Ears, clock: ManualClock
) -> None:
    """When the right time comes to where rows of the wrong clock are, the next free nanosecond is taken."""
    clock.step_wall(2 * 3600)
    for place in range(3):
        writer.put(ReportRow(S1, _report(f"request-{place}", decided=False)))
    ears.wait_stored(3)
    clock.step_wall(-2 * 3600)
    writer.put(ReportRow(S1, _report("request-3", decided=False)))
    ears.wait_stored(1)
    clock.advance(2 * 3600)
    writer.put(ReportRow(S1, _report("request-4", decided=False)))
    ears.wait_stored(1)
    writer.close()
    times = [ns for (ns,) in _rows(path, "SELECT time_ns FROM response ORDER BY id")]

    assert [times[0], times[0] + 1, times[0] + 2] == times[:3]
    assert [times[0] - 2 * 3600 * NS, times[0] + 3] == times[3:]


def test_a_locked_database_is_tried_again_and_nothing_acknowledged_before(
    writer: LogWriter, path: Path, ears: Ears, events: queue.SimpleQueue[logging.LogRecord]
) -> None:
    """The report is stored once the lock is gone."""
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        writer.put(ReportRow(S1, _report("request-1", decided=False)))
        _wait_for(events, "log_not_stored")
        assert ears.stored.empty()
        holder.execute("ROLLBACK")
    assert [(S1, "request-1")] == ears.wait_stored(1)
    writer.close()

    assert [("request-1",)] == _rows(path, "SELECT request_id FROM response")


def test_a_full_disk_is_survived(
    writer: LogWriter, path: Path, ears: Ears, events: queue.SimpleQueue[logging.LogRecord]
) -> None:
    """SQLite's own limit on pages stands in for the disk: refused, an event, and stored when there is room."""
    writer.put(ReportRow(S1, _report("request-0", decided=False)))
    ears.wait_stored(1)
    (pages,) = writer.connection.execute("PRAGMA page_count").fetchone()
    writer.connection.execute(f"PRAGMA max_page_count = {pages}")
    many = 500
    for place in range(1, many):
        writer.put(ReportRow(S1, _report(f"request-{place}", decided=False)))
    _wait_for(events, "database or disk is full")
    writer.connection.execute("PRAGMA max_page_count = 1000000")
    ears.wait_stored(many - 1)
    writer.close()

    assert [(many,)] == _rows(path, "SELECT count(*) FROM response")


def _wait_for(events: queue.SimpleQueue[logging.LogRecord], text: str) -> None:
    while text not in events.get(timeout=PATIENCE_S).getMessage():
        pass


def test_telemetry_beyond_the_limit_is_dropped_oldest_first(writer: LogWriter, path: Path) -> None:
    """Of 2,500 messages at a limit of 1,000, the newest thousand stay."""
    for seq in range(2500):
        told = Telemetry(seq=seq, cpu_percent=1.0, memory_percent=2.0, link=Link.WEAK)
        writer.put(TelemetryRow(S1, Tier.END, told))
    writer.close()

    assert [(1000, 1500, 2499)] == _rows(path, "SELECT count(*), min(seq), max(seq) FROM telemetry")


def test_a_log_of_another_version_is_refused(path: Path) -> None:
    """For writing and for reading, with both versions named."""
    connection = open_for_writing(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    for opening in (open_for_writing, open_for_reading):
        with pytest.raises(LogRefused, match=f"schema version {VERSION + 1}, this Tierwise reads version {VERSION}"):
            opening(path)


def test_a_foreign_database_is_refused_and_left_alone(path: Path) -> None:
    """Somebody else's tables."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mine (x)")
    with pytest.raises(LogRefused, match="no response log"):
        open_for_writing(path)

    assert [("mine",)] == _rows(path, "SELECT name FROM sqlite_master")


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_at_the_start_is_called_that(tmp_path: Path, existing: bool) -> None:
    """By the command itself, in one line; whether the log has to be made or brought up to date."""
    if existing:
        with closing(sqlite3.connect(tmp_path / LOG_NAME)) as old:
            old.executescript((Path(__file__).parent / "response-log-1.sql").read_text())
    config = tmp_path / "orchestrator.yaml"
    config.write_text(f"version: 1\nsite: home\nfiles:\n  directory: {tmp_path}\n", encoding="utf-8")
    done = subprocess.run(
        [*FULL_DISK, sys.executable, "-m", "tierwise", "orchestrator", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 1 == done.returncode
    assert f"the disk is full: {tmp_path / LOG_NAME} cannot be written; free space in {tmp_path}" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_database_is_refused(path: Path, tmp_path: Path) -> None:
    """A text file, a folder, nothing at all."""
    path.write_text("not a database, but long enough to look at its header " * 20)
    for opening in (open_for_writing, open_for_reading):
        with pytest.raises(LogRefused):
            opening(path)
        with pytest.raises(LogRefused):
            opening(tmp_path)
    with pytest.raises(LogRefused, match="no response log"):
        open_for_reading(tmp_path / "missing.sqlite3")


def test_a_row_that_cannot_be_stored_costs_the_others_of_its_statement_nothing(
    writer: LogWriter, path: Path, ears: Ears
) -> None:
    """Of 40 reports that are stored together one has a label that is no UTF-8: 39 are, in their order."""
    for number in range(40):
        writer.put(ReportRow(S1, _report(f"request-{number:02d}", label="\ud800" if number == 7 else "cat")))
    stored = ears.wait_stored(39)
    writer.close()

    expected = [f"request-{number:02d}" for number in range(40) if number != 7]
    assert [(S1, request_id) for request_id in expected] == stored
    with closing(sqlite3.connect(path)) as connection:
        assert expected == [row[0] for row in connection.execute("SELECT request_id FROM response ORDER BY time_ns")]
    assert 1 == writer.dropped["unstorable"]
