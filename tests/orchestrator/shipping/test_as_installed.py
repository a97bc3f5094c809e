"""Debian's InfluxDB 1.6.7 and VictoriaMetrics as they are installed: nothing before them, and nothing configured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shipping_study.servers import DATABASE, PASSWORD, USER, Influxd, VictoriaMetrics
from broker.clock import SystemClock
from broker.vocabulary import SiteId
from configs.influxdb import InfluxSection
from orchestrator.report import Filter, GroupBy, figures, percentile
from orchestrator.response_log import LOG_NAME, open_for_reading
from orchestrator.shipping.checking import Step, check
from orchestrator.shipping.readback import load_responses
from tests.orchestrator.shipping.books import Ship, differing

pytestmark = pytest.mark.influxdb


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """An InfluxDB that asks nobody for a password."""
    with Influxd(tmp_path_factory.mktemp("plain")) as server:
        yield server


def steps_of(section: InfluxSection) -> dict[str, Step]:
    return {step.name: step for step in check(section, SystemClock())}


@pytest.mark.parametrize("key", ["database", "bucket"])
def test_rows_and_figures_are_equal_on_influxdb_1_6_7(directory: Path, plain: Influxd, ship: Ship, key: str) -> None:
    """Every column of every row, and what a report says of them; by either name of the place."""
    place = f"figures_{key}"
    plain.query(f"CREATE DATABASE {place}")
    section = InfluxSection.model_validate({"url": plain.url, key: place, "timeout_s": 60.0, "batch_rows": 250})
    ship(directory, section)

    assert {} == differing(directory, section)
    with (
        closing(open_for_reading(directory / LOG_NAME)) as here,
        closing(load_responses(section, SiteId("home"), Filter())) as there,
    ):
        for by in GroupBy:
            assert figures(here, by, Filter()) == figures(there, by, Filter())


def test_a_retention_policy_is_written_to_and_read_from(directory: Path, plain: Influxd, ship: Ship) -> None:
    """`database/policy`, natively too."""
    plain.query("CREATE DATABASE kept")
    plain.query('CREATE RETENTION POLICY "long" ON "kept" DURATION INF REPLICATION 1')
    section = InfluxSection(url=plain.url, database="kept/long", timeout_s=60.0)
    ship(directory, section)

    assert {} == differing(directory, section)
    counted = json.loads(plain.query('SELECT count("request_id") FROM "kept"."long"."response"'))
    assert 400 == counted["results"][0]["series"][0]["values"][0][1]


def test_figures_are_equal_on_victoria_metrics(directory: Path, victoria_metrics: VictoriaMetrics, ship: Ship) -> None:
    """Each response time by its tags and millisecond; so are mean and percentiles per tier."""
    ship(directory, InfluxSection(url=victoria_metrics.url, database=DATABASE, timeout_s=60.0))
    tags = ("site", "node", "tier", "model", "policy")
    with closing(open_for_reading(directory / LOG_NAME)) as log:
        rows = log.execute(f"SELECT {', '.join(tags)}, time_ns / 1000000, response_ms FROM response").fetchall()
    found: dict[tuple[Any, ...], float] = {}
    for line in victoria_metrics.export('{__name__="response_response_ms"}').splitlines():
        series = json.loads(line)
        key = tuple(series["metric"][tag] for tag in tags)
        found |= {(*key, ms): value for ms, value in zip(series["timestamps"], series["values"], strict=True)}

    assert {tuple(row[:-1]) for row in rows} == set(found)
    for *key, value in rows:
        assert value == pytest.approx(found[tuple(key)], rel=1e-12)
    for tier in ("end", "edge", "cloud"):
        here = sorted(row[-1] for row in rows if row[2] == tier)
        there = sorted(value for key, value in found.items() if key[2] == tier)
        assert sum(here) / len(here) == pytest.approx(sum(there) / len(there))
        assert [percentile(here, share) for share in (50, 95, 99)] == pytest.approx(
            [percentile(there, share) for share in (50, 95, 99)]
        )


def test_the_check_is_well_and_names_the_server(plain: Influxd, victoria_metrics: VictoriaMetrics) -> None:
    """And what it is written by; VictoriaMetrics is not asked what it cannot answer."""
    influxdb = steps_of(InfluxSection(url=plain.url, database=DATABASE))
    other = steps_of(InfluxSection(url=victoria_metrics.url, database=DATABASE))

    assert all(step.good for step in (*influxdb.values(), *other.values()))
    assert influxdb["ping"].found.startswith("InfluxDB 1.6.7")
    assert "by /write" in influxdb["write"].found
    assert "the test point came back" in influxdb["read"].found
    assert other["ping"].found == "VictoriaMetrics"
    assert "PromQL" in other["read"].found


@pytest.mark.parametrize("key", ["database", "bucket"])
def test_the_check_says_that_the_database_is_missing(plain: Influxd, key: str) -> None:
    """With the statement that makes it."""
    section = InfluxSection.model_validate({"url": plain.url, key: "nowhere"})

    *_, ping, write = check(section, SystemClock())

    assert ("write", False) == (write.name, write.good)
    assert "InfluxDB 1.6.7" in ping.found
    assert 'answers 404: database not found: "nowhere"' in write.found
    assert """influx -execute 'CREATE DATABASE "nowhere"'""" in write.mend


def test_the_check_says_that_a_user_is_needed_and_which_right(influxd: Influxd, tmp_path: Path) -> None:
    """Nobody's, a wrong password, and a user who may only read."""
    influxd.query("CREATE USER reader WITH PASSWORD 'readerpassword'")
    influxd.query(f"GRANT READ ON {DATABASE} TO reader")
    (tmp_path / "wrong").write_text("wrong", encoding="ascii")
    (tmp_path / "right").write_text("readerpassword", encoding="ascii")
    nobody = InfluxSection(url=influxd.url, database=DATABASE)
    wrong = nobody.model_copy(update={"username": USER, "password_file": tmp_path / "wrong"})
    reader = nobody.model_copy(update={"username": "reader", "password_file": tmp_path / "right"})
    found = [steps_of(section)["write"] for section in (nobody, wrong, reader)]

    assert [False] * 3 == [step.good for step in found]
    assert ["401", "401", "403"] == [step.found.split("answers ")[1][:3] for step in found]
    assert "set username and password_file" in found[0].mend
    assert f'GRANT ALL ON "{DATABASE}" TO reader' in found[2].mend


@pytest.mark.parametrize("login", ["username", "token"])
def test_a_password_is_taken_as_user_or_as_token(
    directory: Path, influxd: Influxd, ship: Ship, tmp_path: Path, login: str
) -> None:
    """A token `user:password`, as InfluxDB 1.8 has it, works on 1.6 too."""
    place = f"login_{login}"
    influxd.query(f"CREATE DATABASE {place}")
    (tmp_path / "secret").write_text(PASSWORD if login == "username" else f"{USER}:{PASSWORD}", encoding="ascii")
    keys: dict[str, Any] = {"username": USER, "password_file": tmp_path / "secret"}
    if login == "token":
        keys = {"token_file": tmp_path / "secret"}
    section = InfluxSection(url=influxd.url, database=place, timeout_s=60.0, **keys)
    ship(directory, section)

    assert {} == differing(directory, section)
