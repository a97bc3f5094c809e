"""Whether a server holds exactly the rows of a log: by count and by content of every column."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from configs.influxdb import InfluxSection
from orchestrator.report import Filter
from orchestrator.response_log import open_for_reading
from orchestrator.shipping.influxql import InfluxReader
from orchestrator.shipping.points import MEASUREMENTS, Row
from orchestrator.shipping.readback import rows_of


@dataclass(frozen=True, slots=True)
class Comparison:
    """One table: rows on both sides, and how many are missing there, or there without being here (or otherwise)."""

    sqlite_rows: int
    influxdb_rows: int
    missing: int
    foreign: int
    example: str  # of what differs, '' where nothing does

    @property
    def equal(self) -> bool:
        """Every row is there, once, and nothing else is."""
        return self.missing == self.foreign == 0 and self.sqlite_rows == self.influxdb_rows


def compare(log: Path, section: InfluxSection) -> dict[str, Comparison]:
    """Each table of the log beside its measurement, all in memory. Raises TierwiseError."""
    with closing(open_for_reading(log)) as connection, closing(InfluxReader(section)) as reader:
        return {name: _table(connection, reader, name) for name in MEASUREMENTS}


def _table(connection: sqlite3.Connection, reader: InfluxReader, name: str) -> Comparison:
    measurement = MEASUREMENTS[name]
    here = Counter[Row](connection.execute(f"SELECT {', '.join(measurement.columns)} FROM {name}"))
    there = Counter[Row](rows_of(reader, measurement, Filter()))
    missing, foreign = here - there, there - here
    different = [f"{side}: {next(iter(rows))}" for side, rows in (("missing", missing), ("foreign", foreign)) if rows]
    return Comparison(here.total(), there.total(), missing.total(), foreign.total(), "; ".join(different))


def samples_expected(log: Path) -> dict[str, int]:
    """Of each table, how many samples of a field VictoriaMetrics can tell apart: it keeps whole milliseconds."""
    expected = {}
    with closing(open_for_reading(log)) as connection:
        for name, measurement in MEASUREMENTS.items():
            series = f"SELECT DISTINCT {', '.join(measurement.tags)}, time_ns / 1000000 FROM {name}"
            expected[name] = int(connection.execute(f"SELECT count(*) FROM ({series})").fetchone()[0])
    return expected


def samples_of(exported: bytes) -> int:
    """How many samples VictoriaMetrics exported, doubles counted once: it keeps every write of a point."""
    series = [json.loads(line) for line in exported.splitlines()]
    return sum(len(set(each["timestamps"])) for each in series)
