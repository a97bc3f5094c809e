"""Shipping to a real InfluxDB: whoever is killed at whatever moment, every row is there, once, as it is in SQLite."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

from benchmarks.shipping_study.rows import START_NS, add, fill
from benchmarks.shipping_study.servers import DATABASE, Influxd
from broker.clock import SystemClock
from configs.influxdb import InfluxSection
from orchestrator.response_log import LOG_NAME, open_for_reading
from orchestrator.shipping.points import RESPONSE
from orchestrator.shipping.running import open_outbox, shipper
from orchestrator.shipping.shipper import Shipper
from orchestrator.shipping.status import statuses
from orchestrator.shipping.target import Target
from tests.orchestrator.shipping.books import Ship, change, differing, table

pytestmark = pytest.mark.influxdb

PATIENCE_S = 120.0


@pytest.mark.parametrize("gzip", [True, False])
def test_every_row_arrives_once_and_as_it_is(directory: Path, section: InfluxSection, ship: Ship, gzip: bool) -> None:
    """By count and by content of every column, compressed or not."""
    ship(directory, section.model_copy(update={"gzip": gzip}))

    assert {} == differing(directory, section)
    assert (400, 0, 0) == (table(directory, "response").shipped, table(directory, "response").waiting, 0)


def test_rows_that_are_sent_again_double_nothing(directory: Path, section: InfluxSection, ship: Ship) -> None:
    """A log that comes back from a copy, its books of before with it."""
    ship(directory, section)
    change(directory, "DELETE FROM shipping")

    ship(directory, section)

    assert {} == differing(directory, section)


def test_a_server_that_is_killed_in_the_middle_loses_and_doubles_nothing(
    directory: Path, own_influxd: Influxd, section: InfluxSection
) -> None:
    """Killed with a batch on its way, twice; the shipper waits, goes on, and says so."""
    mine = section.model_copy(update={"url": own_influxd.url, "database": DATABASE, "batch_rows": 40})
    seen: list[int] = []
    failed: list[float] = []

    def told(rows: int) -> None:
        seen.append(rows)
        if len(seen) in (4, 12):
            own_influxd.server.kill()

    def pause(seconds: float) -> bool:
        if own_influxd.server.process is None and seconds > 0:
            failed.append(seconds)
            own_influxd.server.start()
        return outbox.waiting_rows() == 0

    with shipper(directory, mine, told) as (ships, outbox):
        ships.run(pause)

    assert 2 == len(failed)
    assert {} == differing(directory, mine)


class Crash(BaseException):
    """As good as kill -9: nothing behind it runs, and the log is opened anew."""


@pytest.mark.parametrize("after", [True, False], ids=["after-the-write", "before-the-write"])
@pytest.mark.parametrize("at", [1, 2, 5, 6, 11])
def test_a_crash_at_a_write_loses_and_doubles_nothing(
    directory: Path, section: InfluxSection, ship: Ship, at: int, after: bool
) -> None:
    """Whether the server had the batch already or not; and at the settling of the one before it."""
    mine = section.model_copy(update={"batch_rows": 90})
    writes = 0

    def send(lines: Sequence[str]) -> None:
        nonlocal writes
        writes += 1
        if writes >= at and not after:
            raise Crash
        target.send(lines)
        if writes >= at:
            raise Crash

    with (
        open_outbox(directory, mine) as outbox,
        closing(Target(mine)) as target,
        Shipper(outbox, send, mine, SystemClock()) as ships,
        pytest.raises(Crash),
    ):
        ships.ship()
    ship(directory, mine)

    assert {} == differing(directory, mine)


@pytest.mark.slow
def test_a_shipper_that_is_killed_at_random_moments_loses_and_doubles_nothing(
    tmp_path: Path, section: InfluxSection, ship: Ship
) -> None:
    """A real process, killed with -9 twice while it ships."""
    directory = fill(tmp_path / "large", 6000).parent
    mine = section.model_copy(update={"batch_rows": 60})
    draw = random.Random(4)
    for _ in range(2):
        process = _start(directory, mine)
        _wait_shipped(process, directory, _shipped(directory) + draw.randrange(1, 500))
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert 0 < table(directory, "response").waiting
    ship(directory, mine)
    assert {} == differing(directory, mine)


def _start(directory: Path, section: InfluxSection) -> subprocess.Popen[bytes]:
    arguments = ["--directory", str(directory), "--influxdb", section.model_dump_json(exclude_none=True)]
    return subprocess.Popen([sys.executable, "-m", "orchestrator.shipping", *arguments], stderr=subprocess.DEVNULL)


def _shipped(directory: Path) -> int:
    with suppress(ValueError), closing(open_for_reading(directory / LOG_NAME)) as log:
        (target,) = statuses(log)
        return sum(each.shipped for each in target.tables)
    return 0


def _wait_shipped(process: subprocess.Popen[bytes], directory: Path, rows: int) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while _shipped(directory) < rows:
        assert time.monotonic() < ends_s
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the shipper ended with {process.wait(0.01)}")


def test_a_shipper_that_is_told_to_end_ships_what_waits_and_ends_well(directory: Path, section: InfluxSection) -> None:
    """SIGTERM is how the orchestrator ends it."""
    process = _start(directory, section)
    _wait_shipped(process, directory, 1)

    process.terminate()

    assert 0 == process.wait(PATIENCE_S)
    assert {} == differing(directory, section)


def test_rows_that_come_while_it_ships_are_shipped(directory: Path, section: InfluxSection) -> None:
    """The orchestrator goes on storing."""
    late = dict.fromkeys(RESPONSE.columns, 1) | {
        "time_ns": START_NS - 1, "site": "home", "node": "late", "tier": "end", "model": "d0", "policy": "none",
        "request_id": "late", "outcome": "done", "serving_node": "late", "label": None, "reason": None,
    }  # fmt: skip
    stored = False

    def told(_rows: int) -> None:
        nonlocal stored
        if not stored:
            stored = True
            with closing(sqlite3.connect(directory / LOG_NAME)) as log, log:
                add(log, RESPONSE, iter([tuple(late[column] for column in RESPONSE.columns)]))

    with shipper(directory, section, told) as (ships, _outbox):
        ships.ship()

    assert {} == differing(directory, section)
