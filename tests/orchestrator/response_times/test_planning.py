"""From beliefs to decision problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.response_times.planning import LEAST, cautious, costs, expected, hoped, times_ms, with_forced
from orchestrator.response_times.probing import TierRecord
from orchestrator.response_times.shared_round import Leap
from orchestrator.response_times.view import Belief, View
from orchestrator.solver.bounded import solve_within
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL, Problem

FREE = {EDGE: TierRecord(entered=50), CLOUD: TierRecord(entered=50)}


def _belief(seen: View, seed: int = 1) -> Belief:
    """Any: own times on edge and cloud are differences, so some are negative."""
    random = np.random.default_rng(seed)
    local = seen.tier == LOCAL
    own_ms = np.where(local, random.uniform(50, 500, seen.able.shape), random.uniform(-60, 60, seen.able.shape))
    own_sd = np.where(local, random.uniform(0, 2, seen.able.shape), random.uniform(0, 300, seen.able.shape))
    shared_ms = np.sort(random.uniform(100, 900, (2, len(seen.rows) + 1)), axis=1)
    return Belief(np.where(seen.able, own_ms, np.inf), own_sd, shared_ms, random.uniform(0, 400, shared_ms.shape))


def _hoped(seen: View, belief: Belief, width: float, tiers: dict[int, TierRecord] = FREE) -> Problem:
    """Everything `width` deviations faster, each by itself."""
    leaps = {
        tier: Leap(-width * belief.shared_sd[tier - 1], -width * belief.own_sd[:, seen.tier == tier])
        for tier in (EDGE, CLOUD)
    }
    return hoped(seen, belief, tiers, width, leaps)


def _joints(seen: View, seed: int = 2) -> list[Any]:
    random = np.random.default_rng(seed)
    return [np.array([random.choice(np.flatnonzero(able)) for able in seen.able]) for _ in range(50)]


def test_expected_sums_are_those_believed_in(view: Callable[..., View]) -> None:
    """Of any joint action, also where a device is faster than others on a tier: its own time is below 0 there."""
    seen = view(4)
    belief = _belief(seen)
    for columns in _joints(seen):
        assert times_ms(seen, belief, columns).sum() == pytest.approx(expected(seen, belief).total_ms(columns.tolist()))


def test_without_optimism_times_are_hoped_for_as_expected(view: Callable[..., View]) -> None:
    """Where tiers take any number, every joint action has the sum believed in."""
    seen = view(4)
    belief = _belief(seen)
    problem = hoped(seen, belief, FREE, 0.0, cautious(seen, belief, 0.0))
    for columns in _joints(seen):
        assert times_ms(seen, belief, columns).sum() == pytest.approx(problem.total_ms(columns.tolist()))


@pytest.mark.parametrize("width", [0.0, 1.0, 5.0, 50.0])
def test_no_time_is_hoped_for_below_nothing(view: Callable[..., View], width: float) -> None:
    """However wide the optimism; a tier keeps a share of what is expected of it, and its curve does not fall."""
    seen = view(4)
    for seed in range(20):
        belief = _belief(seen, seed)
        problem = _hoped(seen, belief, width)
        assert (problem.own_ms >= 0).all()
        assert (problem.shared_ms[:, 1:] >= LEAST * belief.shared_ms[:, 1:] - 1e-9).all()


def test_optimism_hopes_for_less(view: Callable[..., View]) -> None:
    """The wider, the less each joint action takes; caution makes it more."""
    seen = view(3)
    any_belief = _belief(seen)
    belief = Belief(any_belief.own_ms, any_belief.own_sd / 50, any_belief.shared_ms, any_belief.shared_sd / 50)
    wide, narrow = _hoped(seen, belief, 2.0), _hoped(seen, belief, 0.5)
    careful = hoped(seen, belief, FREE, -0.5, cautious(seen, belief, 0.5))
    for columns in _joints(seen):
        sums = [problem.total_ms(columns.tolist()) for problem in (wide, narrow, careful)]
        assert sums[0] < sums[1] < times_ms(seen, belief, columns).sum() < sums[2]


def test_tiers_take_what_the_schedule_allows(view: Callable[..., View]) -> None:
    """The edge twice as many as it had, a dead cloud nobody; whatever the optimism."""
    seen = view(5)
    tiers = {EDGE: TierRecord(entered=1), CLOUD: TierRecord(entered=4, rest=8)}
    shared_ms = _hoped(seen, _belief(seen), 9.0, tiers).shared_ms

    assert [True, True, False, False, False] == np.isfinite(shared_ms[EDGE - 1, 1:]).tolist()
    assert not np.isfinite(shared_ms[CLOUD - 1, 1:]).any()


def test_what_a_device_cannot_do_stays_impossible(view: Callable[..., View]) -> None:
    """One without local models, one without cloud; in expectation and in hope."""
    full = view(1).observation.actions[0]
    seen = view(3, actions=[full, full[8:], full[:9]])
    belief = _belief(seen)
    for problem in (expected(seen, belief), _hoped(seen, belief, 3.0)):
        assert (np.isfinite(problem.own_ms) == seen.able).all()


def test_forced_devices_are_where_they_should_be(view: Callable[..., View]) -> None:
    """On a tier that is dead, and locally; the floor still holds, and others stay off what is dead."""
    seen = view(4, 890)
    tiers = {EDGE: TierRecord(entered=4, rest=8), CLOUD: TierRecord(entered=2)}
    problem = with_forced(_hoped(seen, _belief(seen), 1.0, tiers), {2: EDGE, 0: LOCAL})
    found = solve_within(problem)
    on = seen.tier[list(found.actions)].tolist()

    assert (EDGE, LOCAL, 1) == (on[2], on[0], on.count(EDGE))
    assert seen.deficits[list(found.actions)].sum() <= seen.budget


def test_two_may_be_forced_onto_a_tier_that_takes_one(view: Callable[..., View]) -> None:
    """Probes with two devices, after a single one was served."""
    seen = view(3)
    problem = with_forced(
        _hoped(seen, _belief(seen), 0.0, {EDGE: TierRecord(), CLOUD: TierRecord()}), {0: EDGE, 1: EDGE}
    )

    assert np.isfinite(problem.shared_ms[EDGE - 1, 1:]).tolist() == [True, True, False]


def test_a_probe_costs_what_it_changes_for_its_device(view: Callable[..., View]) -> None:
    """On edge and cloud with the others staying put; locally with its most accurate model, d0."""
    seen = view(4)
    belief = _belief(seen)
    columns = np.array([8, 8, 3, 9])
    found = costs(seen, belief, columns)
    now_ms = times_ms(seen, belief, columns)

    assert now_ms.sum() == pytest.approx(found.total_ms)
    assert [EDGE, EDGE, LOCAL, CLOUD] == found.best.tolist()
    for place in range(4):
        for tier, column in ((LOCAL, 0), (EDGE, 8), (CLOUD, 9)):
            moved = columns.copy()
            moved[place] = column
            expected_ms = times_ms(seen, belief, moved)[place] - now_ms[place]
            assert expected_ms == pytest.approx(found.ms[place, tier]), (place, tier)


def test_what_a_device_has_not_costs_without_bound(view: Callable[..., View]) -> None:
    """No local model on one device, no cloud on another."""
    full = view(1).observation.actions[0]
    seen = view(3, actions=[full, full[8:], full[:9]])
    ms = costs(seen, _belief(seen), np.array([0, 8, 8])).ms

    assert [(1, LOCAL), (2, CLOUD)] == list(zip(*np.nonzero(~np.isfinite(ms)), strict=True))
