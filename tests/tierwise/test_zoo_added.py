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
from model_zoo.fitting import label_set_of
from model_zoo.local_manifest import read_local
from tests.graphs import colours

ROOT = Path(__file__).parents[2]
NET = ModelName("net")
LABEL_SET = label_set_of(["red", "green", "blue"])
SITE = ("--config", "orchestrator.yaml")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a network of three colours, twelve pictures, and what is on them (ten of the twelve truly)."""
    colours(tmp_path / "colours.tflite")
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    goal = {"label_set": LABEL_SET, "metric": "top1", "accuracy_floor": "min"}
    (tmp_path / "orchestrator.yaml").write_text(yaml.safe_dump({"version": 1, "site": "home", "goal": goal}))
    (tmp_path / "pictures").mkdir()
    shades = [(200, 20, 30), (20, 200, 30), (20, 30, 200)] * 4
    said = ["red", "green", "blue", "0", "1", "0"] * 2
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
    named = ("--name", "net", "--class-names", "names.txt", "--preprocessing", "0_to_1", *SITE)
    return zoo(folder, "add", "colours.tflite", *named, *more)


def test_a_model_is_added_evaluated_listed_and_removed(here: Path) -> None:
    """Ten of twelve: 83.3 % goes into the local manifest with its interval; in the end nothing is left."""
    done = added(here, "--top1", "91.2")
    assert (0, "") == (done.returncode, done.stderr)
    assert "models.pool: [..., net]" in done.stdout

    done = zoo(here, "evaluate", "net", "--images", "pictures", "--labels", "val.txt", "--write", "--json", *SITE)
    [row] = json.loads(done.stdout)["models"]
    assert (0, 12, 10, 12) == (done.returncode, row["images"], row["top1_hits"], row["top5_hits"])
    assert "restart the nodes and the orchestrator" in done.stderr

    [listed] = [row for row in json.loads(zoo(here, "list", "--json").stdout) if row["name"] == "net"]
    assert ("added", True, 83.3, None, "measured") == tuple(
        listed[key] for key in ("state", "trained", "top1_percent", "top5_percent", "accuracy")
    )
    measured = yaml.safe_load((here / "cache" / "models" / "local-manifest.yaml").read_text())["measured"]["net"]
    assert (12, [55.1, 95.4]) == (measured["images"], measured["top1_interval"])

    done = zoo(here, "remove", "net")
    models = here / "cache" / "models"
    assert (0, {}, {}) == (done.returncode, installed(models), read_local(models).models)


def test_a_model_can_be_added_and_measured_at_once(here: Path) -> None:
    """Then no accuracy need be given; without either it is said that no policy will choose it."""
    done = added(here)
    assert (0, True) == (done.returncode, "its accuracy is unknown, so no policy will choose it" in done.stdout)

    done = added(here, "--replace", "--images", "pictures", "--labels", "val.txt")
    assert 0 == done.returncode, done.stderr
    measured = read_local(here / "cache" / "models").measured[NET]
    assert (83.3, None) == (measured.top1, measured.top5)
    assert "83.3" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--class-names", "names.txt", "--top1", "91"), f"its label set is {LABEL_SET}, the site's is imagenet-1000"),
        (("--top1", "91"), "which 3 classes it tells apart was not said: give their names (--class-names FILE)"),
        (("--label-set", "imagenet-1000"), "imagenet-1000 has 1000 classes, and it tells 3 apart"),
        (("--label-set", "Colours!"), "'Colours!' is not the name of a label set"),
        (("--class-names", "names.txt", *SITE, "--top5", "100"), "fewer than 20 have no Top-5: give --top1 alone"),
        (("--label-set", "other", *SITE, "--top1", "91"), f"its label set is other, the site's is {LABEL_SET}"),
        (("--class-names", "names.txt", *SITE, "--top1", "33.3"), "its Top-1 of 33.3 % is not better than chance"),
    ],
)
def test_a_network_that_does_not_fit_the_site_is_refused_with_the_reason(
    here: Path, arguments: tuple[str, ...], told: str
) -> None:
    """Other classes, classes that nobody named, a Top-5 of three classes, and guessing; nothing is taken in."""
    done = zoo(here, "add", "colours.tflite", "--name", "net", "--preprocessing", "0_to_1", *arguments)

    assert (1, "") == (done.returncode, done.stdout)
    assert told in done.stderr
    assert {} == installed(here / "cache" / "models")


def _wrong_labels(here: Path) -> None:
    """Labels of which a third is true, as of a network that guesses."""
    shades = ["red", "green", "blue"]
    lines = [f"{place}.png {shades[(place + (place > 3)) % 3]}" for place in range(12)]
    (here / "val.txt").write_text("\n".join(lines))


def test_a_network_at_chance_is_not_taken_in_unless_forced(here: Path) -> None:
    """Measured at once: it leaves nothing; with --force it is used, and the manifest says so."""
    _wrong_labels(here)
    measure = ("--images", "pictures", "--labels", "val.txt")
    done = added(here, *measure)
    assert (1, "") == (done.returncode, done.stdout)
    assert "not better than chance: 33.3 % of 3 classes (p = 0." in done.stderr
    assert "is not taken: it is not better than chance; --force takes it all the same" in done.stderr
    models = here / "cache" / "models"
    assert ({}, {}) == (installed(models), read_local(models).models)
    assert [] == [path.name for path in models.iterdir() if path.name.startswith(".measuring")]

    done = added(here, *measure, "--force")
    assert 0 == done.returncode, done.stderr
    assert (33.3, True) == (read_local(models).measured[NET].top1, read_local(models).measured[NET].forced)


def test_an_accuracy_at_chance_is_not_written_unless_forced(here: Path) -> None:
    """By `zoo evaluate`, of a network that was added earlier."""
    added(here, "--top1", "91.2")
    _wrong_labels(here)
    arguments = ("evaluate", "net", "--images", "pictures", "--labels", "val.txt", "--write", *SITE)
    done = zoo(here, *arguments)
    assert 1 == done.returncode
    assert "not written: net (not better than chance)" in done.stderr
    assert {} == read_local(here / "cache" / "models").measured

    assert 0 == zoo(here, *arguments, "--force").returncode
    assert read_local(here / "cache" / "models").measured[NET].forced


def test_a_network_of_other_classes_is_not_evaluated(here: Path) -> None:
    """Its accuracy could not be compared with any other of the site."""
    added(here, "--top1", "91.2")
    done = zoo(here, "evaluate", "net", "--images", "pictures", "--labels", "val.txt")

    assert (1, "") == (done.returncode, done.stdout)
    assert f"net: its label set is {LABEL_SET}, the site's is imagenet-1000" in done.stderr


def test_the_bench_gives_a_table_json_and_a_picture(here: Path) -> None:
    """A PNG with the front, and who is dominated."""
    added(here, "--top1", "91.2")
    done = zoo(here, "bench", "--runs", "5", "--threads", "1,2", "--png", "out/bench.png")
    assert 0 == done.returncode, done.stderr
    assert [["net", "1"], ["net", "2"]] == [line.split()[:2] for line in done.stdout.splitlines()[2:4]]
    assert "5 runs each, so p99 is the slowest" in done.stdout
    assert (here / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")

    rows = json.loads(zoo(here, "bench", "net", "--runs", "3", "--json").stdout)["models"]
    assert [("net", 3, False, [])] == [(r["model"], r["runs"], r["on_front"], r["dominated_by"]) for r in rows]


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
