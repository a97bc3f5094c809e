"""Whose missing result, or strange time, says something of a tier, and whose is the device's own fault."""

from __future__ import annotations

import json

import numpy as np
import pytest

from orchestrator.response_times.reporters import Reporters
from orchestrator.solver.problem import EDGE

ROWS = np.arange(3)


def _away(reporters: Reporters) -> list[int]:
    return np.flatnonzero(reporters.kept_away(ROWS, EDGE)).tolist()


def test_one_device_alone_makes_no_tier_dead() -> None:
    """However often its results are missing: it is kept away, and another one is to try."""
    reporters = Reporters()
    verdicts = [reporters.judge(EDGE, [], [0]) for _ in range(5)]

    assert not any(verdict.dead for verdict in verdicts)
    assert verdicts[0].doubtful
    assert [0] == _away(reporters)


@pytest.mark.parametrize("missed", [[[0, 1]], [[0], [1]]])
def test_two_devices_make_a_tier_dead(missed: list[list[int]]) -> None:
    """In one round or one after the other, and then neither is kept away: the tier is."""
    reporters = Reporters()
    verdicts = [reporters.judge(EDGE, [], rows) for rows in missed]

    assert verdicts[-1].dead
    assert [] == _away(reporters)


def test_a_result_between_two_missing_ones_keeps_a_tier_alive() -> None:
    """Device 1 was served after device 0 was not."""
    reporters = Reporters()
    reporters.judge(EDGE, [], [0])
    reporters.judge(EDGE, [1], [])

    assert not reporters.judge(EDGE, [], [2]).dead


def test_a_liar_that_was_contradicted_twice_is_no_witness() -> None:
    """With it one honest missing result would make the tier dead; without it, it does not."""
    reporters = Reporters()
    for _ in range(2):
        reporters.judge(EDGE, [], [0])
        reporters.judge(EDGE, [1], [])
    reporters.judge(EDGE, [], [0])

    assert not reporters.judge(EDGE, [], [2]).dead


def test_a_device_is_kept_away_for_twice_as_long_each_time() -> None:
    """For 8 rounds, then 16; then it may try again."""
    reporters, lasted = Reporters(), []
    for _ in range(2):
        reporters.judge(EDGE, [], [0])
        lasted.append(0)
        while _away(reporters):
            reporters.advance(1.0)
            lasted[-1] += 1

    assert [8, 16] == lasted


def _held(reporters: Reporters, row: int, ms: float) -> int:
    usual = np.array([100.0])
    return int(reporters.held_back(EDGE, np.array([row]), np.array([ms]), usual, usual, np.array([5.0]))[0])


@pytest.mark.parametrize(("ms", "sign"), [(100_000.0, 1), (0.1, -1), (250.0, 0)])
def test_absurd_times_of_one_device_are_held_back(ms: float, sign: int) -> None:
    """Another device's times were as expected before."""
    reporters = Reporters()
    _held(reporters, 1, 100.0)

    assert [sign] * 3 == [_held(reporters, 0, ms) for _ in range(3)]


def test_absurd_times_of_two_devices_count() -> None:
    """The tier has changed: the second device's counts, and from then on the first one's."""
    reporters = Reporters()
    _held(reporters, 2, 100.0)

    assert [1, 0, 0] == [_held(reporters, row, 5000.0) for row in (0, 1, 0)]


def test_the_only_device_on_a_tier_is_believed() -> None:
    """There is nobody to compare it with."""
    reporters = Reporters()
    _held(reporters, 0, 100.0)

    assert 0 == _held(reporters, 0, 5000.0)


def test_what_is_kept_goes_on_as_before() -> None:
    """Saved as JSON and loaded, the next verdicts are the same."""
    reporters, loaded = Reporters(), Reporters()
    reporters.judge(EDGE, [], [0])
    _held(reporters, 1, 100.0)
    loaded.load(json.loads(json.dumps(reporters.save())))

    assert [0] == _away(loaded)
    assert reporters.judge(EDGE, [], [1]) == loaded.judge(EDGE, [], [1])
