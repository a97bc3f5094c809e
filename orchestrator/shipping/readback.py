"""The response log read back from InfluxDB, for the same figures as from SQLite: a table `response` in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from broker.vocabulary import SiteId
from configs.influxdb import InfluxSection
from orchestrator.report import Filter
from orchestrator.shipping.influxql import InfluxReader, quoted
from orchestrator.shipping.points import RESPONSE, Measurement, Row, row_of

# What figures are made of; the rest stays where it is.
NEEDED = ("node", "tier", "model", "policy", "explored", "floor_tenths", "outcome", "accuracy_tenths", "response_ms")
TABLE = f"CREATE TABLE response (time_ns INTEGER, {', '.join(NEEDED)}, emulated)"
# The widest span that InfluxDB knows; the ends of 64 bits are beyond it.
OLDEST_NS, NEWEST_NS = -(2**63) + 2, 2**63 - 2


def rows_of(reader: InfluxReader, measurement: Measurement, only: Filter, site: SiteId | None = None) -> Iterator[Row]:
    """Rows of `measurement.columns` in order of time. Raises InfluxUnavailable, QueryRefused."""
    names = [*measurement.tags, *(spec.name for spec in measurement.fields)]
    yield from _rows(reader, measurement, names, only, site)


def load_responses(
    section: InfluxSection, site: SiteId, only: Filter, told: Callable[[int], None] = lambda _rows: None
) -> sqlite3.Connection:
    """A database in memory whose table `response` has what `figures` reads, of one site. Raises as `rows_of`."""
    reader = InfluxReader(section)
    connection = sqlite3.connect(":memory:")
    places = [RESPONSE.columns.index(column) for column in ("time_ns", *NEEDED, "emulated")]
    by_column = {spec.column: spec.name for spec in RESPONSE.fields}
    names = [*RESPONSE.tags, *(by_column[column] for column in (*NEEDED, "emulated") if column in by_column)]
    try:
        connection.execute(TABLE)
        insert = f"INSERT INTO response VALUES ({', '.join('?' * len(places))})"
        for count, row in enumerate(_rows(reader, RESPONSE, names, only, site), start=1):
            connection.execute(insert, [row[place] for place in places])
            if count % 1000 == 0:
                told(1000)
        connection.commit()
    except BaseException:
        connection.close()
        raise
    finally:
        reader.close()
    return connection


def _rows(
    reader: InfluxReader, measurement: Measurement, names: list[str], only: Filter, site: SiteId | None
) -> Iterator[Row]:
    terms = [] if site is None else [f'"site" = {quoted(site)}']
    if only.since_ns is not None:
        terms.append(f"time >= {min(max(only.since_ns, OLDEST_NS), NEWEST_NS)}")
    if only.until_ns is not None:
        terms.append(f"time < {min(max(only.until_ns, OLDEST_NS), NEWEST_NS)}")
    if only.policy is not None:
        terms.append(f'"policy" = {quoted(only.policy)}')
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    selected = ", ".join(f'"{name}"' for name in names)
    for series in reader.ask(f'SELECT {selected} FROM "{measurement.name}"{where}'):
        for found in series.named():
            yield row_of(measurement, found)
