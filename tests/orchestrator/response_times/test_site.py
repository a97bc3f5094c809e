"""All response times of one site: what reports teach, and what they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Link
from configs.orchestrator import StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.response_times.site import SiteTimes
from orchestrator.response_times.view import Belief, View
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL
from orchestrator.state import Resources, SystemState


def _learn(times: SiteTimes, seen: View, columns: list[int], given_ms: list[float | None], told: Any = None) -> Any:
    as_told = np.ones(len(columns), dtype=bool) if told is None else np.array(told)
    return times.learn(seen, np.array(columns), given_ms, as_told)


def _same(one: Belief, other: Belief) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("own_ms", "own_sd", "shared_ms", "shared_sd")
    )


def test_a_view_has_the_observations_numbers(view: Callable[..., View]) -> None:
    """Columns local first, deficits in tenths, the budget of all devices in integers."""
    seen = view(3, 890)

    assert [LOCAL] * 8 + [EDGE, CLOUD] == seen.tier.tolist()
    assert [0, 17, 50, 157, 10, 29, 67, 171, 0, 0] == seen.deficits.tolist()
    assert (3 * 9, True) == (seen.budget, seen.able.all())


def test_actions_that_only_some_devices_have(view: Callable[..., View]) -> None:
    """No local models on one, no cloud on another; where nobody has d0 the best there is counts as 0 deficit."""
    full = view(1).observation.actions[0]
    seen = view(3, actions=[full[8:], full[:9], full[3:4]])
    assert [2, 9, 1] == seen.able.sum(axis=1).tolist()

    seen = view(2, 850, actions=[full[1:4], full[2:4]])
    assert ([0, 33, 140], 2 * 32) == (seen.deficits.tolist(), seen.budget)


def test_the_mean_over_the_sharers_is_learned_first_in_first_out(times: SiteTimes, view: Callable[..., View]) -> None:
    """Served first in, first out, the last of five takes five times as long as the first: that is neither noise nor
    an outlier, and the mean is learned to 1 %."""
    seen, random = view(5), np.random.default_rng(1)
    for _ in range(12):
        given_ms: list[float | None] = [300.0 * 2 * place / 6 for place in random.permutation(5) + 1]
        noted = _learn(times, seen, [8] * 5, given_ms)
        assert not noted.suspect_tiers
    belief = times.believe(seen)

    assert 300.0 == pytest.approx(belief.shared_ms[EDGE - 1, 5] + belief.own_ms[0, 8], rel=0.01)
    assert belief.shared_sd[EDGE - 1, 5] < 6.0


def test_one_outlier_among_sharers_is_left_out_of_their_mean(times: SiteTimes, view: Callable[..., View]) -> None:
    """In every other round; the rest of the round counts as ever."""
    seen = view(4)
    for place in range(8):
        _learn(times, seen, [8] * 4, [200.0, 200.0, 200.0, 2000.0 if place % 2 else 200.0])

    assert 200.0 == pytest.approx(times.believe(seen).shared_ms[EDGE - 1, 4], rel=0.01)


@pytest.mark.parametrize("wrong", ["missing", "fallen back", "no time"])
def test_local_reports_that_are_not_what_was_told_teach_nothing(
    times: SiteTimes, view: Callable[..., View], wrong: str
) -> None:
    """Late or lost, another action than told, or a time of 0: no belief changes."""
    seen = view(2)
    for _ in range(5):
        _learn(times, seen, [0, 3], [300.0, 80.0])
    before = times.believe(seen)
    given_ms: list[float | None] = {"missing": [None] * 2, "fallen back": [9000.0] * 2, "no time": [0.0] * 2}[wrong]
    noted = _learn(times, seen, [0, 3], given_ms, [wrong != "fallen back"] * 2)

    assert _same(before, times.believe(seen))
    assert not noted.suspect_devices


def test_a_device_that_fell_back_does_not_teach_its_tier(times: SiteTimes, view: Callable[..., View]) -> None:
    """Its time contains the failure: nobody of the edge answered, and nothing is believed otherwise."""
    seen = view(3)
    for _ in range(5):
        _learn(times, seen, [8, 8, 0], [200.0, 200.0, 300.0])
    before = times.believe(seen)
    noted = _learn(times, seen, [8, 8, 8], [9000.0] * 3, [False] * 3)

    assert _same(before, times.believe(seen))
    assert ({EDGE: 3}, {EDGE: 0}) == (noted.sharers, noted.answered)


def test_sharers_without_a_result_make_no_tier_faster(times: SiteTimes, view: Callable[..., View]) -> None:
    """Only the two fastest of four came in time: an average of those would halve what is believed."""
    seen = view(4)
    for _ in range(6):
        _learn(times, seen, [8] * 4, [100.0, 200.0, 300.0, 400.0])
    for _ in range(6):
        noted = _learn(times, seen, [8] * 4, [100.0, 120.0, None, None])

    assert 250.0 == pytest.approx(times.believe(seen).shared_ms[EDGE - 1, 4], rel=0.02)
    assert {EDGE: 2} == noted.answered


def test_sharers_without_a_result_were_slower_than_all_that_came(times: SiteTimes, view: Callable[..., View]) -> None:
    """Where those that came already took twice as long as is believed, the mean of all is at least that."""
    seen = view(4)
    for _ in range(6):
        _learn(times, seen, [8] * 4, [250.0] * 4)
    for _ in range(8):
        _learn(times, seen, [8] * 4, [600.0, 600.0, None, None])

    assert 600.0 == pytest.approx(times.believe(seen).shared_ms[EDGE - 1, 4], rel=0.1)


def test_a_changed_device_is_found_and_nobody_else(times: SiteTimes, view: Callable[..., View]) -> None:
    """Twice as slow within four rounds; its peer and the edge are believed in as before."""
    seen, random, changed = view(3), np.random.default_rng(2), []
    for place in range(24):
        factor = 2.0 if place >= 20 else 1.0
        given_ms: list[float | None] = list(np.array([300.0 * factor, 300.0, 200.0]) * random.normal(1, 0.02, 3))
        changed += _learn(times, seen, [0, 0, 8], given_ms).changed_devices
    belief = times.believe(seen)

    assert [0] == changed
    assert [600.0, 300.0] == pytest.approx(belief.own_ms[:2, 0].tolist(), rel=0.06)
    assert 200.0 == pytest.approx(belief.shared_ms[EDGE - 1, 1], rel=0.03)


def test_a_changed_tier_is_found_and_nothing_else(times: SiteTimes, view: Callable[..., View]) -> None:
    """The edge takes 150 ms longer: found within four rounds; cloud and devices stay as they were."""
    seen, random, changed = view(4), np.random.default_rng(2), []
    for place in range(24):
        more_ms = 150.0 if place >= 20 else 0.0
        given_ms: list[float | None] = list(
            np.array([200.0 + more_ms, 200.0 + more_ms, 250.0, 300.0]) * random.normal(1, 0.02, 4)
        )
        noted = _learn(times, seen, [8, 8, 9, 0], given_ms)
        assert not noted.changed_devices
        changed += noted.changed_tiers
    belief = times.believe(seen)

    assert [EDGE] == changed
    assert 350.0 == pytest.approx(belief.shared_ms[EDGE - 1, 2], rel=0.04)
    assert 250.0 == pytest.approx(belief.shared_ms[CLOUD - 1, 1], rel=0.04)
    assert 300.0 == pytest.approx(belief.own_ms[3, 0], rel=0.04)


def test_link_and_load_are_classes_of_their_own(times: SiteTimes, view: Callable[..., View]) -> None:
    """A weak link costs 40 ms on the edge; a busy device takes twice as long: each is told apart."""
    idle = view(2).observation
    weak = Resources(5.0, 20.0, Link.WEAK)
    busy = Resources(95.0, 20.0, Link.REGULAR)
    state = SystemState(idle.state.edge, idle.state.cloud, (weak, busy))
    mixed = times.view(replace(idle, state=state))
    for _ in range(8):
        _learn(times, times.view(idle), [8, 0], [200.0, 300.0])
        _learn(times, mixed, [8, 0], [240.0, 600.0])
        _learn(times, times.view(idle), [0, 8], [300.0, 200.0])
    plain, other = times.believe(times.view(idle)), times.believe(mixed)

    assert 40.0 == pytest.approx(other.own_ms[0, 8] - other.own_ms[1, 8], abs=12.0)
    assert (0.0, 2.0) == (plain.own_ms[0, 8] - plain.own_ms[1, 8], pytest.approx(other.own_ms[1, 0] / 300.0, rel=0.05))


def test_who_left_is_known_when_it_comes_back(times: SiteTimes, view: Callable[..., View]) -> None:
    """Among others, in another place."""
    both, one = view(2).observation, view(1).observation
    for _ in range(6):
        _learn(times, times.view(both), [0, 0], [200.0, 400.0])
    only_second = times.view(replace(one, devices=both.devices[1:]))
    for _ in range(6):
        _learn(times, only_second, [0], [400.0])

    assert 400.0 == pytest.approx(times.believe(only_second).own_ms[0, 0], rel=0.03)
    assert [200.0, 400.0] == pytest.approx(times.believe(times.view(both)).own_ms[:, 0].tolist(), rel=0.03)


def test_one_request_on_its_own_teaches_too(times: SiteTimes, view: Callable[..., View]) -> None:
    """Locally, and on the edge with the two who hold it; not if it was lost or fell back."""
    seen, columns = view(3), np.array([0, 8, 8])
    for _ in range(10):
        times.learn_one(seen, 0, columns, 300.0, True)
        times.learn_one(seen, 1, columns, 220.0, True)
    before = times.believe(seen)

    assert 300.0 == pytest.approx(before.own_ms[0, 0], rel=0.03)
    assert 220.0 == pytest.approx(before.shared_ms[EDGE - 1, 2] + before.own_ms[1, 8], rel=0.03)
    times.learn_one(seen, 0, columns, None, True)
    times.learn_one(seen, 1, columns, 9000.0, False)
    assert _same(before, times.believe(seen))


@pytest.mark.parametrize("sharers", [2, 4, 8])
def test_single_times_of_a_queue_are_averaged(times: SiteTimes, view: Callable[..., View], sharers: int) -> None:
    """First in, first out, single times differ by place: of 100 rounds the mean is believed, to 15 %, and at most one
    change is seen in them, at first, when nothing is known of their noise."""
    seen, random, alarms = view(sharers), np.random.default_rng(0), []
    for place in random.integers(1, sharers + 1, 100 * sharers):
        given_ms = 100.0 * sharers * 2 * int(place) / (sharers + 1) * random.normal(1, 0.03)
        alarms += times.learn_one(seen, 0, np.full(sharers, 8), given_ms, True).changed_tiers
    belief = times.believe(seen)

    assert len(alarms) <= 1
    assert 100.0 * sharers == pytest.approx(belief.shared_ms[EDGE - 1, sharers] + belief.own_ms[0, 8], rel=0.15)


def test_saved_and_loaded_it_goes_on_exactly(
    times: SiteTimes, view: Callable[..., View], accuracies: Accuracies
) -> None:
    """JSON and arrays, after rounds with changes in classes and states: the same beliefs, now and later."""
    random = np.random.default_rng(3)
    seen = [view(3), view(3, cpu_percent=95.0)]

    def live(site: SiteTimes, views: list[View], seed: int) -> Belief:
        chance = np.random.default_rng(seed)
        for number in range(25):
            times_ms: list[float | None] = list(chance.uniform(50, 400, 3))
            _learn(site, views[number % 2], list(chance.integers(0, 10, 3)), times_ms)
        return site.believe(views[0])

    live(times, seen, int(random.integers(100)))
    about, arrays = times.save()
    copy = SiteTimes(accuracies.tenths, StateSection())
    copy.load(json.loads(json.dumps(about)), {name: array.copy() for name, array in arrays.items()})
    again = [copy.view(one.observation) for one in seen]

    assert _same(times.believe(seen[0]), copy.believe(again[0]))
    assert _same(live(times, seen, 9), live(copy, again, 9))
