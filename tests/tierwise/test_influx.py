"""`tierwise influx` and `tierwise report --source influxdb`, as a person uses them, against a real server."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.shipping_study.rows import STEP_NS, fill
from benchmarks.shipping_study.servers import DATABASE, PASSWORD, USER, Influxd
from broker.ports import free_port
from orchestrator.response_log import LOG_NAME, open_for_reading
from orchestrator.shipping.status import statuses
from tierwise.__main__ import main

pytestmark = pytest.mark.influxdb

Run = Any


@pytest.fixture(scope="module")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """An InfluxDB that asks for a password, with the database `edge`."""
    with Influxd(tmp_path_factory.mktemp("influx") / "influxd", auth=True) as influxd:
        yield influxd


@pytest.fixture
def url(influxd: Influxd) -> str:
    """Where it listens; the database has no rows of other tests."""
    influxd.query(f"DROP DATABASE {DATABASE}")
    influxd.query(f"CREATE DATABASE {DATABASE}")
    return influxd.url


@pytest.fixture
def config(tmp_path: Path, url: str) -> Path:
    """An orchestrator's file, and a log of 500 rows of the last seconds."""
    fill(tmp_path / "files", 500, start_ns=time.time_ns() - 300 * STEP_NS)
    (tmp_path / "token").write_text(f"{PASSWORD}\n", encoding="ascii")
    (tmp_path / "token").chmod(0o600)
    return write_config(tmp_path, {"url": url, "database": "edge", "timeout_s": 60, **login(tmp_path)})


def login(directory: Path) -> dict[str, str]:
    return {"username": USER, "password_file": str(directory / "token")}


def write_config(directory: Path, influxdb: dict[str, Any] | None) -> Path:
    settings: dict[str, Any] = {"version": 1, "site": "home", "files": {"directory": str(directory / "files")}}
    if influxdb is not None:
        settings["influxdb"] = influxdb
    (directory / "orchestrator.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return directory / "orchestrator.yaml"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `tierwise ARGUMENTS`; its exit code and what it printed, or what it said on stderr when it failed."""

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["tierwise", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return code, told.out if code == 0 else told.out + told.err

    return command


def test_from_check_to_report(run: Run, config: Path) -> None:
    """All is well; the log is shipped; the status says so; both sources give the same figures, in every form."""
    code, told = run("influx", "check", "--config", config)
    assert (0, 7) == (code, told.count("ok  "))
    code, told = run("influx", "ship", "--config", config, "--once")
    assert (0, True) == (code, told.startswith("500 rows shipped to http://"))
    assert (0, True) == (
        (again := run("influx", "ship", "--config", config, "--once", "--again"))[0],
        "500" in again[1],
    )
    code, told = run("influx", "status", "--directory", config.parent / "files", "--json")
    (target,) = json.loads(told)["targets"]
    assert {"response": (200, 0), "decision": (200, 0), "telemetry": (100, 0)} == {
        table["table"]: (table["shipped"], table["waiting"]) for table in target["tables"]
    }
    assert (0, False) == (code, target["failing"])

    for form in ("--json", "--csv", "--by=tier"):
        here = run("report", "--directory", config.parent / "files", form)
        there = run("report", "--source", "influxdb", "--config", config, form)
        assert 0 == here[0] == there[0]
        if form == "--json":
            assert json.loads(here[1])["rows"] == json.loads(there[1])["rows"]
        else:
            assert here[1] == there[1]


def test_the_ready_queries_are_printed_and_run(run: Run, config: Path) -> None:
    """As text for other tools, as a table, and as JSON."""
    run("influx", "ship", "--config", config, "--once")
    code, told = run("influx", "queries")
    assert (0, 8) == (code, told.count("\n-- ") + told.startswith("-- "))
    code, told = run("influx", "queries", "slowest-devices", "--config", config, "--run", "--span", "1h")
    assert (0, True) == (code, told.startswith("Which five devices are slowest"))
    assert 5 == sum(line.strip()[:1].isdigit() for line in told.splitlines())
    code, told = run("influx", "queries", "--config", config, "--run", "--json")
    assert (0, 8) == (code, sum(bool(answer["rows"]) for answer in json.loads(told)))


def test_a_check_that_fails_says_what_and_how_to_mend_it(run: Run, config: Path, url: str) -> None:
    """With exit code 1; as JSON too."""
    write_config(config.parent, {"url": url, "database": "nowhere", **login(config.parent)})

    code, told = run("influx", "check", "--config", config)
    assert 1 == code
    assert "BAD  write" in told
    assert "mend: make the database: influx -execute" in told
    code, told = run("influx", "check", "--config", config, "--json")
    assert (1, False) == (code, json.loads(told)["steps"][-1]["good"])


def test_dead_letters_are_shown_and_tried_again(run: Run, config: Path) -> None:
    """A point that is refused again stays; there is one line of why."""
    with closing(sqlite3.connect(config.parent / "files" / LOG_NAME)) as log, log:
        log.execute("UPDATE response SET response_ms = 9e999 WHERE id = 9")
    code, told = run("influx", "ship", "--config", config, "--once")
    assert (0, True) == (code, told.startswith("499 rows shipped to http://"))
    assert told.endswith(", 1 refused: tierwise influx dead-letters says why\n")

    code, told = run("influx", "dead-letters", "--directory", config.parent / "files")
    assert (0, True) == (code, told.startswith("1 dead letter\n"))
    assert "response row 9: 400" in told
    assert (1, "0 taken, 1 refused again\n") == run("influx", "dead-letters", "--config", config, "--retry")
    code, told = run("influx", "dead-letters", "--config", config, "--json")
    assert (0, 1, 9) == (code, json.loads(told)["count"], json.loads(told)["dead_letters"][0]["row_id"])


def test_what_cannot_be_done_is_told_in_one_line(run: Run, config: Path) -> None:
    """No section, no server, no log, no such query."""
    assert (0, "The response log was never shipped to a server.\n") == run(
        "influx", "status", "--directory", config.parent / "files"
    )
    write_config(config.parent, None)
    for command in ("check", "ship"):
        code, told = run("influx", command, "--config", config)
        assert (1, True) == (code, told.endswith("has no section influxdb; docs/influxdb.md shows one\n"))
    write_config(config.parent, {"url": f"http://127.0.0.1:{free_port()}", "bucket": "edge"})
    code, told = run("influx", "ship", "--config", config, "--once")
    assert (1, True) == (code, "Connection refused" in told)
    code, told = run("influx", "status", "--directory", config.parent)
    assert (1, 1) == (code, told.count("\n"))
    assert 2 == run("influx", "queries", "nonsense")[0]
    assert 2 == run("influx", "queries", "--span", "1 year")[0]
    assert 2 == run("report", "--source", "influxdb")[0]


def shipped(directory: Path) -> int:
    with closing(open_for_reading(directory / LOG_NAME)) as log:
        return sum(table.shipped for target in statuses(log) for table in target.tables)


def test_ctrl_c_ends_shipping_cleanly(config: Path) -> None:
    """Exit code 130, without a traceback; the rest goes the next time."""
    command = [sys.executable, "-m", "tierwise", "influx", "ship", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        ends_s = time.monotonic() + 30
        while not shipped(config.parent / "files"):
            assert time.monotonic() < ends_s
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(0.01)}")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)

    assert 130 == process.returncode
    assert "Traceback" not in said
    assert "ERROR" not in said
