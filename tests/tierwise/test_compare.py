"""`tierwise compare` as a user types it, and what `tierwise train` draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import tierwise

pytestmark = pytest.mark.slow
PNG = b"\x89PNG"


def test_policies_stand_side_by_side(tmp_path: Path) -> None:
    """The same site for all: the uniform model is faster than the most accurate one, and the optimum than both."""
    picture = tmp_path / "compare.png"
    done = tierwise(
        *("compare", "device_only", "uniform_model", "q_learning", "--users", "1", "--floor", "85", "--rounds", "300"),
        *("--json", "--png", str(picture)),
    )
    assert 0 == done.returncode, done.stderr
    figures = {one["policy"]: one for one in json.loads(done.stdout)["policies"]}

    assert ["device_only", "uniform_model", "q_learning"] == list(figures)
    assert figures["uniform_model"]["mean_ms"] < figures["device_only"]["mean_ms"]
    assert (87.0, 100.0, False, None) == tuple(
        figures["uniform_model"][key] for key in ("accuracy_percent", "floor_met_percent", "learns", "converged_at")
    )
    assert figures["q_learning"]["learns"]
    assert all(one["mean_ms"] <= one["p95_ms"] and 300 == one["rounds"] for one in figures.values())
    assert picture.read_bytes().startswith(PNG)


def test_the_table_fits_a_terminal_and_names_the_optimum() -> None:
    """80 columns, a row per policy."""
    done = tierwise("compare", "device_only", "uniform_model", "--users", "2", "--rounds", "20")

    assert 0 == done.returncode, done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert "uniform_model" in done.stdout
    assert "proven optimum" in done.stdout


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """No traceback, and the option to change."""
    done = tierwise("compare", "device_only", "--users", "1", "--rounds", "5", "--png", str(tmp_path / "no" / "c.png"))

    assert 1 == done.returncode
    assert "cannot write" in done.stderr
    assert "name another file with --png" in done.stderr


def test_training_says_milliseconds_and_draws_the_curve(tmp_path: Path) -> None:
    """Beside the regret, which alone says nothing of what users wait for."""
    picture = tmp_path / "curve.png"
    done = tierwise(
        *("train", "q_learning", "--users", "1", "--steps", "300"),
        *("--directory", str(tmp_path / "kept"), "--png", str(picture)),
    )

    assert 0 == done.returncode, done.stderr
    assert " ms, regret " in done.stdout
    assert picture.read_bytes().startswith(PNG)
