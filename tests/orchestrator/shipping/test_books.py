"""The shipper's books: what leaves again, what is skipped or gone, and who may keep them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.shipping_study.compare import compare, samples_of
from benchmarks.shipping_study.servers import VictoriaMetrics
from broker.clock import ManualClock, SystemClock
from configs.influxdb import InfluxSection
from orchestrator.errors import AlreadyShipping, LogRefused
from orchestrator.response_log import LOG_NAME, open_for_reading, open_for_writing
from orchestrator.shipping.outbox import Outbox
from orchestrator.shipping.running import alone, open_outbox, shipper
from orchestrator.shipping.shipper import Shipper
from orchestrator.shipping.status import statuses
from orchestrator.shipping.target import Target
from tests.orchestrator.shipping.books import Ship, change, differing, table

pytestmark = pytest.mark.influxdb


def test_an_explanation_that_comes_after_the_row_left_leaves_too(
    directory: Path, section: InfluxSection, ship: Ship
) -> None:
    """A decision that was shipped without its why is shipped again with it."""
    ship(directory, section)
    change(directory, "UPDATE decision SET predicted_ms = 77.5, reason = 'probe' WHERE id <= 5")
    assert (5, 5) == (table(directory, "decision").amended, table(directory, "decision").waiting)

    ship(directory, section)

    assert {} == differing(directory, section)
    assert 0 == table(directory, "decision").amended


def test_an_explanation_that_comes_while_the_row_is_on_its_way_leaves_too(
    directory: Path, section: InfluxSection, ship: Ship
) -> None:
    """Read without it, sent, and settled after it: the log's own trigger queues the row again."""

    def send(lines: Sequence[str]) -> None:
        target.send(lines)
        change(directory, "UPDATE decision SET reason = 'probe' WHERE id = 3 AND reason IS NOT 'probe'")

    with (
        open_outbox(directory, section) as outbox,
        closing(Target(section)) as target,
        Shipper(outbox, send, section, SystemClock()) as ships,
    ):
        ships.ship()
        ships.ship()

    assert {} == differing(directory, section)


def test_a_decision_that_is_explained_before_it_leaves_leaves_once(
    directory: Path, section: InfluxSection, ship: Ship
) -> None:
    """The usual case costs nothing: only rows that may have left are queued again."""
    ship(directory, section)
    with closing(open_for_writing(directory / LOG_NAME)) as log:
        log.execute(
            "INSERT INTO decision (time_ns, site, node, request_id, round, policy, policy_version, explored, "
            "floor_tenths, tier, model, serving_node, fallback_model, deadline_ms) "
            "VALUES (1, 'home', 's1', 'late', 1, 'factored', 1, 0, 850, 'end', 'd0', 's1', 'd4', 5.0)"
        )
        log.execute("UPDATE decision SET reason = 'best' WHERE request_id = 'late'")

    assert (1, 0) == (table(directory, "decision").waiting, table(directory, "decision").amended)


def test_of_a_backlog_beyond_its_bound_the_oldest_are_skipped_and_counted(
    directory: Path, section: InfluxSection, ship: Ship, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 400 responses, 400 decisions and 200 telemetry rows, the newest 150 each go; the rest stays in SQLite."""
    ship(directory, section.model_copy(update={"backlog_rows": 150}))

    compared = compare(directory / LOG_NAME, section)
    assert {"response": 150, "decision": 150, "telemetry": 150} == {
        name: each.influxdb_rows for name, each in compared.items()
    }
    assert 0 == sum(each.foreign for each in compared.values())
    assert {"response": 250, "decision": 250, "telemetry": 50} == {
        name: table(directory, name).skipped for name in compared
    }
    assert "rows_not_shipped table=response skipped=250 trimmed=0" in caplog.text


def test_skipped_rows_leave_when_it_starts_over(directory: Path, section: InfluxSection, ship: Ship) -> None:
    """As `tierwise influx ship --again` does; nothing is doubled, and the books are those of one clean pass."""
    ship(directory, section.model_copy(update={"backlog_rows": 150}))
    with open_outbox(directory, section) as outbox:
        outbox.start_over()

    ship(directory, section)

    assert {} == differing(directory, section)
    assert (400, 0) == (table(directory, "response").shipped, table(directory, "response").skipped)


def test_telemetry_that_was_deleted_before_it_left_is_counted(
    directory: Path, section: InfluxSection, ship: Ship
) -> None:
    """What was deleted before anybody thought of shipping is not missed; what was deleted later is."""
    change(directory, "DELETE FROM telemetry WHERE id <= 20")
    with closing(Outbox(directory / LOG_NAME, section.target, 10**6, SystemClock())):
        pass
    change(directory, "DELETE FROM telemetry WHERE id <= 50")

    ship(directory, section)

    assert (30, 150, 0) == (
        table(directory, "telemetry").trimmed,
        table(directory, "telemetry").shipped,
        table(directory, "telemetry").skipped,
    )
    assert {} == differing(directory, section)


def test_telemetry_that_is_deleted_while_it_ships_is_counted(directory: Path, section: InfluxSection) -> None:
    """Between the look at the backlog and the reading of a batch."""

    def told(_rows: int) -> None:
        change(directory, "DELETE FROM telemetry WHERE id <= 30")

    with shipper(directory, section.model_copy(update={"batch_rows": 20}), told) as (ships, _outbox):
        ships.ship()

    counted = table(directory, "telemetry")
    assert (0, 200) == (counted.waiting, counted.trimmed + counted.shipped)
    assert 0 < counted.trimmed <= 30


def test_the_comparison_sees_what_is_foreign_or_otherwise(directory: Path, section: InfluxSection, ship: Ship) -> None:
    """One point too many, one row that changed here: equality is not found where there is none."""
    ship(directory, section)
    with closing(Target(section)) as target:
        target.send(['response,site=home,node=s1,tier=end,model=d0,policy=none response_ms=1.0,outcome="done" 5'])
    change(directory, "UPDATE telemetry SET cpu_percent = cpu_percent + 1e-9 WHERE id = 7")

    compared = compare(directory / LOG_NAME, section)

    assert {"response": (0, 1), "decision": (0, 0), "telemetry": (1, 1)} == {
        name: (each.missing, each.foreign) for name, each in compared.items()
    }


def test_two_shippers_of_one_log_are_refused(directory: Path, section: InfluxSection) -> None:
    """The second says who has it."""
    with alone(directory), pytest.raises(AlreadyShipping, match="another shipper"), shipper(directory, section):
        pass


def test_a_folder_without_a_log_is_refused(tmp_path: Path, section: InfluxSection) -> None:
    """Nothing is made there."""
    with pytest.raises(LogRefused, match="no response log"), shipper(tmp_path, section):
        pass

    assert not (tmp_path / LOG_NAME).exists()


def test_another_server_gets_all_rows_too(
    directory: Path, section: InfluxSection, ship: Ship, victoria_metrics: VictoriaMetrics
) -> None:
    """The books are kept per server. VictoriaMetrics takes the same stream; it keeps milliseconds and numbers."""
    ship(directory, section)
    ship(directory, section.model_copy(update={"url": victoria_metrics.url}))

    exported = victoria_metrics.export('{__name__="response_response_ms"}')
    assert 400 == samples_of(exported)
    assert 400 == samples_of(victoria_metrics.export('{__name__="decision_deadline_ms"}'))
    assert 200 == samples_of(victoria_metrics.export('{__name__="telemetry_cpu_percent"}'))


def test_ids_that_doubles_took_are_no_rows(directory: Path, section: InfluxSection, ship: Ship) -> None:
    """A report that came again takes an id and is not stored: nothing is missing then, and nothing waits."""
    ship(directory, section)
    again = "INSERT INTO response SELECT NULL{} FROM response WHERE id <= 30 ON CONFLICT (node, request_id) DO NOTHING"
    with closing(open_for_writing(directory / LOG_NAME)) as log:
        columns = [row[1] for row in log.execute("PRAGMA table_info(response)")][1:]
        log.execute(again.format("".join(f", {column}" for column in columns)))

    with open_outbox(directory, section) as outbox:
        assert ([], 0) == (outbox.bound(), outbox.waiting_rows())
    with closing(open_for_writing(directory / LOG_NAME)) as log:
        log.execute("UPDATE response SET id = id + 600 WHERE id = 400")  # the next new row has an id beyond the gap
    with open_outbox(directory, section.model_copy(update={"backlog_rows": 1})) as outbox:
        assert [] == outbox.bound()
    ship(directory, section)
    assert (0, 0, 0) == (
        table(directory, "response").trimmed,
        table(directory, "response").skipped,
        table(directory, "response").waiting,
    )


def test_many_explanations_leave_in_one_go(directory: Path, section: InfluxSection, ship: Ship) -> None:
    """More than go into one batch of 250: none waits when all is said to be shipped."""
    ship(directory, section)
    change(directory, "UPDATE decision SET reason = 'probe'")
    assert 400 == table(directory, "decision").amended

    ship(directory, section)

    assert 0 == table(directory, "decision").amended
    assert {} == differing(directory, section)


def test_a_failure_is_over_when_a_write_is_taken_whatever_the_clock_says(
    directory: Path, section: InfluxSection, ship: Ship
) -> None:
    """It was noted by a clock that was an hour ahead."""
    ahead = ManualClock(wall_s=SystemClock().wall() + 3600)
    with closing(Outbox(directory / LOG_NAME, section.target, 10**6, ahead)) as outbox:
        outbox.note_failure("away")
    with closing(open_for_reading(directory / LOG_NAME)) as log:
        assert ["away"] == [each.error for each in statuses(log) if each.failing]

    ship(directory, section)

    with closing(open_for_reading(directory / LOG_NAME)) as log:
        assert [False] == [each.failing for each in statuses(log)]
