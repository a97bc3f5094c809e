"""Points per second from a full response log to a time-series server, and the memory that it takes.

    python benchmarks/shipping.py [--rows 200000] [--json FILE]

A log with that many rows (two fifths responses of 22 fields, two fifths decisions, a fifth telemetry) is drained to
InfluxDB 1.6.7 and to VictoriaMetrics, by the shipper as it runs: read from SQLite, made to lines,
gzipped, written, settled in the log. Beside it, into empty databases of the same server, in the same
run: ready lines, made and gzipped before, posted by bare urllib3 (what the server can take from one writer), and,
for VictoriaMetrics alone as 1.6.7 lacks the library's path, influxdb-client's own Point objects, written synchronously
in batches of the same size, from rows that are in memory.
Both servers run on the same cores as what fills them. Goals: 20,000 points/s, and memory that does not grow.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
import urllib3
from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS

from benchmarks.report_form import Goal, Report, Row, write_report
from benchmarks.shipping_study.rows import fill
from benchmarks.shipping_study.servers import Influxd, VictoriaMetrics
from configs.influxdb import InfluxSection
from orchestrator.response_log import open_for_reading
from orchestrator.shipping.points import MEASUREMENTS, Kind, line_builder
from orchestrator.shipping.running import shipper
from orchestrator.shipping.target import GZIP_LEVEL

GOAL_POINTS_PER_S = 20_000
GOAL_GROWTH_MIB = 20
BATCH = 5000
TIMEOUT_S = 120.0  # both servers and what fills them share the cores
POINT_SHARE, MOST_POINTS = 10, 20_000  # Point objects are slow: so many times fewer rows, and no more than this
MIB = 2**20

T = TypeVar("T")


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="Draining the response log to a time-series server.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        log = fill(directory / "log", options.rows)
        rows = influxdb(directory, log)
        show(rows)
        others = victoria_metrics(directory, log)
        show(others)
        rows += others
    details = {"rows": options.rows, "batch_rows": BATCH, "gzip_level": GZIP_LEVEL}
    details |= {"load_average_at_the_end": os.getloadavg()[0]}
    write_report(
        options.json, Report(benchmark="shipping", title="Shipping the response log", rows=rows, details=details)
    )


def show(rows: list[Row]) -> None:
    """A line per row, one more where it has a goal."""
    for row in rows:
        beside = f"{row.beside} {row.beside_value:,.0f}" if row.beside_value else ""
        print(f"{row.what:62}{row.ours:12,.1f} {row.unit:9}{beside:34}{row.note}", flush=True)
        if row.goal is not None:
            print(f"{'':62}goal {row.goal.limit:,.0f}: {'met' if row.met else 'MISSED'}", flush=True)


def influxdb(directory: Path, log: Path) -> list[Row]:
    """Ours and bare, into a database each."""
    with Influxd(directory / "influxd") as server:
        for database in ("ours", "bare"):
            server.query(f"CREATE DATABASE {database}")
        section = InfluxSection(url=server.url, database="ours", batch_rows=BATCH, timeout_s=TIMEOUT_S)
        return _rows("InfluxDB 1.6.7", log, section, "/write?db=bare&precision=n")


def victoria_metrics(directory: Path, log: Path) -> list[Row]:
    """Ours, bare, and Point objects."""
    with VictoriaMetrics(directory / "victoria-metrics") as server:
        section = InfluxSection(url=server.url, bucket="ours", batch_rows=BATCH, timeout_s=TIMEOUT_S)
        found = _rows("VictoriaMetrics", log, section, "/api/v2/write?org=-&bucket=bare&precision=ns")
        found.append(
            Row(
                what="VictoriaMetrics, influxdb-client's Point objects",
                ours=points(log, server.url),
                unit="points/s",
                note=f"of {_point_rows(log):,} rows that are in memory",
            )
        )
    return found


def _rows(name: str, log: Path, section: InfluxSection, path: str) -> list[Row]:
    drained = ours(log, section)
    return [
        Row(
            what=f"{name}, draining {_count(log):,} rows",
            ours=drained.points_per_s,
            unit="points/s",
            beside="bare urllib3, ready lines",
            beside_value=bare(log, section.url + path),
            goal=Goal(limit=GOAL_POINTS_PER_S, at_least=True, why_missed="the server shares the cores: see the load"),
        ),
        Row(
            what=f"{name}, the shipper's own processor time",
            ours=drained.cpu_us,
            unit="us/point",
            note=f"so one core could make {1e6 / drained.cpu_us:,.0f} points/s for a server that has its own",
        ),
        Row(
            what=f"{name}, growth of the shipper's memory over that",
            ours=drained.growth_mib,
            unit="MiB",
            goal=Goal(limit=GOAL_GROWTH_MIB, why_missed="what it kept should not depend on the number of rows"),
            note=f"from {drained.start_mib:.0f} MiB after the first ten batches",
        ),
    ]


@dataclass(frozen=True, slots=True)
class Drained:
    """Points per second of the clock and microseconds of our processor time for each; resident MiB after ten batches,
    and how much above that it ever was later."""

    points_per_s: float
    cpu_us: float
    start_mib: float
    growth_mib: float


def ours(log: Path, section: InfluxSection) -> Drained:
    """Drain the log."""
    process = psutil.Process()
    resident_mib: list[float] = []
    with shipper(log.parent, section, lambda _rows: resident_mib.append(process.memory_info().rss / MIB)) as (
        ships,
        box,
    ):
        waiting = box.waiting_rows()
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        ships.ship()
        took_s, took_cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
        if left := box.waiting_rows():
            raise SystemExit(f"{left} rows were not shipped; report this")
    settled = resident_mib[min(10, len(resident_mib) - 1) :]
    return Drained(waiting / took_s, 1e6 * took_cpu_s / waiting, settled[0], max(settled) - settled[0])


def bare(log: Path, url: str) -> float:
    """Points per second of ready, gzipped lines over one kept connection."""
    bodies = [gzip.compress("\n".join(lines).encode(), GZIP_LEVEL) for lines in _batches(_lines(log))]
    with urllib3.PoolManager(headers={"Content-Encoding": "gzip"}) as pool:
        started_s = time.perf_counter()
        for body in bodies:
            answer = pool.request("POST", url, body=body)
            if answer.status != 204:
                raise SystemExit(f"the server answers {answer.status}: {answer.data!r}")
        return _count(log) / (time.perf_counter() - started_s)


def _batches(rows: Iterator[T]) -> Iterator[list[T]]:
    while some := list(islice(rows, BATCH)):
        yield some


def _lines(log: Path) -> Iterator[str]:
    with closing(open_for_reading(log)) as connection:
        for measurement in MEASUREMENTS.values():
            line = line_builder(measurement)
            for row in connection.execute(f"SELECT {measurement.selection} FROM {measurement.name} ORDER BY id"):
                yield line(row)


def points(log: Path, url: str) -> float:
    """Points per second by the library's own objects and its synchronous writer."""
    rows = list(_rows_in_memory(log))
    with InfluxDBClient(url, org="-", enable_gzip=True, timeout=round(1000 * TIMEOUT_S)) as client:
        writes = client.write_api(write_options=SYNCHRONOUS)
        started_s = time.perf_counter()
        for some in _batches(iter(rows)):
            writes.write("points", "-", [_point(name, row) for name, row in some])
        return len(rows) / (time.perf_counter() - started_s)


def _rows_in_memory(log: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    count = _point_rows(log)
    with closing(open_for_reading(log)) as connection:
        for name, measurement in MEASUREMENTS.items():
            query = f"SELECT {', '.join(measurement.columns)} FROM {name} ORDER BY id"
            for row in islice(connection.execute(query), count * (1 if name == "telemetry" else 2) // 5):
                yield name, row


def _point_rows(log: Path) -> int:
    return min(_count(log) // POINT_SHARE, MOST_POINTS)


def _point(name: str, row: tuple[Any, ...]) -> Point:
    measurement = MEASUREMENTS[name]
    point = Point(name).time(row[0], WritePrecision.NS)
    for tag, value in zip(measurement.tags, row[1:], strict=False):
        if value is not None:
            point.tag(tag, value)
    for spec, value in zip(measurement.fields, row[1 + len(measurement.tags) :], strict=True):
        if value is not None:
            convert = {Kind.BOOLEAN: bool, Kind.PERCENT: lambda tenths: tenths / 10}.get(spec.kind)
            point.field(spec.name, convert(value) if convert else value)
    return point


def _count(log: Path) -> int:
    with closing(open_for_reading(log)) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in MEASUREMENTS]
    return sum(counts)


if __name__ == "__main__":
    main()
