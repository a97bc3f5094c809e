"""`tierwise calibrate` as a user types it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from broker.vocabulary import Action, ModelName, NodeId, Tier
from configs.calibration import CalibrationConfig
from configs.demo import ExperimentConfig
from configs.loader import load
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import accuracies_of
from orchestrator.response_log import LOG_NAME, open_for_writing
from orchestrator.simulator.site import site_of
from tests.commands import tierwise

LOCAL_MS = {"d0": 80.0, "d7": 8.0}
START_NS = 1_795_000_000_000_000_000


def calibrate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return tierwise("calibrate", *arguments)


ROUNDS = (("end d0", "edge d0"), ("edge d0", "edge d0"), ("cloud d0", "end d7"), ("end d7", "cloud d0"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An orchestrator's folder: devices `hall` and `porch`, 40 rounds; asking 3 ms, image 12, served in 40 or 60."""
    folder = tmp_path / "orchestrator"
    folder.mkdir()
    with closing(open_for_writing(folder / LOG_NAME)) as connection:
        connection.execute("BEGIN")
        for number, round_ in enumerate(ROUNDS * 10, start=1):
            for node, choice in zip(("hall", "porch"), round_, strict=True):
                _add(connection, number, node, choice, sharers=round_.count(choice))
        connection.execute("COMMIT")
    return folder


def _add(connection: sqlite3.Connection, number: int, node: str, choice: str, sharers: int) -> None:
    tier, model = choice.split()
    local = tier == "end"
    compute_ms = LOCAL_MS[model] if local else 20.0 + 20.0 * sharers
    image_ms = 0.0 if local else 12.0
    values = {
        "time_ns": START_NS + number * 10**9, "site": "home", "node": node, "request_id": f"{node}-{number}",
        "round": number, "policy": "random", "explored": 1, "outcome": "done", "tier": tier, "model": model,
        "serving_node": node if local else tier, "response_ms": 3.0 + image_ms + compute_ms, "decide_ms": 3.0,
        "encode_ms": image_ms, "uplink_ms": 0, "queue_ms": 0, "compute_ms": compute_ms, "downlink_ms": 0, "trained": 1,
        "emulated": 0,
    }  # fmt: skip
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO response ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def test_a_log_becomes_a_file_that_simulates(directory: Path, tmp_path: Path) -> None:
    """Table, errors, and a file from which a site of two devices is made with the log's times."""
    output = tmp_path / "my-site.yaml"
    done = calibrate("--directory", str(directory), "--output", str(output))
    calibration = load(output, CalibrationConfig)
    accuracies = accuracies_of(load_manifest())
    site = site_of(calibration, ExperimentConfig(version=1, name="home"), 2, accuracies)

    assert (0, "") == (done.returncode, done.stderr)
    assert "models.d0" in done.stdout
    assert "Means of the 40 whole rounds that it was fitted to: median error 0.0 %, p95 0.0 %" in done.stdout
    assert "my-site" == calibration.name
    assert [80.0, 80.0] == pytest.approx(site.local_ms[:, site.actions.index(Action(Tier.END, ModelName("d0")))])
    assert [40.0, 60.0] == pytest.approx(site.shared_ms[0, 1:], rel=1e-3)
    assert "# In the simulator, hall is s1." in output.read_text(encoding="utf-8")


def test_json_is_the_same_for_machines(directory: Path, tmp_path: Path) -> None:
    """Each coefficient with its rows and origin, the devices, and how well it fits."""
    output = tmp_path / "home.yaml"
    done = calibrate(
        "--directory", str(directory), "--output", str(output), "--name", "my home", "--edge-vcpus", "8", "--json"
    )  # fmt: skip
    told = json.loads(done.stdout)
    coefficients = {entry["path"]: entry for entry in told["coefficients"]}

    assert ("my home", 80, {"s1": "hall", "s2": "porch"}) == (told["name"], told["requests"], told["devices"])
    assert load(output, CalibrationConfig).coefficients() == list(coefficients)
    assert {"value": 8, "rows": 0, "origin": "given on the command line"}.items() <= coefficients["edge.vcpus"].items()
    assert 4.0 == pytest.approx(coefficients["edge.contention"]["value"])
    assert "a1-paper's: not to be told from rounds with 1 at a time" == coefficients["cloud.contention"]["origin"]
    assert 40 == told["reproduction"]["rounds"]
    assert {NodeId("s1"): 1.0, NodeId("s2"): 1.0} == pytest.approx(load(output, CalibrationConfig).speeds)


def test_an_existing_file_is_kept_unless_forced(directory: Path, tmp_path: Path) -> None:
    """A calibration may have cost days of logging."""
    output = tmp_path / "my-site.yaml"
    output.write_text("precious", encoding="utf-8")
    refused = calibrate("--directory", str(directory), "--output", str(output))

    assert (1, f"tierwise: {output} exists already; --force overwrites it\n") == (refused.returncode, refused.stderr)
    assert "precious" == output.read_text(encoding="utf-8")
    assert 0 == calibrate("--directory", str(directory), "--output", str(output), "--force").returncode
    assert output.read_text(encoding="utf-8").startswith("# Site home")


def test_a_span_without_requests_is_an_error(directory: Path, tmp_path: Path) -> None:
    """`--since` and `--last` choose, and not both."""
    output = tmp_path / "my-site.yaml"
    later = calibrate("--directory", str(directory), "--output", str(output), "--since", "2100-01-01")
    both = calibrate("--directory", str(directory), "--output", str(output), "--since", "2020-01-01", "--last", "1h")

    assert 1 == later.returncode
    assert "no delivered request there" in later.stderr
    assert 2 == both.returncode
    assert not output.exists()


@pytest.mark.parametrize(
    ("output", "options", "code", "said"),
    [
        ("no/such/folder/my-site.yaml", [], 1, "cannot write"),
        (".", ["--force"], 1, "is a folder"),
        ("my-site.yaml", ["--name", "x" * 101], 2, "--name"),
        ("my-site.yaml", ["--name", "a\nb"], 2, "--name"),
        ("my-site.yaml", ["--edge-vcpus", "0"], 2, "--edge-vcpus"),
        ("my-site.yaml", ["--directory", "/no/such/folder"], 1, "there is no response log"),
    ],
)
def test_what_cannot_be_done_is_one_message(
    directory: Path, tmp_path: Path, output: str, options: list[str], code: int, said: str
) -> None:
    """An exit code, what is wrong, and no traceback."""
    done = calibrate("--directory", str(directory), "--output", str(tmp_path / output), *options)

    assert code == done.returncode
    assert said in done.stderr
    assert "Traceback" not in done.stderr
