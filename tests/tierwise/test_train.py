"""`tierwise train` as a user types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.checkpoint import read_checkpoint
from tests.commands import tierwise

pytestmark = pytest.mark.slow


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tierwise", "train", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_two_seeds_train_side_by_side_and_leave_checkpoints(tmp_path: Path) -> None:
    """Each has its folder, both are told, and the JSON is of them."""
    done = train(
        *("q_learning", "--users", "2", "--floor", "89", "--steps", "1500", "--seeds", "2", "--json"),
        *("--directory", str(tmp_path)),
    )
    written: dict[str, Any] = json.loads(done.stdout)

    assert 0 == done.returncode, done.stderr
    assert [1, 2] == [row["seed"] for row in written["seeds"]]
    for row in written["seeds"]:
        assert 1500 == row["rounds"] == read_checkpoint(Path(row["checkpoint"])).about["updates"]
        assert row["regret_percent"] < 5.0


def test_it_says_how_it_went_and_where_the_checkpoint_lies(tmp_path: Path) -> None:
    """Without --json, for people."""
    done = train("q_learning", "--users", "1", "--steps", "300", "--directory", str(tmp_path))

    assert 0 == done.returncode, done.stderr
    assert "seed 1: 300 rounds, " in done.stdout
    assert str(tmp_path / "seed-1" / "q_learning.npz") in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("q_learning", "--experiment", "exp-z"), 1, "exp-a, exp-b, exp-c, exp-d"),
        (("q_learning", "--scenario", "storm"), 1, "still, visited"),
        (("q_learning", "--calibration", "mine"), 1, "a1-paper"),
        (("q_learning", "--floor", "90"), 2, "72.8 to 89.9"),
        (("q_learning", "--floor", "0.9"), 2, "did you mean 90?"),
        (("d_learning",), 2, "q_learning"),
        (("q_learning", "--users", "0"), 2, "greater than or equal to 1"),
        (("random", "--users", "2", "--steps", "10", "--transfer", __file__), 1, "random has nothing"),
        (("q_learning", "--users", "2", "--transfer", "none.npz"), 2, "there is no file none.npz"),
        (("q_learning", "--users", "9", "--steps", "10"), 1, "9 devices have"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], code: int, told: str) -> None:
    """No traceback, the allowed values, exit code 1 for what a file or an agent refuses and 2 for wrong usage."""
    done = tierwise("train", *arguments, "--directory", str(tmp_path))

    assert code == done.returncode, done.stderr
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_ctrl_c_saves_and_the_next_call_goes_on(tmp_path: Path) -> None:
    """Exit code 130, nothing left running, and fewer rounds to go."""
    arguments = ["q_learning", "--users", "4", "--steps", "2000000", "--directory", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "tierwise", "train", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as running:  # fmt: skip
        deadline_s = time.monotonic() + 60
        children: list[psutil.Process] = []
        while not (tmp_path / "seed-1" / "training.npz").exists() and time.monotonic() < deadline_s:
            time.sleep(0.1)  # it saves itself after 20,000 rounds, and tells nobody
            children = psutil.Process(running.pid).children(recursive=True) or children
        running.send_signal(signal.SIGINT)
        printed, _ = running.communicate(timeout=60)

    assert 130 == running.returncode, printed
    assert "Traceback" not in printed
    assert "the same command goes on" in printed
    assert children
    assert [] == psutil.wait_procs(children, timeout=20)[1]  # the resource tracker ends a moment after us
    done_rounds = read_checkpoint(tmp_path / "seed-1" / "q_learning.npz").about["updates"]
    arguments[arguments.index("2000000")] = str(done_rounds + 5)
    again = train(*arguments)
    assert 0 == again.returncode, again.stderr
    assert f"seed 1: {done_rounds + 5} rounds" in again.stdout
