"""Logs of older versions: they get the shipper's books, keep their rows, and are shipped."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.shipping_study.compare import compare
from configs.influxdb import InfluxSection
from orchestrator import response_log
from orchestrator.response_log import (
    LOG_NAME,
    VERSION,
    has_shipping,
    has_tombstones,
    open_for_reading,
    open_for_writing,
)
from orchestrator.shipping.status import dead_letters, statuses

DUMPS = Path(__file__).parents[1]
TABLES = ("response", "decision", "telemetry")


@pytest.fixture(params=[1, 2, 3])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A log as that version wrote it."""
    with closing(sqlite3.connect(tmp_path / LOG_NAME)) as log:
        log.executescript((DUMPS / f"response-log-{request.param}.sql").read_text())
    return tmp_path / LOG_NAME


def structure(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(open_for_reading(path)) as log:
        names = [row[0] for row in log.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        triggers = log.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        return {"trigger": triggers, **{name: log.execute(f"PRAGMA table_info({name})").fetchall() for name in names}}


def test_an_old_log_gets_the_books_and_keeps_its_rows(old: Path, tmp_path: Path) -> None:
    """Its structure is then that of a new one; read only, it stays as it was."""
    with closing(open_for_reading(old)) as log:
        before = [log.execute(f"SELECT id, time_ns, site, node FROM {table}").fetchall() for table in TABLES]
        version = log.execute("PRAGMA user_version").fetchone()[0]
        assert (version >= 3, False) == (has_shipping(log), has_tombstones(log))
        assert (version >= 3, ([], 0)) == (bool(statuses(log)), dead_letters(log, 9))
    open_for_writing(old).close()
    open_for_writing(tmp_path / "new.sqlite3").close()

    with closing(open_for_reading(old)) as log:
        assert before == [log.execute(f"SELECT id, time_ns, site, node FROM {table}").fetchall() for table in TABLES]
        assert VERSION == log.execute("PRAGMA user_version").fetchone()[0]
        assert has_shipping(log)
        assert has_tombstones(log)
    assert structure(tmp_path / "new.sqlite3") == structure(old)


def test_two_that_open_an_old_log_at_once_both_may(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shipper that is started by hand beside an orchestrator: the slower one finds it done."""
    look = response_log._check

    def overtaken(connection: sqlite3.Connection, path: Path) -> int:
        version = look(connection, path)
        monkeypatch.setattr(response_log, "_check", look)
        open_for_writing(path).close()
        return version

    monkeypatch.setattr(response_log, "_check", overtaken)
    with closing(open_for_writing(old)) as log:
        assert VERSION == log.execute("PRAGMA user_version").fetchone()[0]


@pytest.mark.influxdb
def test_an_old_log_is_shipped(old: Path, section: InfluxSection, ship: Callable[[Path, InfluxSection], None]) -> None:
    """All its rows, explained or not."""
    ship(old.parent, section)

    assert [(2, 2, True)] * 3 == [
        (each.sqlite_rows, each.influxdb_rows, each.equal) for each in compare(old, section).values()
    ]
