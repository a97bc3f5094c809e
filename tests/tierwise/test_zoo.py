"""`tierwise zoo`: results on standard output, everything else on standard error, and exit codes that mean something."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_zoo.cache import models_directory

pytestmark = pytest.mark.models
ROOT = Path(__file__).parents[2]
NAMES = [f"d{number}" for number in range(8)]


def zoo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "tierwise", "zoo", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The eight models in a folder of one's own, to damage."""
    return Path(shutil.copytree(models_directory(), tmp_path / "models"))


def test_list_shows_table_4_and_that_weights_are_untrained() -> None:
    """One line per model, in 80 columns."""
    done = zoo("list", COLUMNS="80")
    lines = done.stdout.splitlines()

    assert 0 == done.returncode
    assert NAMES == [line.split()[0] for line in lines[2:]]
    assert ["d5", "0.75", "int8", "317", "66.8", "87.0"] == lines[7].split()[:6]
    assert all(len(line) <= 80 and "…" not in line for line in lines)


def test_list_as_json_is_the_same_for_machines(tmp_path: Path) -> None:
    """An empty folder: all are missing, and that is no error."""
    done = zoo("list", "--json", "--directory", str(tmp_path))

    assert 0 == done.returncode
    assert [(name, "missing") for name in NAMES] == [(row["name"], row["state"]) for row in json.loads(done.stdout)]


def test_verify_of_whole_models_ends_well() -> None:
    """All eight ok, in 80 columns."""
    done = zoo("verify", COLUMNS="80")

    assert 0 == done.returncode
    assert [(name, "ok") for name in NAMES] == [tuple(line.split()[:2]) for line in done.stdout.splitlines()[2:]]
    assert "…" not in done.stdout


def test_verify_of_a_damaged_model_fails_and_says_what_mends_it(copy: Path) -> None:
    """Exit code 1, the table and the JSON all the same, and no traceback."""
    (copy / "d2.tflite").write_bytes(b"damaged")
    done = zoo("verify", "--json", "--directory", str(copy))

    assert 1 == done.returncode
    assert ["d2"] == [row["name"] for row in json.loads(done.stdout) if not row["ok"]]
    assert "d2.tflite is corrupt: expected sha256" in done.stderr
    assert "mend it with: tierwise zoo" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_model_is_one_line_on_standard_error() -> None:
    """For every subcommand that takes names."""
    for command in ("fetch", "build", "ensure", "verify"):
        done = zoo(command, "d9")
        assert (1, "") == (done.returncode, done.stdout)
        assert done.stderr.endswith("tierwise: 'd9' is not one of the models d0, d1, d2, d3, d4, d5, d6, d7\n")


def test_fetch_without_internet_fails_in_one_line(tmp_path: Path) -> None:
    """A proxy that is not there is no internet; what to do instead is said."""
    done = zoo("fetch", "--directory", str(tmp_path), https_proxy="http://127.0.0.1:9", no_proxy="")

    assert (1, "") == (done.returncode, done.stdout)
    [line] = [line for line in done.stderr.splitlines() if line]
    assert line.startswith("tierwise: cannot reach https://storage.googleapis.com/")
    assert line.endswith("without internet access: tierwise zoo build")


def test_ensure_with_everything_there_needs_no_network() -> None:
    """What `make test` and the demo do first, each time."""
    done = zoo("ensure", "--json", https_proxy="http://127.0.0.1:9")

    assert 0 == done.returncode
    assert NAMES == json.loads(done.stdout)["cached"]


def test_build_leaves_whole_models_alone() -> None:
    """It would replace trained weights by untrained ones; that takes --force."""
    done = zoo("build")

    assert 0 == done.returncode
    assert "nothing to do; --force builds anew" in done.stdout


def test_each_subcommand_helps_with_an_example() -> None:
    """And in it the command as one would type it."""
    for command in ("fetch", "build", "ensure", "verify", "list"):
        done = zoo(command, "--help")
        assert 0 == done.returncode
        assert f"Example: tierwise zoo {command}" in done.stdout
