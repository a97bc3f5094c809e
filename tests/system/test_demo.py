"""`tierwise demo` as a user runs it: every process real, every figure from what it wrote."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from model_zoo.manifest import load_manifest
from orchestrator.response_log import LOG_NAME

pytestmark = [pytest.mark.mosquitto, pytest.mark.models, pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(700)]

LEARNED, FIXED = 30, 3
DEVICES = ["s1", "s2", "s3", "s4", "s5"]


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
        timeout=600,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((directory / "demo.json").read_text(encoding="utf-8")), directory / "demo" / "latest", done.stdout


def test_the_learned_rounds_are_all_there(finished: tuple[dict[str, Any], Path, str]) -> None:
    """Each round has one decision for each device that asked in time, and the mean of their response times."""
    written, _, _ = finished

    assert len(written["rounds"]) == LEARNED
    for round_ in written["rounds"]:
        nodes = [row["node"] for row in round_["decisions"]]
        assert 1 <= len(nodes) == len(set(nodes) & set(DEVICES))
        times = [row["response_ms"] for row in round_["decisions"]]
        assert None in times or round_["average_ms"] == pytest.approx(sum(times) / len(times))


def test_accuracy_and_floor_are_those_of_the_decided_models(finished: tuple[dict[str, Any], Path, str]) -> None:
    """The accuracy of a round is the average Top-5 of its models, and the floor is judged by it, in integers."""
    written, _, _ = finished
    tenths = {name: spec.top5_tenths for name, spec in load_manifest().models.items()}

    for round_ in written["rounds"]:
        total = sum(tenths[row["model"]] for row in round_["decisions"])
        count = len(round_["decisions"])
        assert round_["accuracy"] == pytest.approx(total / count / 10)
        assert round_["floor_met"] == (total >= count * round(round_["floor"] * 10))


def test_the_stages_are_parts_of_the_response_time(finished: tuple[dict[str, Any], Path, str]) -> None:
    """None is negative, and together they are no longer than the whole; the rest is the requester's bookkeeping."""
    written, _, _ = finished
    rows = [row for round_ in written["rounds"] for row in round_["decisions"] if row["stages"] is not None]

    assert rows
    for row in rows:
        assert all(part >= 0 for part in row["stages"].values())
        assert 0 < sum(row["stages"].values()) <= row["response_ms"] + 1e-3


def test_the_log_holds_as_many_rows_as_requests_were_made(finished: tuple[dict[str, Any], Path, str]) -> None:
    """No response is lost and none is stored twice."""
    written, directory, _ = finished
    log = directory / "orchestrator" / LOG_NAME
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as database:
        rows, distinct = database.execute("SELECT count(*), count(DISTINCT request_id) FROM response").fetchone()

    assert written["log"]["requests"] == rows == distinct
    assert rows >= sum(len(round_["decisions"]) for round_ in written["rounds"]) + 3 * FIXED


@pytest.mark.parametrize("policy", ["device_only", "edge_only", "cloud_only"])
def test_the_fixed_strategies_run_the_most_accurate_network(
    finished: tuple[dict[str, Any], Path, str], policy: str
) -> None:
    """d0 for everybody in each of their rounds. What they take is measured by `benchmarks/fixed_strategies.py`."""
    written, _, _ = finished

    assert FIXED == written["policies"][policy]["rounds"] == written["policies"][policy]["floor_met"]
    assert written["policies"][policy]["accuracy"] == pytest.approx(89.9)


def test_the_learned_policy_keeps_the_floor_and_settles(finished: tuple[dict[str, Any], Path, str]) -> None:
    """Every one of its rounds meets the floor; the final decision is one of its rounds', from the first with it on."""
    written, _, _ = finished
    final, rounds = written["final"], written["rounds"]
    decided = [Counter(f"{row['model']}@{row['tier']}" for row in round_["decisions"]) for round_ in rounds]

    assert all(round_["floor_met"] for round_ in rounds)
    assert LEARNED == written["policies"]["factored"]["rounds"]
    assert final["first"] == decided.index(Counter(final["actions"])) + 1
    assert final["rounds"] == decided.count(Counter(final["actions"]))
    assert final["mean_ms"] > 0


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
    assert [] == psutil.wait_procs(children, timeout=120)[1]  # reaped by whoever adopted them, in a moment
