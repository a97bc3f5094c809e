"""What a server refuses: bad points go to the dead letters, everything else waits until it is mended."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.shipping_study.compare import compare
from benchmarks.shipping_study.rows import START_NS
from benchmarks.shipping_study.servers import Influxd
from configs.influxdb import InfluxSection
from orchestrator.errors import InfluxUnavailable
from orchestrator.response_log import LOG_NAME, open_for_reading
from orchestrator.shipping.retrying import retry_dead_letters
from orchestrator.shipping.running import open_outbox, shipper
from orchestrator.shipping.status import dead_letters
from orchestrator.shipping.target import Target
from tests.orchestrator.shipping.books import Ship, change, differing, table

pytestmark = pytest.mark.influxdb


def test_poison_points_go_to_the_dead_letters_and_hold_up_nobody(
    directory: Path, section: InfluxSection, ship: Ship
) -> None:
    """Points that no InfluxDB takes: an infinite time, and a tag of more than 64 KiB. All others are there."""
    change(directory, "UPDATE response SET response_ms = 9e999 WHERE id IN (7, 301)")
    change(directory, "UPDATE telemetry SET node = ? WHERE id = 50", "x" * 70_000)

    ship(directory, section)

    with closing(open_for_reading(directory / LOG_NAME)) as log:
        letters, count = dead_letters(log, 10)
    assert {("response", 7), ("response", 301), ("telemetry", 50)} == {(each.table, each.row_id) for each in letters}
    assert 3 == count
    assert all(each.status == 400 and each.message for each in letters)
    compared = compare(directory / LOG_NAME, section)
    assert {"response": 2, "decision": 0, "telemetry": 1} == {name: each.missing for name, each in compared.items()}
    assert 0 == sum(each.foreign for each in compared.values())


def test_dead_letters_of_deleted_telemetry_go_with_it(directory: Path, section: InfluxSection, ship: Ship) -> None:
    """They could not be sent again, and would grow without end where the log itself does not."""
    change(directory, "UPDATE telemetry SET cpu_percent = 9e999 WHERE id IN (5, 6, 90)")
    ship(directory, section)
    change(directory, "DELETE FROM telemetry WHERE id <= 20")
    change(
        directory,
        "INSERT INTO telemetry (time_ns, site, node, seq, cpu_percent, memory_percent, link, queue_length, overruns, "
        "refused, emulated) VALUES (1, 'home', 's1', 1, 9e999, 1.0, 'regular', 0, 0, 0, 0)",
    )

    ship(directory, section)

    with closing(open_for_reading(directory / LOG_NAME)) as log:
        assert [90, 201] == sorted(each.row_id for each in dead_letters(log, 10)[0])
    counted = table(directory, "telemetry")
    assert (197, 2, 2) == (counted.shipped, counted.dead_letters, counted.trimmed)


def test_a_field_of_another_type_is_refused_alone_and_taken_after_it_is_mended(
    directory: Path, section: InfluxSection, ship: Ship, influxd: Influxd
) -> None:
    """Somebody wrote `label` as a number before; those rows wait as dead letters until that is dropped."""
    change(directory, "UPDATE response SET label = NULL WHERE id > 20")
    with closing(Target(section)) as target:
        target.send([f"response,site=other label=1i {START_NS}"])
    ship(directory, section)
    with closing(open_for_reading(directory / LOG_NAME)) as log:
        letters, count = dead_letters(log, 1)
        (labelled,) = log.execute("SELECT count(*) FROM response WHERE label IS NOT NULL").fetchone()

    assert labelled == count > 0
    assert "field type conflict" in letters[0].message
    with open_outbox(directory, section) as outbox, closing(Target(section)) as target:
        assert (0, count) == retry_dead_letters(outbox, target.send)
        influxd.query(f'DROP DATABASE "{section.database}"')
        influxd.query(f'CREATE DATABASE "{section.database}"')
        assert (count, 0) == retry_dead_letters(outbox, target.send)
    assert (400, 0) == (table(directory, "response").shipped, table(directory, "response").dead_letters)


def test_a_wrong_password_loses_nothing_and_says_how_to_mend_it(
    directory: Path, section: InfluxSection, password_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The password is read anew for each attempt, so that a mended file is enough."""
    right = password_file.read_text(encoding="ascii")
    password_file.write_text("wrong", encoding="ascii")
    paused: list[float] = []

    def pause(seconds: float) -> bool:
        if seconds > 0:
            paused.append(seconds)
            if len(paused) == 2:
                password_file.write_text(right, encoding="ascii")
        return outbox.waiting_rows() == 0

    with caplog.at_level(logging.INFO), shipper(directory, section) as (ships, outbox):
        ships.run(pause)

    assert {} == differing(directory, section)
    assert 2 == caplog.text.count("influxdb_unavailable")
    assert "answers 401: authorization failed; set username and password_file to a user" in caplog.text
    assert "influxdb_back" in caplog.text


def test_a_database_that_is_not_there_loses_nothing(
    directory: Path, section: InfluxSection, ship: Ship, influxd: Influxd
) -> None:
    """404 says that there is none; once it is made, all rows go there."""
    influxd.query(f'DROP DATABASE "{section.database}"')
    with pytest.raises(InfluxUnavailable, match=r"404: database not found.*; make the database: influx -execute"):
        ship(directory, section)
    assert 400 == table(directory, "response").waiting

    influxd.query(f'CREATE DATABASE "{section.database}"')
    ship(directory, section)

    assert {} == differing(directory, section)
