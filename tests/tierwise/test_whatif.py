"""`tierwise whatif` as a person runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from configs.orchestrator import FactoredSection, StateSection
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import accuracies_of
from orchestrator.agents.factored import Factored
from orchestrator.checkpoint import write_checkpoint
from orchestrator.simulator.families import world_of
from tests.commands import tierwise


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An orchestrator's folder after twenty rounds."""
    world = world_of("paper", "exp-a", 5, 850, seed=1)
    agent = Factored(FactoredSection(), StateSection(), dict(accuracies_of(load_manifest()).tenths), seed=1)
    seen = world.observe()
    for _ in range(20):
        experience, _ = world.play(seen, agent.act(seen))
        agent.learn(experience)
        seen = experience.next_observation
    made = tmp_path_factory.mktemp("orchestrator")
    write_checkpoint(made / "factored.npz", agent.save())
    return made


def _whatif(*arguments: str) -> subprocess.CompletedProcess[str]:
    return tierwise("whatif", *arguments)


def test_it_prints_a_table_and_draws_the_curve(directory: Path, tmp_path: Path) -> None:
    """A row where the joint action changes, and a PNG where it was asked for."""
    picture = tmp_path / "curve.png"
    done = _whatif("--directory", str(directory), "--picture", str(picture))

    assert (0, "") == (done.returncode, done.stderr)
    assert "Expected at each floor, 5 devices" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_one_floor_as_json_draws_nothing(directory: Path) -> None:
    """Programs get the expectation of the floor that they ask for."""
    done = _whatif("--directory", str(directory), "--floor", "89", "--json")
    [row] = json.loads(done.stdout)["floors"]

    assert (890, 89.0) == (row["floor_tenths"], row["floor_percent"])
    assert row["mean_ms"] > row["sd_ms"] > 0
    assert not (directory / "whatif.png").exists()


def test_without_a_checkpoint_one_line_says_so(tmp_path: Path) -> None:
    """Exit code 1, no traceback; likewise for a file that is none."""
    nothing = _whatif("--directory", str(tmp_path))
    (tmp_path / "factored.npz").write_bytes(b"no checkpoint")
    broken = _whatif("--directory", str(tmp_path))

    assert (1, 1) == (nothing.returncode, broken.returncode)
    assert "has learned nothing there yet" in nothing.stderr
    assert "is not a readable checkpoint" in broken.stderr
    assert "Traceback" not in nothing.stderr + broken.stderr
