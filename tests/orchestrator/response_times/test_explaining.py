"""Why one device was told its action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.agent import Bound, Reason
from orchestrator.response_times.explaining import Decided
from orchestrator.response_times.view import Belief, View
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL, Problem

ANY = {EDGE: 99, CLOUD: 99}
LOCAL_MS = [460.0, 260, 150, 75, 230, 155, 100, 72]


def _belief(devices: int, edge_ms: list[float], cloud_ms: float = 5000.0) -> Belief:
    """Local times as in LOCAL_MS; `edge_ms` for 1, 2, ... sharers; 10 % and 20 ms of deviation."""
    own_ms = np.array([[*LOCAL_MS, 0.0, 0.0]] * devices)
    own_sd = np.array([[0.1] * 8 + [12.0, 12.0]] * devices)
    shared_ms = np.array([[0.0, *edge_ms], [cloud_ms] * (devices + 1)])
    return Belief(own_ms, own_sd, shared_ms, np.full(shared_ms.shape, 16.0))


def _decided(seen: View, belief: Belief, columns: list[int], **changes: Any) -> Decided:
    settings: dict[str, Any] = {"best": np.array(columns), "forced": {}, "limits": ANY, **changes}
    return Decided(seen, belief, np.array(columns), **settings)


def test_the_numbers_are_those_of_the_problem(view: Callable[..., View]) -> None:
    """Own time and the best alternative's, over random beliefs, by summing each joint action anew."""
    seen, random = view(4, 850), np.random.default_rng(3)
    for _ in range(30):
        own_ms = random.uniform(50, 500, (4, 10))
        shared_ms = np.sort(random.uniform(0, 300, (2, 5)), axis=1)
        belief = Belief(own_ms, np.full((4, 10), 0.1), shared_ms, np.ones((2, 5)))
        problem = Problem(own_ms, seen.tier, seen.deficits, shared_ms, seen.budget)
        columns = random.choice([0, 1, 4, 5, 8, 9], 4)
        place = int(random.integers(4))
        why = _decided(seen, belief, columns.tolist()).why(place)
        sums = {}
        for column in range(10):
            joint = [*columns[:place], column, *columns[place + 1 :]]
            if column != columns[place] and problem.feasible(joint):
                sums[column] = problem.total_ms(joint)
        rival = min(sums, key=sums.__getitem__)
        on = [int((seen.tier[columns] == tier).sum()) for tier in (LOCAL, EDGE, CLOUD)]
        tier = int(seen.tier[columns[place]])

        assert seen.columns[columns[place]] == why.action
        assert seen.columns[rival] == why.runner_up
        expected_ms = own_ms[place, columns[place]] + (shared_ms[tier - 1, on[tier]] if tier else 0.0)
        assert expected_ms == pytest.approx(why.predicted_ms)
        without = problem.total_ms(columns.tolist()) - sums[rival]
        assert without == pytest.approx(_change(problem, columns, place, rival))


def _change(problem: Problem, columns: Any, place: int, rival: int) -> float:
    """By how much the sum falls if one device does `rival`: its own change and that of all who share a tier."""
    moved = columns.copy()
    moved[place] = rival
    before, after = (
        sum(
            problem.own_ms[i, a]
            + (problem.shared_ms[problem.tier[a] - 1, (problem.tier[joint] == problem.tier[a]).sum()] * (a >= 8))
            for i, a in enumerate(joint)
        )
        for joint in (columns, moved)
    )
    return float(before - after)


def test_deviations_are_in_ms(view: Callable[..., View]) -> None:
    """10 % of a local time; own and shared together on a tier."""
    seen = view(2)
    decided = _decided(seen, _belief(2, [100.0, 120.0]), [0, 8])

    assert 460.0 * np.expm1(0.1) == pytest.approx(decided.why(0).sd_ms)
    assert 20.0 == pytest.approx(decided.why(1).sd_ms)


@pytest.mark.parametrize(("floor", "bounds"), [(899, (Bound.FLOOR,)), (0, ())])
def test_the_floor_keeps_a_device_from_something_faster(
    view: Callable[..., View], floor: int, bounds: tuple[Bound, ...]
) -> None:
    """d7 would take 72 ms instead of 460; with no floor, doing d7 leaves nothing faster."""
    seen = view(2, floor)
    decided = _decided(seen, _belief(2, [600.0, 900.0]), [0, 0] if floor else [7, 7])

    assert bounds == decided.why(0).bounds


def test_load_keeps_a_device_from_something_faster(view: Callable[..., View]) -> None:
    """400 ms on the edge against 460 locally, but the one who is there would take 300 ms longer."""
    seen = view(2, 899)
    assert (Bound.FLOOR, Bound.LOAD) == _decided(seen, _belief(2, [100.0, 400.0]), [0, 8]).why(0).bounds
    assert (Bound.FLOOR,) == _decided(seen, _belief(2, [100.0, 490.0]), [0, 8]).why(0).bounds


def test_entry_keeps_a_device_from_something_faster(view: Callable[..., View]) -> None:
    """The edge would be faster for both, but takes one only, or is dead."""
    seen, belief = view(2, 899), _belief(2, [100.0, 110.0])

    assert Bound.ENTRY in _decided(seen, belief, [0, 8], limits={EDGE: 1, CLOUD: 0}).why(0).bounds
    assert Bound.ENTRY in _decided(seen, belief, [0, 0], limits={EDGE: 0, CLOUD: 0}).why(0).bounds
    assert Bound.ENTRY not in _decided(seen, belief, [0, 8]).why(0).bounds
    assert (Bound.ENTRY,) == _decided(view(2), _belief(2, [10.0, 11.0]), [7, 8], limits={EDGE: 1}).why(0).bounds


def test_what_is_bound_is_no_runner_up(view: Callable[..., View]) -> None:
    """Neither what breaks the floor nor what a full tier would be; None if nothing is left."""
    seen, belief = view(2, 899), _belief(2, [100.0, 110.0], cloud_ms=300.0)
    why = _decided(seen, belief, [0, 8], limits={EDGE: 1, CLOUD: 1}).why(0)

    assert (seen.columns[9], 300.0) == (why.runner_up, why.runner_up_ms)
    why = _decided(seen, belief, [0, 8], limits={EDGE: 1, CLOUD: 0}).why(0)
    assert (None, None, None) == (why.runner_up, why.runner_up_ms, why.runner_up_sd_ms)


def test_the_reasons(view: Callable[..., View]) -> None:
    """Best, uncertain, a probe, and held by an earlier decision, one device each."""
    seen, belief = view(4), _belief(4, [100.0] * 4)
    decided = _decided(seen, belief, [7, 8, 8, 3], best=np.array([7, 7, 7, 7]), forced={2: EDGE}, held=frozenset({3}))

    assert [Reason.BEST, Reason.UNCERTAIN, Reason.PROBE, Reason.HELD] == [decided.why(at).reason for at in range(4)]


def test_all_at_once_it_says_what_it_says_one_by_one(view: Callable[..., View]) -> None:
    """Over random beliefs, decisions, limits and probes."""
    seen, random = view(6, 850), np.random.default_rng(4)
    for _ in range(30):
        own_ms = random.uniform(50, 500, (6, 10))
        belief = Belief(own_ms, random.uniform(0, 0.3, (6, 10)), random.uniform(0, 300, (2, 7)), np.ones((2, 7)))
        columns, best = random.integers(0, 10, (2, 6))
        limits = {EDGE: int(random.integers(0, 7)), CLOUD: int(random.integers(0, 7))}
        decided = Decided(seen, belief, columns, best, {int(random.integers(6)): EDGE}, limits)

        for one, together in zip(map(decided.why, range(6)), decided.whys(), strict=True):
            figures = ("predicted_ms", "sd_ms", "runner_up_ms", "runner_up_sd_ms")
            assert [getattr(one, name) for name in figures] == pytest.approx(
                [getattr(together, name) for name in figures]
            )
            words = ("action", "runner_up", "bounds", "reason")
            assert [getattr(one, name) for name in words] == [getattr(together, name) for name in words]
