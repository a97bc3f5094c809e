"""A training that is kept: it resumes exactly, begins elsewhere where it may, and refuses what is not its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from broker.errors import TierwiseError
from configs.orchestrator import FilesSection, OrchestratorConfig, Policy
from orchestrator.accuracy import Accuracies
from orchestrator.checkpoint import read_checkpoint
from orchestrator.errors import CheckpointRefused, TransferRefused
from orchestrator.policies import Policies
from orchestrator.training.hyperparameters import for_users
from orchestrator.training.job import RESUME_NAME, Training, TrainingJob
from orchestrator.training.trainer import Progress

ROUNDS = 600


class Enough(Exception):
    """Ctrl-C, in a test."""


def _job(
    directory: Path, users: int = 2, floor: int = 850, transfer: Path | None = None, rounds: int = ROUNDS
) -> TrainingJob:
    return TrainingJob(
        Policy.Q_LEARNING,
        "exp-a",
        users,
        floor,
        "visited",
        "a1-paper",
        rounds,
        1,
        directory,
        for_users(users),
        transfer,
    )


def _quiet(_: Progress) -> None: ...


def _table(directory: Path) -> tuple[object, ...]:
    saved = read_checkpoint(directory / "q_learning.npz")
    return saved.about, {name: array.tolist() for name, array in saved.arrays.items()}


def test_stopped_and_resumed_it_learns_exactly_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table, epsilon and random generators after 600 rounds are those of a training that was never stopped."""
    monkeypatch.setattr("orchestrator.training.trainer.PROGRESS_S", 0.0)
    Training(_job(tmp_path / "whole")).run(_quiet)

    def stop(progress: Progress) -> None:
        if progress.round in (100, 317):
            raise Enough

    for _ in range(2):
        with pytest.raises(Enough):
            Training(_job(tmp_path / "parts")).run(stop)
    resumed = Training(_job(tmp_path / "parts"))
    assert 317 == resumed.progress.round
    resumed.run(_quiet)

    assert _table(tmp_path / "whole") == _table(tmp_path / "parts")


def test_with_more_steps_it_goes_further(tmp_path: Path) -> None:
    """And with as many it is done at once."""
    Training(_job(tmp_path)).run(_quiet)
    again = Training(_job(tmp_path))
    assert ROUNDS == again.run(_quiet).rounds
    further = Training(_job(tmp_path, rounds=2 * ROUNDS)).run(_quiet)

    assert 2 * ROUNDS == further.rounds


def test_the_orchestrator_loads_what_was_trained(tmp_path: Path, accuracies: Accuracies) -> None:
    """The same file, the same agent: its greedy decision is that of the trained one."""
    training = Training(_job(tmp_path, rounds=2000))
    training.run(_quiet)
    config = OrchestratorConfig(version=1, site="lab", files=FilesSection(directory=tmp_path))
    live = Policies(config, accuracies).agent(Policy.Q_LEARNING)
    seen = training.world.observe()

    assert training.agent.greedy(seen) == live.greedy(seen)  # type: ignore[attr-defined]
    assert 2000 == live.updates  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"users": 3, "config": for_users(3)}, "users 2"),
        ({"floor_tenths": 890}, "floor_tenths 850"),
        ({"seed": 2}, "seed 1"),
        ({"experiment": "exp-d"}, "differs in experiment"),
        ({"policy": Policy.OFFLOAD_ONLY}, "policy 'q_learning'"),
    ],
)
def test_a_training_of_something_else_is_refused(tmp_path: Path, changed: dict[str, object], told: str) -> None:
    """Another number of users, floor, seed, experiment or agent: nothing is half-loaded, and the message says what."""
    job = _job(tmp_path)
    Training(job).run(_quiet)
    with pytest.raises(CheckpointRefused, match=told):
        Training(replace(job, **changed))  # type: ignore[arg-type]
    Training(replace(job, **changed), fresh=True)  # type: ignore[arg-type]


def test_an_edited_scenario_is_another_training(tmp_path: Path) -> None:
    """The file has the same name and another content."""
    scenario = tmp_path / "mine.yaml"
    scenario.write_text("version: 1\nname: mine\nbackground: {s1: {start: 0.2, stop: 0.2}}\n", encoding="utf-8")
    job = replace(_job(tmp_path / "run"), scenario=str(scenario))
    Training(job).run(_quiet)
    scenario.write_text("version: 1\nname: mine\nbackground: {s1: {start: 0.4, stop: 0.2}}\n", encoding="utf-8")
    with pytest.raises(CheckpointRefused, match="scenario"):
        Training(job)


def test_a_lost_checkpoint_is_written_again(tmp_path: Path) -> None:
    """What the result names is there, even if somebody moved it to an orchestrator."""
    Training(_job(tmp_path)).run(_quiet)
    (tmp_path / "q_learning.npz").unlink()
    result = Training(_job(tmp_path)).run(_quiet)

    assert result.checkpoint is not None
    assert result.checkpoint.exists()


def test_transferred_trainings_of_two_seeds_explore_differently(tmp_path: Path) -> None:
    """Though both begin with the same checkpoint."""
    Training(_job(tmp_path / "min", floor=0, rounds=300)).run(_quiet)
    begun = [
        Training(replace(_job(tmp_path / str(seed), transfer=tmp_path / "min" / "q_learning.npz"), seed=seed))
        for seed in (1, 2)
    ]
    states = [str(training.agent.save().about["random"]) for training in begun]

    assert states[0] != states[1]


def test_a_torn_or_foreign_file_is_refused(tmp_path: Path) -> None:
    """By name, without a traceback."""
    job = _job(tmp_path)
    Training(job).run(_quiet)
    whole = (tmp_path / RESUME_NAME).read_bytes()
    (tmp_path / RESUME_NAME).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointRefused, match=RESUME_NAME):
        Training(job)
    (tmp_path / RESUME_NAME).write_bytes((tmp_path / "q_learning.npz").read_bytes())
    with pytest.raises(CheckpointRefused, match="q_learning"):
        Training(job)


def test_a_training_may_begin_with_one_without_floor(tmp_path: Path) -> None:
    """Section 6.2.1: its table then holds values in the rows of the floor before the first round."""
    Training(_job(tmp_path / "min", floor=0, rounds=3000)).run(_quiet)
    begun = Training(_job(tmp_path / "85", transfer=tmp_path / "min" / "q_learning.npz"))
    values = begun.agent.save().arrays["values"]

    assert 0 == begun.progress.round
    assert np.count_nonzero(values) > 0
    assert {0, 850} == {row["floor_tenths"] for row in begun.agent.save().about["rows"]}


def test_a_transfer_from_another_number_of_users_is_refused(tmp_path: Path) -> None:
    """It would begin with nothing, and not say so."""
    Training(_job(tmp_path / "min", users=3, floor=0)).run(_quiet)
    with pytest.raises(TransferRefused, match="2 devices"):
        Training(_job(tmp_path / "85", transfer=tmp_path / "min" / "q_learning.npz"))


def test_a_transfer_from_an_agent_with_a_floor_is_refused(tmp_path: Path) -> None:
    """Its values know another reward."""
    Training(_job(tmp_path / "89", floor=890)).run(_quiet)
    with pytest.raises(TransferRefused, match="without a floor"):
        Training(_job(tmp_path / "85", transfer=tmp_path / "89" / "q_learning.npz"))


def test_what_cannot_be_simulated_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """An unknown experiment names the known ones."""
    with pytest.raises(TierwiseError, match="exp-a, exp-b, exp-c, exp-d"):
        Training(replace(_job(tmp_path / "x"), experiment="exp-z"))

    assert not (tmp_path / "x").exists()
