"""How long the response log keeps its rows: by age and by size, never before they are shipped, never doubled later."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker.clock import ManualClock
from broker.messages import Decision, Explain, Report, Stages, Telemetry
from broker.vocabulary import Link, NodeId, Outcome, RequestId, SiteId, Tier
from configs.influxdb import InfluxSection
from configs.orchestrator import OrchestratorConfig
from orchestrator import retention
from orchestrator.accuracy import Accuracies
from orchestrator.answering import answer
from orchestrator.errors import NothingLogged
from orchestrator.explained import Expired, Wanted, decisions
from orchestrator.log_rows import DecisionRow, Listener, QuestionRow, ReportRow, Row, TelemetryRow
from orchestrator.log_writer import LogWriter
from orchestrator.response_log import LOG_NAME, last_round, open_for_reading
from orchestrator.retention import BATCH_ROWS, CHECK_S, MIN_KEPT_ROWS, TOMBSTONE_FACTOR, Expiry, Retention
from orchestrator.shipping.outbox import SOURCES, Outbox
from orchestrator.shipping.status import statuses

S1, S2 = NodeId("s1"), NodeId("s2")
DAY_S = 86_400.0
SECTION = InfluxSection(url="http://127.0.0.1:9", database="edge")


class Site:
    """A log whose writer's work is done in the test's own thread, on a clock that stands still until it is moved."""

    def __init__(self, path: Path, accuracies: Accuracies, keeps: Retention) -> None:
        self.path, self.keeps = path, keeps
        self.clock = ManualClock()
        self.stored: list[tuple[NodeId, RequestId]] = []
        self.foreign: list[tuple[NodeId, RequestId]] = []
        self.answered: list[Any] = []
        listener = Listener(self.stored.extend, self.foreign.extend, self.answered.extend)
        self.writer = LogWriter(path, SiteId("home"), accuracies.tenths, listener, self.clock, 10**6, keeps)

    def store(self, *rows: Row) -> None:
        """As one batch."""
        self.writer._store(rows)

    def requests(self, first: int, count: int) -> None:
        """Decisions and reports of so many requests of s1."""
        ids = [f"request-{number:06d}" for number in range(first, first + count)]
        self.store(*(DecisionRow(S1, 890, decision(each, first + at)) for at, each in enumerate(ids)))
        self.store(*(ReportRow(S1, report(each)) for each in ids))

    def delete_all_due(self) -> int:
        """Batches until nothing is due; how many."""
        batches = 0
        while True:
            self.clock.advance(CHECK_S)
            self.writer._delete_old()
            if not self.writer._expiry.more:
                return batches
            batches += 1

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.writer.connection.execute(sql, values).fetchall()

    def count(self, table: str) -> int:
        return int(self.ask(f"SELECT count(*) FROM {table}")[0][0])


def decision(request_id: str, round_: int = 1) -> Decision:
    return Decision(
        request_id=request_id, round=round_, tier=Tier.EDGE, model="d0", serving_node="edge", fallback_model="d4",
        deadline_ms=5000.0, policy="factored", policy_version=1, explored=False,
    )  # fmt: skip


def report(request_id: str) -> Report:
    return Report(
        request_id=request_id, outcome=Outcome.DONE, decided=True, tier=Tier.EDGE, model="d0", serving_node="edge",
        response_ms=100.0, stages=Stages(compute_ms=90.0), label="tabby", trained=True,
    )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, accuracies: Accuracies, request: pytest.FixtureRequest) -> Iterator[Site]:
    """See Site; kept for 30 days unless the test says otherwise."""
    made = Site(tmp_path / LOG_NAME, accuracies, getattr(request, "param", Retention(days=30.0)))
    yield made
    made.writer.connection.close()


def test_rows_older_than_the_retention_are_deleted(site: Site) -> None:
    """Of each table, and no younger one; the newest hundred stay, so that rounds are counted on."""
    telemetry = Telemetry(seq=1, cpu_percent=1.0, memory_percent=1.0, link=Link.REGULAR)
    site.requests(0, 1200)
    site.store(*[TelemetryRow(S1, Tier.END, telemetry)] * 700)
    site.clock.advance(20 * DAY_S)
    site.requests(1200, 300)
    assert 0 == site.delete_all_due()
    site.clock.advance(11 * DAY_S)
    site.delete_all_due()

    assert (300, 300, MIN_KEPT_ROWS) == (site.count("response"), site.count("decision"), site.count("telemetry"))
    site.clock.advance(100 * DAY_S)
    site.delete_all_due()
    assert (MIN_KEPT_ROWS, MIN_KEPT_ROWS) == (site.count("response"), site.count("decision"))
    assert 1499 == last_round(site.writer.connection)


def test_a_batch_is_small_and_the_next_one_comes_later(site: Site) -> None:
    """So that what is to be stored meanwhile waits for milliseconds, however much there is to delete."""
    site.requests(0, 3000)
    site.clock.advance(31 * DAY_S)

    site.writer._delete_old()
    assert 3000 - BATCH_ROWS == site.count("response") == site.count("decision")
    site.writer._delete_old()
    assert 3000 - BATCH_ROWS == site.count("response")


def test_nothing_is_deleted_without_a_limit(tmp_path: Path, accuracies: Accuracies) -> None:
    """As a log of an older configuration was kept."""
    site = Site(tmp_path / LOG_NAME, accuracies, Retention())
    site.requests(0, 700)
    site.clock.advance(10_000 * DAY_S)

    assert (0, 700) == (site.delete_all_due(), site.count("response"))
    site.writer.connection.close()


@pytest.mark.parametrize("site", [Retention(max_bytes=1_000_000)], indirect=True)
def test_the_file_stops_growing_at_its_limit(site: Site) -> None:
    """Five times as many rows as fit: the oldest go, freed pages are used again, and each report is acknowledged."""
    for first in range(0, 10_000, 400):
        site.requests(first, 400)
        site.clock.advance(60.0)
        site.delete_all_due()
    site.ask("PRAGMA wal_checkpoint(TRUNCATE)")

    assert 10_000 == len(site.stored)
    assert 500_000 < site.path.stat().st_size < 1_300_000
    assert [("request-009999",)] == site.ask("SELECT request_id FROM response ORDER BY id DESC LIMIT 1")
    assert site.count("response") > MIN_KEPT_ROWS
    assert ("ok",) == site.ask("PRAGMA integrity_check")[0]


@pytest.mark.parametrize("site", [Retention(days=30.0, max_bytes=200_000, target=SECTION.target)], indirect=True)
def test_rows_that_influxdb_has_not_yet_are_never_deleted(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """However old and however many; a warning says why the log is too large. What has left may go."""
    site.requests(0, 2000)
    site.clock.advance(365 * DAY_S)
    assert (0, 2000) == (site.delete_all_due(), site.count("response"))
    assert "log_too_large" in caplog.text
    assert "rows that have not been shipped to InfluxDB are kept" in caplog.text

    with closing(Outbox(site.path, SECTION.target, 10**6, site.clock)) as outbox:
        assert (0, 2000) == (site.delete_all_due(), site.count("response"))
        while batch := outbox.next_batch(SOURCES[0], 700):
            outbox.settle(batch, [])
            if batch.last_id == 1400:
                break
        site.delete_all_due()
        assert (600, 2000) == (site.count("response"), site.count("decision"))
        waiting = {each.table: each.waiting for each in statuses(site.writer.connection)[0].tables}
        assert {"response": 600, "decision": 2000, "telemetry": 0} == waiting


@pytest.mark.parametrize("site", [Retention(days=30.0, target=SECTION.target)], indirect=True)
def test_a_decision_that_is_to_leave_again_is_not_deleted(site: Site) -> None:
    """It was explained after it had left; InfluxDB lacks the explanation."""
    site.requests(0, 400)
    with closing(Outbox(site.path, SECTION.target, 10**6, site.clock)) as outbox:
        for source in SOURCES:
            while batch := outbox.next_batch(source, 1000):
                outbox.settle(batch, [])
        site.ask("UPDATE decision SET reason = 'best' WHERE id = 7")
        site.clock.advance(31 * DAY_S)
        site.delete_all_due()

        assert [(7,)] == site.ask("SELECT id FROM decision WHERE id < 300")
        again = outbox.next_amended(10)
        assert again is not None
        outbox.settle(again, [])
        site.delete_all_due()
        assert MIN_KEPT_ROWS == site.count("decision")
        assert ([], 0) == (outbox.bound(), outbox.waiting_rows())


@pytest.mark.parametrize("site", [Retention(days=30.0)], indirect=True)
def test_a_server_that_is_configured_later_gets_what_is_left(site: Site) -> None:
    """Deleted rows are no rows that wait."""
    site.requests(0, 1500)
    with closing(Outbox(site.path, SECTION.target, 10**6, site.clock)):
        pass  # configured once, and then no longer
    site.clock.advance(31 * DAY_S)
    site.delete_all_due()

    with closing(Outbox(site.path, SECTION.target, 10**6, site.clock)) as outbox:
        assert [] == outbox.bound()
        batch = outbox.next_batch(SOURCES[0], 250)

    assert batch is not None
    assert MIN_KEPT_ROWS == len(batch.waiting)


def test_a_report_that_is_sent_again_after_its_deletion_is_acknowledged_and_not_stored(site: Site) -> None:
    """Ten times as long as rows are kept; another device's report of that request is refused."""
    site.requests(0, 300)
    site.clock.advance(31 * DAY_S)
    site.delete_all_due()
    kept = site.count("response")
    site.stored.clear()

    site.store(ReportRow(S1, report("request-000007")), ReportRow(S2, report("request-000008")))
    site.clock.advance((TOMBSTONE_FACTOR - 1) * 30 * DAY_S)
    site.delete_all_due()
    site.store(ReportRow(S1, report("request-000007")))

    assert [(S1, "request-000007")] * 2 == site.stored
    assert [(S2, "request-000008")] == site.foreign
    assert kept == site.count("response")
    assert [("s1", 1)] == site.ask("SELECT node, reported FROM tombstone WHERE request_id = 'request-000007'")


def test_a_report_whose_decision_alone_was_deleted_is_stored(site: Site) -> None:
    """The device was away for longer than rows are kept: its report is not lost, and comes once."""
    site.store(*(DecisionRow(S1, 890, decision(f"late-{number}")) for number in range(300)))
    site.clock.advance(31 * DAY_S)
    site.delete_all_due()

    site.store(ReportRow(S1, report("late-3")), ReportRow(S2, report("late-4")))
    site.store(ReportRow(S1, report("late-3")))

    assert [("late-3", "unknown")] == site.ask("SELECT request_id, policy FROM response")
    assert ([(S1, "late-3")] * 2, [(S2, "late-4")]) == (site.stored, site.foreign)


def test_tombstones_end_after_ten_times_the_age(site: Site) -> None:
    """Then the id is unknown again, and the space is free."""
    site.requests(0, 300)
    site.clock.advance(31 * DAY_S)
    site.delete_all_due()
    assert 200 == site.count("tombstone")

    site.clock.advance(TOMBSTONE_FACTOR * 31 * DAY_S)
    site.delete_all_due()

    assert 0 == site.count("tombstone") - len(site.ask("SELECT 1 FROM tombstone WHERE request_id >= 'request-000200'"))


def test_tombstones_take_at_most_half_of_the_limit(
    tmp_path: Path, accuracies: Accuracies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest go first, so that a small limit is not filled by ids alone."""
    site = Site(tmp_path / LOG_NAME, accuracies, Retention(max_bytes=500_000))
    for first in range(0, 10_000, 500):
        site.requests(first, 500)
        site.clock.advance(60.0)
        site.delete_all_due()
    most = 500_000 * retention.MAX_TOMBSTONE_SHARE / retention.TOMBSTONE_BYTES

    assert 500 < site.count("tombstone") <= most
    site.writer.connection.close()


def test_explain_answers_expired(site: Site, tmp_path: Path) -> None:
    """On the bus and from the file; of an id that never was, unknown."""
    site.requests(0, 300)
    site.clock.advance(31 * DAY_S)
    site.delete_all_due()
    asked = RequestId("request-000007")
    site.store(QuestionRow(S1, asked), QuestionRow(S1, RequestId("never")), QuestionRow(S2, asked))

    (_, expired), (_, unknown), (_, anothers) = site.answered
    assert isinstance(expired, Expired)
    assert Explain(request_id=asked, refused="expired") == answer(asked, expired)
    assert (None, None) == (unknown, anothers)
    with closing(open_for_reading(site.path)) as log:
        with pytest.raises(NothingLogged, match=r"expired: request-000007 was stored on 2023-11-14 .*retention_days"):
            decisions(log, Wanted(request_id=asked))
        with pytest.raises(NothingLogged, match="no such decision"):
            decisions(log, Wanted(request_id="never"))


def test_an_old_log_that_is_only_read_has_no_tombstones(tmp_path: Path) -> None:
    """A question to it is answered as before."""
    with closing(sqlite3.connect(tmp_path / LOG_NAME)) as old:
        old.executescript((Path(__file__).parent / "response-log-3.sql").read_text())
    with (
        closing(open_for_reading(tmp_path / LOG_NAME)) as log,
        pytest.raises(NothingLogged, match="no such decision"),
    ):
        decisions(log, Wanted(request_id="never"))


def test_dead_letters_of_deleted_rows_go_and_are_counted(site: Site) -> None:
    """Without its row one cannot be sent again."""
    site.requests(0, 300)
    with closing(Outbox(site.path, SECTION.target, 10**6, site.clock)):
        pass
    site.ask("INSERT INTO dead_letter VALUES (?, 'response', 5, 1, 400, 'bad', 'line')", SECTION.target)
    site.clock.advance(31 * DAY_S)
    site.delete_all_due()

    assert 0 == site.count("dead_letter")
    assert [(1,)] == site.ask("SELECT trimmed_rows FROM shipping WHERE source = 'response'")


def test_a_failure_to_delete_ends_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """As when another process writes for long: it is logged, and tried again."""
    site.requests(0, 300)
    site.clock.advance(31 * DAY_S)
    site.ask("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(site.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        site.writer._delete_old()
        other.execute("ROLLBACK")

    assert "log_rows_not_deleted" in caplog.text
    site.delete_all_due()
    assert MIN_KEPT_ROWS == site.count("response")


def test_the_writers_own_thread_deletes_while_it_stores(tmp_path: Path, accuracies: Accuracies) -> None:
    """Rows of today are acknowledged, and those of last month go, without anybody asking."""
    site = Site(tmp_path / LOG_NAME, accuracies, Retention(days=30.0))
    site.requests(0, 1000)
    site.clock.advance(31 * DAY_S)
    acknowledged: queue.Queue[Any] = queue.Queue()
    site.writer._listener = Listener(lambda ids: [acknowledged.put(each) for each in ids], lambda _ids: None)
    site.writer.start()
    try:
        with closing(open_for_reading(site.path)) as log:
            for number in range(10_000):
                site.clock.advance(CHECK_S)
                site.writer.put(ReportRow(S1, report(f"new-{number}")))
                assert (S1, f"new-{number}") == acknowledged.get(timeout=60)
                if log.execute("SELECT 1 FROM response WHERE request_id < 'new' LIMIT 1").fetchone() is None:
                    break
        assert number < 9_999
    finally:
        site.writer.close()


def test_the_settings_say_what_is_kept() -> None:
    """10,000 MB and no age unless the file says otherwise; rows wait for InfluxDB only where one is configured."""
    least = {"version": 1, "site": "home"}
    given = {**least, "files": {"retention_days": 7, "max_megabytes": None}, "influxdb": SECTION.model_dump()}

    assert Retention(None, 10_000_000_000, None) == Retention.of(OrchestratorConfig.model_validate(least))
    assert Retention(7.0, None, SECTION.target) == Retention.of(OrchestratorConfig.model_validate(given))


def test_expiry_of_an_empty_log_does_nothing(site: Site) -> None:
    """Nor of one with fewer rows than are always kept."""
    expiry = Expiry(site.writer.connection, site.clock)

    assert (0, False) == (expiry.delete(Retention(days=0.001, max_bytes=1)), expiry.more)


@pytest.mark.parametrize("unset", ["id = 50", "id <= 250"])
def test_rows_of_an_unset_clock_are_as_old_as_the_first_real_time_after_them(site: Site, unset: str) -> None:
    """A machine without a battery begins in 1970 until NTP answers: neither those rows nor others leave too early."""
    site.requests(0, 400)
    site.ask(f"UPDATE response SET time_ns = id WHERE {unset}")
    site.ask(f"UPDATE decision SET time_ns = id WHERE {unset}")
    site.clock.advance(DAY_S)

    assert 0 == site.delete_all_due()
    site.clock.advance(30 * DAY_S)
    site.delete_all_due()
    assert (MIN_KEPT_ROWS, MIN_KEPT_ROWS) == (site.count("response"), site.count("decision"))
