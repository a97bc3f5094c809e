"""`tierwise zoo add`, `evaluate`, `bench` and `remove`, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from broker.vocabulary import ModelName
from model_zoo.cache import installed
from model_zoo.local_manifest import read_local
from tests.graphs import colours

ROOT = Path(__file__).parents[2]
NET = ModelName("net")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a network of three colours, six pictures, and what is on them (five of the six truly)."""
    colours(tmp_path / "colours.tflite")
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "pictures").mkdir()
    shades = [(200, 20, 30), (20, 200, 30), (20, 30, 200)] * 2
    said = ["red", "green", "blue", "0", "1", "0"]
    for place, shade in enumerate(shades):
        Image.new("RGB", (12, 10), shade).save(tmp_path / "pictures" / f"{place}.png")
    lines = [f"{place}.png {word}" for place, word in enumerate(said)]
    (tmp_path / "val.txt").write_text("\n".join(lines))
    return tmp_path


def zoo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TIERWISE_CACHE": str(folder / "cache"), "COLUMNS": "100"}
    command = [sys.executable, "-m", "tierwise", "zoo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


def added(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    named = ("--name", "net", "--class-names", "names.txt", "--preprocessing", "0_to_1")
    return zoo(folder, "add", "colours.tflite", *named, *more)


def test_a_model_is_added_evaluated_listed_and_removed(here: Path) -> None:
    """Five of six: 83.3 % goes into the local manifest with its interval; in the end nothing is left."""
    done = added(here, "--top5", "91.2")
    assert (0, "") == (done.returncode, done.stderr)
    assert "models.pool: [..., net]" in done.stdout

    done = zoo(here, "evaluate", "net", "--images", "pictures", "--labels", "val.txt", "--write", "--json")
    [row] = json.loads(done.stdout)["models"]
    assert (0, 6, 5, 6) == (done.returncode, row["images"], row["top1_hits"], row["top5_hits"])
    assert "restart the nodes and the orchestrator" in done.stderr

    [listed] = [row for row in json.loads(zoo(here, "list", "--json").stdout) if row["name"] == "net"]
    assert ("added", True, 83.3, 100.0, "measured") == tuple(
        listed[key] for key in ("state", "trained", "top1_percent", "top5_percent", "accuracy")
    )
    measured = yaml.safe_load((here / "cache" / "models" / "local-manifest.yaml").read_text())["measured"]["net"]
    assert (6, [43.6, 97.0]) == (measured["images"], measured["top1_interval"])

    done = zoo(here, "remove", "net")
    models = here / "cache" / "models"
    assert (0, {}, {}) == (done.returncode, installed(models), read_local(models).models)


def test_a_model_can_be_added_and_measured_at_once(here: Path) -> None:
    """Then no accuracy need be given; without either it is said that no policy will choose it."""
    done = added(here)
    assert (0, True) == (done.returncode, "its accuracy is unknown, so no policy will choose it" in done.stdout)

    done = added(here, "--replace", "--images", "pictures", "--labels", "val.txt")
    assert 0 == done.returncode, done.stderr
    assert 100.0 == read_local(here / "cache" / "models").measured[NET].top5
    assert "83.3" in done.stdout


def test_the_bench_gives_a_table_json_and_a_picture(here: Path) -> None:
    """A PNG with the front, and who is dominated."""
    added(here, "--top5", "91.2")
    done = zoo(here, "bench", "--runs", "5", "--threads", "1,2", "--png", "out/bench.png")
    assert 0 == done.returncode, done.stderr
    assert [["net", "1"], ["net", "2"]] == [line.split()[:2] for line in done.stdout.splitlines()[2:4]]
    assert "5 runs each, so p99 is the slowest" in done.stdout
    assert (here / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")

    rows = json.loads(zoo(here, "bench", "net", "--runs", "3", "--json").stdout)["models"]
    assert [("net", 3, True, [])] == [(r["model"], r["runs"], r["on_front"], r["dominated_by"]) for r in rows]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("bench", "--png", "bench.svg"), 2, "a name that ends in .png"),
        (("add", "names.txt", "--name", "x"), 1, "names.txt is not taken: it is no TensorFlow Lite graph"),
        (("add", "colours.tflite", "--name", "X!"), 1, "'X!' is not a model name"),
        (("add", "colours.tflite", "--name", "x", "--top5", "90.25"), 2, "at most one decimal"),
        (("add", "colours.tflite", "--name", "x", "--images", "pictures"), 2, "--images and --labels go together"),
        (("bench", "--threads", "two"), 2, "numbers separated by commas"),
        (("bench",), 1, "model d0 is not in"),
        (("evaluate", "--images", "absent", "--labels", "val.txt"), 1, "absent is no folder"),
        (("evaluate", "--images", "pictures", "--labels", "val.txt"), 1, "no trained model is in"),
    ],
)
def test_a_mistake_is_one_clear_line(here: Path, arguments: tuple[str, ...], code: int, told: str) -> None:
    """No traceback; 1 for what a file or a folder is not, 2 for wrong usage."""
    done = zoo(here, *arguments)

    assert (code, "") == (done.returncode, done.stdout)
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_each_subcommand_helps_with_an_example(here: Path) -> None:
    """And in it the command as one would type it."""
    for command in ("add", "remove", "bench", "evaluate"):
        assert f"Example: tierwise zoo {command}" in " ".join(zoo(here, command, "--help").stdout.split())
