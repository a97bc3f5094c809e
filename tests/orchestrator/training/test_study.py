"""The runs of Table 11, small ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from configs.orchestrator import Policy
from orchestrator.accuracy import Accuracies
from orchestrator.errors import TransferRefused
from orchestrator.training.hyperparameters import for_users
from orchestrator.training.study import StudyJob, StudyResult, run_study
from orchestrator.training.trainer import Progress

MakeWorld = Any  # the fixture's type is in conftest.py, which tests cannot import

USERS = 2


@pytest.fixture
def study(make_world: MakeWorld, accuracies: Accuracies) -> partial[StudyResult]:
    return partial(
        run_study,
        make_world=lambda floor: make_world(USERS, floor),
        accuracies=accuracies,
        watcher=lambda _: None,
    )


def _job(policy: Policy, floor: int, transfer: bool = False) -> StudyJob:
    return StudyJob(policy, for_users(USERS), floor, 1, most_rounds=5000, after_rounds=200, transfer=transfer)


@pytest.mark.parametrize("floor", [0, 850, 899])
def test_q_learning_sweeps_its_table_and_is_right(study: partial[StudyResult], floor: int) -> None:
    """A zero-initialised table is optimistic: about 10^2 rounds for two users, not much less and not much more."""
    result = study(_job(Policy.Q_LEARNING, floor))

    assert result.converged_at is not None
    assert 50 <= result.converged_at <= 1000
    assert result.rounds >= result.converged_at + 199
    assert (1, 1, 1) == (result.states, result.good_states, result.optimal_within)


def test_the_baseline_needs_as_many_rounds_as_it_has_joint_actions(study: partial[StudyResult]) -> None:
    """3^2."""
    result = study(_job(Policy.OFFLOAD_ONLY, 899))

    assert result.converged_at is not None
    assert result.converged_at < 400


def test_what_was_learned_without_a_floor_shortens_learning_with_one(study: partial[StudyResult]) -> None:
    """Section 6.2.1: at 80 % the transferred table has only the faster joint actions to go through."""
    plain, transferred = (study(_job(Policy.Q_LEARNING, 800, transfer)) for transfer in (False, True))

    assert plain.converged_at is not None
    assert transferred.converged_at is not None
    assert transferred.converged_at < plain.converged_at


def test_a_policy_that_does_not_learn_is_refused(study: partial[StudyResult]) -> None:
    """There is nothing to converge."""
    with pytest.raises(TransferRefused, match="random"):
        study(_job(Policy.RANDOM, 0))


def test_the_curve_covers_every_round(study: partial[StudyResult]) -> None:
    """In blocks of equal length, the last one cut off."""
    result = study(_job(Policy.Q_LEARNING, 0))

    assert (result.rounds - 1) // result.block_rounds + 1 == len(result.curve)
    assert all(reward < 0 for reward, _ in result.curve)


def test_a_progress_counts_what_kept_the_floor_and_what_broke_it() -> None:
    """Regret is over the rounds that kept it."""
    progress = Progress(block_rounds=4)
    for kept in (True, False, True, True, True):
        progress.note(110.0 if kept else 50.0, 100.0, kept, explored=False, reward=-1.0)

    assert [4, 1] == [block.rounds for block in progress.blocks]
    assert 1 == progress.blocks[0].broken
    assert pytest.approx(10.0) == progress.blocks[0].regret_percent
