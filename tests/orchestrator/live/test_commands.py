"""`tierwise orchestrator goal` and `tierwise report`, as a person types them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.response_log import LOG_NAME, open_for_writing


def _tierwise(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tierwise", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": ".", "COLUMNS": "200"},
        check=False,
    )


@pytest.mark.parametrize("command", [["orchestrator", "run"], ["orchestrator", "goal"], ["report"], ["explain"]])
def test_help_has_an_example_and_exit_codes(command: list[str]) -> None:
    """For each command of the orchestrator."""
    done = _tierwise(*command, "--help")

    assert 0 == done.returncode
    assert f"Example: tierwise {' '.join(command)}" in done.stdout
    assert "Exit codes:" in done.stdout


def test_goal_is_shown_and_changed_at_a_running_site(open_site: Any, orchestrator_process: Any) -> None:
    """Shown as it is; changed and confirmed, as JSON; a floor that no model reaches is refused before it is sent."""
    process = orchestrator_process(goal={"policy": "q_learning"})
    config = str(process.config_file)

    async def until_online() -> None:
        async with open_site() as site:
            await (await site.watcher()).online()

    asyncio.run(until_online())
    shown = _tierwise("orchestrator", "goal", "--config", config)
    changed = _tierwise("orchestrator", "goal", "--config", config, "--floor", "max", "--policy", "edge_only", "--json")
    wrong = _tierwise("orchestrator", "goal", "--config", config, "--floor", "90.5")

    assert (0, "accuracy floor 89 %, policy q_learning, version 1\n") == (shown.returncode, shown.stdout)
    expected = {"accuracy_floor_percent": 89.9, "policy": "edge_only", "policy_version": 2, "metric": "top5"}
    assert expected == json.loads(changed.stdout)
    assert (2, True) == (wrong.returncode, "72.8 to 89.9" in wrong.stderr)


def test_a_refused_goal_prints_the_orchestrators_reason(open_site: Any, orchestrator_process: Any) -> None:
    """Exit code 1 at once, not after the time-out for no answer: here a checkpoint that cannot be read."""
    process = orchestrator_process(goal={"policy": "edge_only"})

    async def until_online() -> None:
        async with open_site() as site:
            await (await site.watcher()).online()

    asyncio.run(until_online())
    (process.config.files.directory / "q_learning.npz").write_bytes(b"no checkpoint")
    goal = ("orchestrator", "goal", "--config", str(process.config_file), "--timeout", "50")
    refused = _tierwise(*goal, "--policy", "q_learning")
    shown = _tierwise(*goal)

    assert refused.returncode == 1
    assert "the orchestrator refused the change: " in refused.stderr
    assert "q_learning.npz" in refused.stderr.replace("\n", "")
    assert "accuracy floor 89 %, policy edge_only, version 1\n" == shown.stdout


def test_goal_without_an_orchestrator_says_so(orchestrator_process: Any) -> None:
    """Within its timeout, exit code 1, one line."""
    process = orchestrator_process(start=False)
    done = _tierwise("orchestrator", "goal", "--config", str(process.config_file), "--timeout", "0.5")

    assert 1 == done.returncode
    assert "no answer from orchestrator" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """A folder whose log has one row each of s1 (100 ms, local d7) and s2 (300 ms, edge d0)."""
    connection = open_for_writing(tmp_path / LOG_NAME)
    row = (
        "INSERT INTO response (time_ns, site, node, request_id, round, policy, policy_version, explored, floor_tenths, "
        "outcome, tier, model, serving_node, accuracy_tenths, response_ms, decide_ms, encode_ms, uplink_ms, queue_ms, "
        "compute_ms, downlink_ms, trained, emulated) VALUES "
        "(?, 'home', ?, ?, 1, 'q_learning', 1, 0, 800, 'done', ?, ?, ?, ?, ?, 1, 0, 0, 0, 9, 0, 1, 1)"
    )
    noon_ns = 1_795_521_600 * 10**9  # 2026-11-24T12:00 UTC
    connection.execute(row, (noon_ns, "s1", "request-1", "end", "d7", "s1", 728, 100.0))
    connection.execute(row, (noon_ns + 60 * 10**9, "s2", "request-2", "edge", "d0", "edge", 899, 300.0))
    connection.close()
    return tmp_path


def test_report_as_json_csv_and_table_says_the_same(logged: Path) -> None:
    """One row per device, and one of all."""
    as_json = _tierwise("report", "--directory", str(logged), "--json")
    as_csv = _tierwise("report", "--directory", str(logged), "--csv")
    table = _tierwise("report", "--directory", str(logged))

    rows = json.loads(as_json.stdout)["rows"]
    assert [("s1", 100.0, 72.8), ("s2", 300.0, 89.9), ("all", 200.0, 81.35)] == [
        (row["group"], row["mean_ms"], row["accuracy_percent"]) for row in rows
    ]
    flat = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert ["1.0", "0.0", "0.5"] == [row["share_tier_end"] for row in flat]
    assert ["100.0", "300.0", "200.0"] == [row["p50_ms"] for row in flat]
    shown = [line.split() for line in table.stdout.splitlines()]
    assert ["s2", "1", "300.0", "300.0", "300.0", "300.0", "89.9", "80.0"] in shown
    assert ["device", "edge", "end", "d0", "d7"] in shown
    assert ["all", "50", "50", "50", "50"] in shown
    assert "emulated" in table.stdout


def test_report_of_a_time_span(logged: Path) -> None:
    """UTC where the time does not say; the end is not in it; one device alone has no row of all."""
    span = ["--since", "2026-11-24T12:00", "--until", "2026-11-24T13:01+01:00", "--json"]
    done = _tierwise("report", "--directory", str(logged), *span)

    assert ["s1"] == [row["group"] for row in json.loads(done.stdout)["rows"]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--last", "soon"], 2, "no span like"),
        (["--since", "noon"], 2, "no time like"),
        (["--last", "1h", "--since", "2026-11-24"], 2, "choose one"),
        (["--json", "--csv"], 2, "choose one"),
        (["--until", "2020-01-01"], 1, "no such rows"),
        (["--policy", "magic"], 1, "no such rows"),
    ],
)
def test_report_refuses_what_it_cannot_answer(logged: Path, arguments: list[str], code: int, said: str) -> None:
    """With a reason, never a traceback."""
    done = _tierwise("report", "--directory", str(logged), *arguments)

    assert (code, True) == (done.returncode, said in done.stderr)
    assert "Traceback" not in done.stderr


def test_report_without_a_log_names_the_file(tmp_path: Path) -> None:
    """Exit code 1."""
    done = _tierwise("report", "--directory", str(tmp_path))

    assert (1, True) == (done.returncode, LOG_NAME in done.stderr)
