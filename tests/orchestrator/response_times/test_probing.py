"""The schedule of probes and entries."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.response_times.probing import LONGEST_REST, RECENT, Costs, Schedule
from orchestrator.response_times.view import Noted, View
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL

COLUMN = {LOCAL: 0, EDGE: 8, CLOUD: 9}


def _costs(best: list[int], **of_tiers: Any) -> Costs:
    """Every device takes 100 ms; other tiers cost what is said more, `local`, `edge`, `cloud`."""
    ms = np.zeros((len(best), 3))
    for place, name in enumerate(("local", "edge", "cloud")):
        ms[:, place] = of_tiers.get(name, 0.0)
    return Costs(ms, np.array(best), 100.0 * len(best))


def _forced(schedule: Schedule, view: View, costs: Costs, now: int) -> dict[int, int]:
    return schedule.forced(view, costs, now, np.arange(len(view.rows)))


def _play(schedule: Schedule, view: View, tiers: list[int], now: int, answered: dict[int, int] | None = None) -> None:
    """A round in which the devices were on these tiers; all answered, or so many."""
    noted = Noted()
    for tier in (EDGE, CLOUD):
        if tier in tiers:
            noted.sharers[tier] = tiers.count(tier)
            noted.answered[tier] = (answered or {}).get(tier, tiers.count(tier))
    schedule.note(view, np.array([COLUMN[tier] for tier in tiers]), noted, now)


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(every=8, share=0.01)


def test_a_tier_is_entered_by_doubling(schedule: Schedule, view: Callable[..., View]) -> None:
    """One, two, four, eight; fewer than before change nothing."""
    seen, allowed = view(8), []
    for now, sharers in enumerate((1, 2, 4, 1, 8), 1):
        allowed.append(schedule.tiers[EDGE].most)
        _play(schedule, seen, [EDGE] * sharers + [LOCAL] * (8 - sharers), now)

    assert [1, 2, 4, 8, 8] == allowed
    assert (16, 1) == (schedule.tiers[EDGE].most, schedule.tiers[CLOUD].most)


def test_a_dead_tier_rests_longer_each_time(schedule: Schedule, view: Callable[..., View]) -> None:
    """Asked by one device after 8, 16, 32, ... rounds, up to 256; between, by none."""
    seen, now, rests = view(4), 1, []
    _play(schedule, seen, [EDGE, EDGE, LOCAL, LOCAL], now, {EDGE: 0})
    for _ in range(7):
        assert schedule.tiers[EDGE].dead
        began = now
        while not (forced := _forced(schedule, seen, _costs([LOCAL] * 4, cloud=np.inf), now)):
            now += 1
            _play(schedule, seen, [LOCAL] * 4, now)
        rests.append(now - began)
        assert [EDGE] == list(forced.values())
        _play(schedule, seen, [EDGE, LOCAL, LOCAL, LOCAL], now, {EDGE: 0})

    assert [8, 16, 32, 64, 128, LONGEST_REST, LONGEST_REST] == rests


def test_a_dead_tier_that_answers_lives(schedule: Schedule, view: Callable[..., View]) -> None:
    """As many as before may be sent there, and the next rest is the shortest again."""
    seen = view(4)
    _play(schedule, seen, [EDGE] * 4, 1)
    _play(schedule, seen, [EDGE] * 4, 2, {EDGE: 0})
    _play(schedule, seen, [EDGE, LOCAL, LOCAL, LOCAL], 10)
    record = schedule.tiers[EDGE]

    assert (False, 8) == (record.dead, record.most)
    _play(schedule, seen, [EDGE] * 4, 11, {EDGE: 0})
    assert 11 + 8 == record.asked_again


def test_a_dead_tier_that_was_gone_is_entered_at_once(schedule: Schedule, view: Callable[..., View]) -> None:
    """No device had the edge among its actions; then it is back, perhaps another node."""
    seen, full = view(2), view(2).observation.actions[0]
    without = view(2, actions=[full[:8] + full[9:]] * 2)
    _play(schedule, seen, [EDGE, EDGE], 1, {EDGE: 0})
    _forced(schedule, without, _costs([LOCAL, LOCAL], edge=np.inf), 2)
    assert schedule.tiers[EDGE].dead
    _forced(schedule, seen, _costs([LOCAL, LOCAL]), 3)

    assert not schedule.tiers[EDGE].dead


@pytest.mark.parametrize(("answered", "entered"), [(8, 8), (7, 8), (4, 2), (1, 2)])
def test_an_overloaded_tier_is_entered_anew(
    schedule: Schedule, view: Callable[..., View], answered: int, entered: int
) -> None:
    """From a quarter of its sharers, if more than a fifth of them had no result."""
    seen = view(8)
    _play(schedule, seen, [EDGE] * 8, 1)
    _play(schedule, seen, [EDGE] * 8, 2, {EDGE: answered})

    assert (entered, False) == (schedule.tiers[EDGE].entered, schedule.tiers[EDGE].dead)


def test_an_idle_tier_is_probed_with_one_and_two_devices_in_turn(schedule: Schedule, view: Callable[..., View]) -> None:
    """Every eight rounds, where it costs nothing; by those for whom it is cheapest."""
    seen, probes = view(6), []
    costs = _costs([LOCAL] * 6, edge=np.array([5.0, 4, 3, 0, 0, 1]), cloud=np.inf)
    _play(schedule, seen, [EDGE, *[LOCAL] * 5], 1)
    schedule.tiers[EDGE].load = 1
    for now in range(2, 50):
        forced = _forced(schedule, seen, costs, now)
        tiers = [forced.get(place, LOCAL) for place in range(6)]
        _play(schedule, seen, tiers, now)
        if forced:
            probes.append((now, sorted(forced)))

    assert [(10, [3]), (19, [3, 4]), (28, [3]), (37, [3, 4]), (46, [3])] == probes


def test_what_was_never_entered_is_not_probed(schedule: Schedule, view: Callable[..., View]) -> None:
    """Optimism enters it."""
    assert {} == _forced(schedule, view(4), _costs([LOCAL] * 4), 1000)


@pytest.mark.parametrize(("cost_ms", "expected"), [(0.0, 8), (-50.0, 8), (20.0, 20), (200.0, 200)])
def test_dear_probes_are_rare(schedule: Schedule, view: Callable[..., View], cost_ms: float, expected: int) -> None:
    """One device of a site of one, 100 ms in all: what costs 200 ms more waits 200 rounds for its share of 1 %."""
    seen = view(1)
    costs = _costs([LOCAL], edge=cost_ms, cloud=np.inf)
    _play(schedule, seen, [EDGE], 1)
    schedule.tiers[EDGE].load = 1
    waited = next(now for now in range(2, 400) if _forced(schedule, seen, costs, now)) - 1

    assert expected + 1 == waited


def test_what_changed_lately_is_probed_without_patience(schedule: Schedule, view: Callable[..., View]) -> None:
    """However dear, every eight rounds, until the change is no longer recent."""
    seen, costs = view(1), _costs([LOCAL], edge=1e6, cloud=np.inf)
    _play(schedule, seen, [EDGE], 1)
    schedule.note(seen, np.array([0]), Noted(changed_tiers=[EDGE]), 2)

    assert {0: EDGE} == _forced(schedule, seen, costs, 11)
    assert {} == _forced(schedule, seen, costs, 2 + RECENT)


def test_a_device_that_offloads_is_probed_locally(schedule: Schedule, view: Callable[..., View]) -> None:
    """After eight rounds; at most a fifth of the site in one round, the longest idle first."""
    seen, probes = view(10), []
    for now in range(1, 30):
        forced = _forced(schedule, seen, _costs([EDGE] * 10, cloud=np.inf), now)
        probes.append(sorted(place for place, tier in forced.items() if tier == LOCAL))
        _play(schedule, seen, [forced.get(place, EDGE) for place in range(10)], now)

    assert [[]] * 9 + [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]] == probes[:14]
    assert all(len(places) <= 2 for places in probes)


def test_what_looked_strange_is_looked_at_again_at_once(schedule: Schedule, view: Callable[..., View]) -> None:
    """A tier and a device, in the very next round, and no longer once they look right."""
    seen = view(5)
    costs = _costs([EDGE] * 5, local=1e5, cloud=1e5)
    _play(schedule, seen, [EDGE, EDGE, CLOUD, LOCAL, EDGE], 1)
    schedule.note(seen, np.array([8, 8, 9, 0, 8]), Noted(suspect_devices=[3], suspect_tiers=[CLOUD]), 2)
    forced = _forced(schedule, seen, costs, 3)

    assert LOCAL == forced.pop(3)
    assert [CLOUD] == list(forced.values())
    _play(schedule, seen, [EDGE, EDGE, CLOUD, LOCAL, EDGE], 3)
    assert {} == _forced(schedule, seen, costs, 4)


def test_a_suspect_comes_before_what_is_merely_due(schedule: Schedule, view: Callable[..., View]) -> None:
    """One of five may be probed at once: the strange one, though others have not run locally for longer."""
    seen = view(5)
    _play(schedule, seen, [LOCAL] * 5, 1)
    schedule.note(seen, np.array([8, 8, 8, 0, 8]), Noted(suspect_devices=[3]), 30)

    assert {3: LOCAL} == _forced(schedule, seen, _costs([EDGE] * 5, edge=0.0, cloud=np.inf), 31)


@pytest.mark.parametrize("rounds", [0, 1, 40])
def test_saved_and_loaded_it_goes_on_exactly(schedule: Schedule, view: Callable[..., View], rounds: int) -> None:
    """Through JSON, after as many rounds."""
    seen, copy = view(4), Schedule(8, 0.01)
    costs = _costs([EDGE, LOCAL, LOCAL, LOCAL], local=3.0, edge=1.0, cloud=2.0)
    for now in range(rounds):
        _play(schedule, seen, [EDGE, CLOUD, LOCAL, LOCAL], now, {CLOUD: now % 3})
    copy.load(json.loads(json.dumps(schedule.save())))
    for now in range(rounds, rounds + 60):
        forced = _forced(schedule, seen, costs, now)
        assert forced == _forced(copy, seen, costs, now)
        for either in (schedule, copy):
            _play(either, seen, [forced.get(place, LOCAL) for place in range(4)], now, {CLOUD: now % 2})


def test_what_cannot_have_been_saved_is_refused(schedule: Schedule) -> None:
    """A tier missing, a field unknown or no number, rows of another number."""
    saved = schedule.save()
    edge = saved["tiers"]["1"]
    broken = [
        {**saved, "tiers": {"1": edge}},
        {**saved, "tiers": {**saved["tiers"], "1": {**edge, "more": 1}}},
        {**saved, "tiers": {**saved["tiers"], "1": {**edge, "entered": "x"}}},
        {**saved, "tiers": {**saved["tiers"], "1": {**edge, "rest": None}}},
        {**saved, "ran": [1]},
        {**saved, "suspects": ["x"]},
    ]
    for wrong in broken:
        with pytest.raises((KeyError, TypeError, ValueError)):
            Schedule(8, 0.01).load(wrong)
