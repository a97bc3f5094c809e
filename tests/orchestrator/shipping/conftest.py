"""Real time-series servers and logs to ship, for the tests of shipping."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.shipping_study.rows import fill
from benchmarks.shipping_study.servers import PASSWORD, USER, Influxd, VictoriaMetrics
from configs.influxdb import InfluxSection
from orchestrator.shipping.running import shipper


@pytest.fixture(scope="session")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """The InfluxDB that tests share: do not stop it, and keep to your own database."""
    with Influxd(tmp_path_factory.mktemp("influxd"), auth=True) as server:
        yield server


@pytest.fixture
def own_influxd(tmp_path: Path) -> Iterator[Influxd]:
    """An InfluxDB for one test alone, which may kill it and start it again."""
    with Influxd(tmp_path / "own-influxd") as server:
        yield server


@pytest.fixture
def victoria_metrics(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics for one test alone."""
    with VictoriaMetrics(tmp_path / "victoria-metrics") as server:
        yield server


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """A file with the password that it asks for."""
    file = tmp_path / "influx.password"
    file.write_text(f"{PASSWORD}\n", encoding="ascii")
    file.chmod(0o600)
    return file


@pytest.fixture
def section(influxd: Influxd, password_file: Path) -> InfluxSection:
    """A database of this test's own; retries at once."""
    database = f"db_{secrets.token_hex(6)}"
    influxd.query(f"CREATE DATABASE {database}")
    return InfluxSection(
        url=influxd.url,
        database=database,
        username=USER,
        password_file=password_file,
        timeout_s=60.0,
        batch_rows=250,
        poll_s=0.02,
        retry_min_s=0.02,
        retry_max_s=0.05,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder with a response log of 1,000 rows."""
    fill(tmp_path / "orchestrator", 1000)
    return tmp_path / "orchestrator"


@pytest.fixture
def ship() -> Callable[[Path, InfluxSection], None]:
    """Ships all that waits."""

    def once(directory: Path, section: InfluxSection) -> None:
        with shipper(directory, section) as (ships, _outbox):
            ships.ship()

    return once
