"""What tests of shipping look at: the books in the log, and how both sides differ."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.shipping_study.compare import compare
from configs.influxdb import InfluxSection
from orchestrator.response_log import LOG_NAME, open_for_reading
from orchestrator.shipping.status import TableStatus, statuses

Ship = Callable[[Path, InfluxSection], None]


def table(directory: Path, name: str) -> TableStatus:
    """The books of one table, of the only target."""
    with closing(open_for_reading(directory / LOG_NAME)) as log:
        (target,) = statuses(log)
    return next(each for each in target.tables if each.table == name)


def differing(directory: Path, section: InfluxSection) -> dict[str, str]:
    """Tables that are not the same on both sides, and how; the number of rows must not be 0."""
    compared = compare(directory / LOG_NAME, section)

    assert sum(each.sqlite_rows for each in compared.values()) > 0
    return {name: str(each) for name, each in compared.items() if not each.equal}


def change(directory: Path, statement: str, *values: object) -> None:
    """What the orchestrator's own thread would do meanwhile."""
    with closing(sqlite3.connect(directory / LOG_NAME)) as log, log:
        log.execute(statement, values)
