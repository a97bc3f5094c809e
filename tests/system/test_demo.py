"""`tierwise demo` as a user runs it: every process real, every figure from what it wrote."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from model_zoo.manifest import load_manifest
from orchestrator.response_log import LOG_NAME

pytestmark = [pytest.mark.mosquitto, pytest.mark.models, pytest.mark.system, pytest.mark.slow]

LEARNED, FIXED = 30, 3


def demo_command(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tierwise", "demo", "--directory", str(directory), "--seed", "1", *arguments]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """One short demo: what it wrote as JSON, its folder, and what it printed."""
    directory = tmp_path_factory.mktemp("demo")
    command = demo_command(directory, "--json", str(directory / "demo.json"))
    done = subprocess.run(
        [*command, "--rounds", str(LEARNED), "--fixed-rounds", str(FIXED)],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((directory / "demo.json").read_text(encoding="utf-8")), directory / "demo" / "latest", done.stdout


def test_the_learned_rounds_are_all_there(finished: tuple[dict[str, Any], Path, str]) -> None:
    """Each round has one decision for each of the five devices, with its response time and stages."""
    written, _, _ = finished

    assert len(written["rounds"]) == LEARNED
    for round_ in written["rounds"]:
        assert [row["node"] for row in round_["decisions"]] == ["s1", "s2", "s3", "s4", "s5"]
        times = [row["response_ms"] for row in round_["decisions"]]
        assert round_["average_ms"] == pytest.approx(sum(times) / 5)


def test_accuracy_and_floor_are_those_of_the_decided_models(finished: tuple[dict[str, Any], Path, str]) -> None:
    """The accuracy of a round is the average Top-5 of its models, and the floor is judged by it, in integers."""
    written, _, _ = finished
    tenths = {name: spec.top5_tenths for name, spec in load_manifest().models.items()}

    for round_ in written["rounds"]:
        total = sum(tenths[row["model"]] for row in round_["decisions"])
        assert round_["accuracy"] == pytest.approx(total / 50)
        assert round_["floor_met"] == (total >= 5 * round(round_["floor"] * 10))


def test_the_stages_add_up_to_the_response_time(finished: tuple[dict[str, Any], Path, str]) -> None:
    """What is not explained by a stage is at most 15 ms of the requester's own bookkeeping."""
    written, _, _ = finished

    for round_ in written["rounds"]:
        for row in round_["decisions"]:
            assert sum(row["stages"].values()) == pytest.approx(row["response_ms"], abs=15.0)


def test_the_log_holds_as_many_rows_as_requests_were_made(finished: tuple[dict[str, Any], Path, str]) -> None:
    """No response is lost and none is stored twice."""
    written, directory, _ = finished
    log = directory / "orchestrator" / LOG_NAME
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as database:
        rows, distinct = database.execute("SELECT count(*), count(DISTINCT request_id) FROM response").fetchone()

    assert written["log"]["requests"] == rows == distinct
    assert rows >= 5 * (LEARNED + 3 * FIXED)


@pytest.mark.parametrize(("policy", "expected_ms"), [("device_only", 459), ("edge_only", 1140), ("cloud_only", 665)])
def test_the_fixed_strategies_take_what_the_paper_says(
    finished: tuple[dict[str, Any], Path, str], policy: str, expected_ms: float
) -> None:
    """Section 6.1.1: within 5 %, although real messages and real inferences are part of the emulated times."""
    written, _, _ = finished

    assert written["policies"][policy]["mean_ms"] == pytest.approx(expected_ms, rel=0.05)
    assert written["policies"][policy]["accuracy"] == pytest.approx(89.9)


def test_thirty_rounds_settle_on_what_beats_every_fixed_strategy(finished: tuple[dict[str, Any], Path, str]) -> None:
    """The agent keeps the floor in each of its rounds, and what it comes to is faster than the best fixed strategy."""
    written, _, _ = finished
    best_ms = min(written["policies"][policy]["mean_ms"] for policy in ("device_only", "edge_only", "cloud_only"))
    final = written["final"]

    assert all(round_["floor_met"] for round_ in written["rounds"])
    assert 1 <= final["first"] <= LEARNED
    assert 5 == sum(final["actions"].values())
    assert final["mean_ms"] < best_ms
    assert written["policies"]["factored"]["mean_ms"] < best_ms


def test_the_printout_compares_and_is_honest(finished: tuple[dict[str, Any], Path, str]) -> None:
    """The comparison names all four policies, says what is emulated, and on what the agent settled."""
    _, _, printed = finished
    text = " ".join(printed.split())

    policies = ("factored", "device_only", "edge_only", "cloud_only")
    for said in (*policies, "times are emulated", "factored settled", "below"):
        assert said in text


def test_ctrl_c_stops_every_process(tmp_path: Path) -> None:
    """Interrupted in the middle of a round, the demo ends with 130 and leaves no process behind."""
    with subprocess.Popen(
        demo_command(tmp_path, "--rounds", "100"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        if demo.stdout is None:
            pytest.fail("no output to read")
        for line in demo.stdout:
            if "  2/100 round" in line:
                break
        children = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()

    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    assert len(children) >= 9
    assert not any(child.is_running() for child in children)
