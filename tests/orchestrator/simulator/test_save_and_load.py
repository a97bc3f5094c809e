"""A simulation that was saved goes on exactly where it was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from configs.calibration import NoiseSection

HAPPENING = {
    "background": {"end": {"start": 0.2, "stop": 0.3}, "edge": {"start": 0.1, "stop": 0.5}},
    "own_load": {"edge": 1.0, "cloud": 0.5, "end": 0.25},
    "events": [
        {"round": 5, "kind": "slow", "nodes": ["edge"], "factor": 2},
        {"round": 40, "kind": "link", "nodes": ["s1"], "link": "weak"},
        {"round": 90, "kind": "down", "nodes": ["cloud"]},
        {"round": 1500, "kind": "restore", "nodes": ["cloud", "s1"]},
    ],
}
NOISY = NoiseSection(distribution="student_t", sd_percent=10)


def _trajectory(simulation: Any, rounds: int, seed: int) -> list[Any]:
    """Everything that can be seen of so many rounds with actions drawn from `seed`."""
    draw = np.random.default_rng(seed)
    shape = simulation.busy.shape[0], simulation.busy.shape[1] - 2
    seen = []
    for _ in range(rounds):
        played = simulation.play(draw.integers(10, size=shape))
        seen.append((played.response_ms.tolist(), played.missing.tolist(), simulation.state().tolist()))
    return seen


# A block of noise for three devices and one site has 1365 rows, one of background load 819.
@pytest.mark.parametrize("rounds", [0, 1, 4, 5, 39, 100, 819, 1000, 1365, 1366])
def test_it_goes_on_exactly(make_simulation: Any, rounds: int) -> None:
    """From the start, around events, in the middle of a block of random numbers and at its ends; through JSON."""
    original = make_simulation(3, {"edge": "weak"}, HAPPENING, NOISY)
    _trajectory(original, rounds, seed=3)
    copy = make_simulation(3, {"edge": "weak"}, HAPPENING, NOISY, seed=99)
    _trajectory(copy, 7, seed=4)
    copy.load(json.loads(json.dumps(original.save())))

    assert original.round == copy.round == rounds
    assert original.state().tolist() == copy.state().tolist()
    assert _trajectory(original, 60, seed=5) == _trajectory(copy, 60, seed=5)


def test_it_goes_on_over_the_end_of_a_block(make_simulation: Any) -> None:
    """600 rounds after round 1000, over the end of a block and an event; of many sites over many."""
    for batch in (1, 4):
        original = make_simulation(3, happening=HAPPENING, noise=NOISY, batch=batch)
        _trajectory(original, 1000, seed=3)
        copy = make_simulation(3, happening=HAPPENING, noise=NOISY, batch=batch)
        copy.load(json.loads(json.dumps(original.save())))

        assert _trajectory(original, 600, seed=5) == _trajectory(copy, 600, seed=5)


FIFO = {"edge": {"queue": "fifo"}, "cloud": {"queue": "fifo"}}
OUTLIERS = NoiseSection(distribution="student_t", sd_percent=10, outlier_percent=20)


@pytest.mark.parametrize("rounds", [0, 4, 100, 1364, 1366])
@pytest.mark.parametrize("batch", [1, 4])
def test_orders_and_outliers_go_on_exactly(make_simulation: Any, rounds: int, batch: int) -> None:
    """In the middle of a block of random numbers and at its ends; through JSON."""
    original = make_simulation(3, happening=HAPPENING, noise=OUTLIERS, change=FIFO, batch=batch)
    _trajectory(original, rounds, seed=3)
    copy = make_simulation(3, happening=HAPPENING, noise=OUTLIERS, change=FIFO, batch=batch, seed=99)
    copy.load(json.loads(json.dumps(original.save())))

    assert original.save() == copy.save()
    assert _trajectory(original, 60, seed=5) == _trajectory(copy, 60, seed=5)


def test_what_has_no_orders_and_outliers_saves_none(make_simulation: Any) -> None:
    """So that trainings that were saved before there were any go on; what has them refuses to go on without."""
    plain = make_simulation(3, happening=HAPPENING).save()

    assert {"round", "busy", "own_cpu_percent", "noise", "load"} == set(plain)
    for extra in ({"change": FIFO}, {"noise": OUTLIERS}):
        with pytest.raises(KeyError, match=r"order|outliers"):
            make_simulation(3, happening=HAPPENING, **extra).load(plain)


def test_saving_changes_nothing(make_simulation: Any) -> None:
    """What is saved every round plays what is never saved does."""
    saved, plain = (make_simulation(3, happening=HAPPENING, noise=NOISY) for _ in range(2))
    seen = []
    for number in range(20):
        json.dumps(saved.save())
        seen += _trajectory(saved, 1, seed=number)

    assert seen == [step for number in range(20) for step in _trajectory(plain, 1, seed=number)]


def test_a_loaded_one_can_be_saved_again(make_simulation: Any) -> None:
    """The second copy says the same as the first."""
    original = make_simulation(3, happening=HAPPENING, noise=NOISY)
    _trajectory(original, 10, seed=3)
    first = original.save()
    copy = make_simulation(3, happening=HAPPENING, noise=NOISY)
    copy.load(first)

    assert first == copy.save()


@pytest.mark.parametrize(("users", "batch"), [(2, 1), (4, 1), (3, 2)])
def test_a_simulation_of_other_size_is_refused(make_simulation: Any, users: int, batch: int) -> None:
    """Fewer devices, more devices, more sites."""
    saved = make_simulation(3, happening=HAPPENING).save()

    with pytest.raises(ValueError, match="another number of devices"):
        make_simulation(users, happening=HAPPENING, batch=batch).load(saved)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"round": -1}, ValueError),
        ({"round": "many"}, ValueError),
        ({"busy": None}, ValueError),
        ({"noise": {"next": 0}}, KeyError),
        ({"load": None}, TypeError),
    ],
)
def test_what_contradicts_itself_is_refused(
    make_simulation: Any, change: dict[str, Any], error: type[Exception]
) -> None:
    """With the errors that `load` names, so that a training can say which file it was."""
    simulation = make_simulation(3, happening=HAPPENING)
    with pytest.raises(error):
        simulation.load({**simulation.save(), **change})


@pytest.mark.parametrize("taken", [-1, 10**9])
def test_a_place_outside_its_block_is_refused(make_simulation: Any, taken: int) -> None:
    """A block is not drawn to its billionth row."""
    simulation = make_simulation(3, noise=NOISY)
    saved = simulation.save()
    saved["noise"]["next"] = taken

    with pytest.raises(ValueError, match="of a block of 1365"):
        simulation.load(saved)
