"""The replay buffer."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.replay import ReplayBuffer


def _filled(count: int, capacity: int = 5) -> ReplayBuffer:
    buffer = ReplayBuffer(capacity, features=2, devices=1)
    for number in range(count):
        state = np.full(2, number, dtype=np.float32)
        buffer.add(state, np.array([number % 10]), -float(number), number % 2 == 0, state + 1)
    return buffer


@pytest.mark.parametrize(
    ("added", "kept"), [(0, []), (3, [0, -1, -2]), (5, [0, -1, -2, -3, -4]), (7, [-5, -6, -2, -3, -4])]
)
def test_it_keeps_the_newest_and_forgets_the_oldest(added: int, kept: list[int]) -> None:
    """A circle of five."""
    buffer = _filled(added)

    assert len(kept) == len(buffer)
    assert kept == buffer.rewards[: len(buffer)].astype(int).tolist()


def test_every_kept_record_is_drawn() -> None:
    """And none that is not there yet."""
    drawn = _filled(3).sample(np.random.default_rng(1), 200)

    assert {0, 1, 2} == set(drawn.tolist())


@pytest.mark.parametrize("count", [0, 3, 5, 12])
def test_saved_and_loaded_it_goes_on_the_same(count: int) -> None:
    """The next record overwrites the same place."""
    original, copy = _filled(count), ReplayBuffer(5, 2, 1)
    copy.load(*original.save())
    for buffer in (original, copy):
        buffer.add(np.ones(2, dtype=np.float32), np.array([4]), -99.0, True, np.ones(2, dtype=np.float32))

    assert original.rewards.tolist() == copy.rewards.tolist()
    assert original.actions.tolist() == copy.actions.tolist()
    assert original.met.tolist() == copy.met.tolist()


def test_records_of_another_shape_are_refused() -> None:
    """Another number of features, of records, or what is no number."""
    added, arrays = _filled(3).save()
    for wrong in (
        {**arrays, "states": np.zeros((3, 4), dtype=np.float32)},
        {**arrays, "rewards": np.zeros(2, dtype=np.float32)},
        {**arrays, "rewards": np.full(3, np.nan, dtype=np.float32)},
    ):
        with pytest.raises(ValueError, match="replay buffer"):
            ReplayBuffer(5, 2, 1).load(added, wrong)
