"""Rows as line protocol: types that never change, and text that comes back as it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.shipping_study.rows import add
from benchmarks.shipping_study.servers import PASSWORD, USER, Influxd
from configs.influxdb import InfluxSection
from orchestrator.response_log import open_for_writing
from orchestrator.shipping.influxql import InfluxReader
from orchestrator.shipping.points import (
    DECISION,
    MEASUREMENTS,
    RESPONSE,
    TELEMETRY,
    Kind,
    Measurement,
    line_builder,
    row_of,
    series_key,
)
from orchestrator.shipping.target import Target

TELEMETRY_ROW = (17, "home", "s1", None, 3, 12.5, 50.0, "regular", None, 1e-7, 2, 0, 0, 1)


def lines_of(connection: sqlite3.Connection, measurement: Measurement) -> list[str]:
    line = line_builder(measurement)
    found = connection.execute(f"SELECT {measurement.selection} FROM {measurement.name} ORDER BY id")
    return [line(row) for row in found]


@pytest.fixture
def log(tmp_path: Path) -> Any:
    with closing(open_for_writing(tmp_path / "log.sqlite3")) as connection:
        yield connection


def test_a_row_becomes_a_line_with_typed_fields_and_no_field_for_a_null(log: sqlite3.Connection) -> None:
    """Integers end in i, booleans are words, floats round-trip, and what is NULL is neither tag nor field."""
    add(log, TELEMETRY, iter([TELEMETRY_ROW]))

    assert [
        'telemetry,site=home,node=s1 seq=3i,cpu_percent=12.5,memory_percent=50.0,link="regular",uplink_mbit_s=1e-07,'
        "queue_length=2i,overruns=0i,refused=0i,emulated=true 17"
    ] == lines_of(log, TELEMETRY)


def test_an_outcome_is_counted_by_flags_that_average_to_a_share(log: sqlite3.Connection) -> None:
    """A response that fell back has fallen_back=1i and failed=0i."""
    values = dict.fromkeys(RESPONSE.columns, 0) | {"time_ns": 1, "outcome": "fallen_back", "accuracy_tenths": 899}
    texts = {"site": "home", "node": "s1", "tier": "end", "model": "d0", "policy": "none", "request_id": "r"}
    add(log, RESPONSE, iter([tuple((values | texts)[column] for column in RESPONSE.columns)]))

    (line,) = lines_of(log, RESPONSE)

    assert "fallen_back=1i,failed=0i 1" == line[-len("fallen_back=1i,failed=0i 1") :]
    assert "accuracy_percent=89.9," in line


@pytest.mark.parametrize("name", sorted(MEASUREMENTS))
def test_a_measurement_ships_every_column_of_its_table(log: sqlite3.Connection, name: str) -> None:
    """A column that is added to the log and not here would be missing in InfluxDB."""
    columns = [row[1] for row in log.execute(f"PRAGMA table_info({name})")]

    assert set(columns) - {"id"} == set(MEASUREMENTS[name].columns)


def test_field_names_carry_their_unit() -> None:
    """Every float says in its name what it is counted in."""
    floats = [
        spec.name
        for measurement in (RESPONSE, DECISION, TELEMETRY)
        for spec in measurement.fields
        if spec.kind in (Kind.FLOAT, Kind.PERCENT)
    ]

    assert [] == [name for name in floats if not name.endswith(("_ms", "_percent", "_mbit_s"))]


def test_a_line_feed_in_a_tag_begins_no_other_point() -> None:
    """What no name may hold could come from a log that somebody wrote into."""
    assert r"m,a=x\n\ y\=1\,z" == series_key("m", {"a": "x\n y=1,z\\", "b": None, "c": ""})


@pytest.fixture(scope="module")
def exchange(influxd: Influxd, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Writes a decision row through a log to the real server, and reads it back."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(f"{USER}:{PASSWORD}", encoding="ascii")
    influxd.query("CREATE DATABASE escaping")
    section = InfluxSection(url=influxd.url, bucket="escaping", token_file=token)
    path = tmp_path_factory.mktemp("log") / "log.sqlite3"
    with closing(open_for_writing(path)) as log, closing(Target(section)) as target:
        reader = InfluxReader(section)

        times_ns = count(1_790_000_000_000_000_000)

        def there_and_back(values: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
            row = (next(times_ns), *values)
            log.execute("DELETE FROM decision")
            add(log, DECISION, iter([row]))
            target.send(lines_of(log, DECISION))
            names = ", ".join(f'"{name}"' for name in (*DECISION.tags, *(spec.name for spec in DECISION.fields)))
            answer = reader.ask(f"SELECT {names} FROM decision WHERE time = {row[0]}")
            return row, [row_of(DECISION, one) for series in answer for one in series.named()]

        yield there_and_back
        reader.close()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
TAG = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\\"), min_size=1, max_size=20)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.influxdb
@settings(max_examples=60)
@given(text=TEXT, maybe=st.none() | TEXT, tag=TAG, number=NUMBER, whole=st.integers(-(2**62), 2**62))
def test_whatever_a_row_holds_comes_back_from_a_real_server(
    exchange: Any, text: str, maybe: str | None, tag: str, number: float, whole: int
) -> None:
    """Quotes, backslashes, line feeds, commas, every float and every integer survive both ways."""
    values = ("home", tag, "end", "d0", tag, text, whole, 1, 1, 850, text, "d4", number, None, 0.1, maybe, None, number)

    row, found = exchange((*values, maybe, None))

    assert [row] == found
