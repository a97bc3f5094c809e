"""Times on one serving tier: the curve in the number of sharers, classes, states, what is strange, what is old."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from orchestrator.response_times.contention import MOST_ROUNDS, TierTimes
from orchestrator.response_times.shared_round import SharedRound

SHAPES: dict[str, Callable[[Any], Any]] = {
    "linear": lambda k: 100.0 + 30.0 * (k - 1),
    "convex": lambda k: 100.0 + 3.0 * (k - 1.0) ** 2,
    "kinked": lambda k: 100.0 + 60.0 * np.maximum(0, k - 4),
    "saturating": lambda k: 100.0 + 250.0 * (k - 1) / (3.0 + k - 1),
    "flat": lambda k: 100.0 + 0.0 * k,
}


def _learn(times: TierTimes, sharers: int, mean_ms: float, kind: int = 0, model: int = 0, state: int = 0) -> None:
    times.learn(SharedRound(sharers, mean_ms, Counter({kind: sharers}), Counter({model: sharers}), state))


def _of(shape: Callable[[Any], Any], loads: Sequence[int], noise: float = 0.0, rounds: int = 6) -> TierTimes:
    times, random = TierTimes(300.0), np.random.default_rng(2)
    for _ in range(rounds):
        for load in loads:
            _learn(times, load, float(shape(load) * random.normal(1.0, noise / np.sqrt(load))))
    return times


@pytest.mark.parametrize("name", SHAPES)
def test_the_curve_follows_any_shape_at_the_loads_that_were_tested(name: str) -> None:
    """Within 3 % with 3 % of noise, at each of seven loads."""
    loads = [1, 2, 3, 4, 6, 8, 12]
    curve = _of(SHAPES[name], loads, noise=0.03).curve(12, 0)

    assert SHAPES[name](np.array(loads)).tolist() == pytest.approx(curve.mean_ms[loads].tolist(), rel=0.03)


@pytest.mark.parametrize("name", ["linear", "convex", "saturating"])
def test_between_tested_loads_smooth_curves_are_met(name: str) -> None:
    """Within 8 %, though only every fourth load was seen."""
    curve = _of(SHAPES[name], [1, 2, 4, 8, 12]).curve(12, 0)

    assert SHAPES[name](np.arange(1, 13)).tolist() == pytest.approx(curve.mean_ms[1:].tolist(), rel=0.08)


def test_beyond_the_dense_knots_a_line_is_a_line() -> None:
    """Between loads of 20 and 40 there are few knots; 30 is met within 2 %."""
    curve = _of(SHAPES["linear"], [1, 10, 20, 40]).curve(40, 0)

    assert SHAPES["linear"](30) == pytest.approx(curve.mean_ms[30], rel=0.02)


@pytest.mark.parametrize("load", [1, 2, 4, 8, 12, 20])
def test_a_load_that_alone_was_tested_is_met(load: int) -> None:
    """Fifty rounds of 800 ms, all with as many sharers: there the curve is within 1 % of it."""
    times = TierTimes(300.0)
    for _ in range(50):
        _learn(times, load, 800.0)

    assert 800.0 == pytest.approx(times.curve(24, 0).mean_ms[load], rel=0.01)


def test_the_curve_never_falls() -> None:
    """Whatever was measured: more sharers seem to be faster here."""
    random = np.random.default_rng(5)
    for _ in range(20):
        times = TierTimes(300.0)
        for load in random.integers(1, 20, 8):
            _learn(times, int(load), float(random.uniform(50, 600)))
        curve = times.curve(24, 0)
        assert (np.diff(curve.mean_ms[1:]) >= 0).all()
        assert (curve.mean_ms[1:] > 0).all()
        assert np.isfinite(curve.sd_ms).all()


def test_between_tested_loads_and_beyond_it_is_less_sure() -> None:
    """With loads of 1 and 10 seen, 5 is less sure than both, and so is 16, the less the further."""
    sd_ms = _of(SHAPES["linear"], [1, 10]).curve(20, 0).sd_ms

    assert sd_ms[5] > 2 * max(sd_ms[1], sd_ms[10])
    assert sd_ms[10] < sd_ms[13] < sd_ms[16] < sd_ms[20]


def test_evidence_makes_it_surer() -> None:
    """Each round at one load, down to 2 % of the time."""
    times, sds = TierTimes(300.0), []
    for place in range(12):
        _learn(times, 3, 200.0 + place % 2)
        sds.append(times.curve(3, 0).sd_ms[3])

    assert sds == sorted(sds, reverse=True)
    assert sds[-1] < 0.02 * 200.0 < sds[0]


def test_nothing_known_is_uncertain() -> None:
    """Before the first round the deviation is as large as the level that is assumed."""
    curve = TierTimes(250.0).curve(4, 0)

    assert 250.0 == pytest.approx(curve.mean_ms[1])
    assert 250.0 == pytest.approx(curve.sd_ms[1], rel=0.01)


def test_a_class_that_pays_more_is_told_apart() -> None:
    """Devices on weak links (class 1) take 60 ms longer, alone and in rounds of both classes."""
    times, random = TierTimes(300.0), np.random.default_rng(7)
    for _ in range(20):
        for weak, regular in ((0, 2), (1, 1), (1, 2), (0, 1), (1, 0)):
            sharers = weak + regular
            mean_ms = 100.0 + 20.0 * sharers + 60.0 * weak / sharers
            kinds = Counter({1: weak, 0: regular})
            times.learn(
                SharedRound(sharers, mean_ms * random.normal(1, 0.01), +kinds, Counter({0: sharers}), 0),
            )
    own_ms, own_sd = times.own(np.array([0, 1, 0]), 0)

    assert 60.0 == pytest.approx(own_ms[1] - own_ms[0], abs=6.0)
    assert own_ms[0] == own_ms[2]
    assert own_sd[1] < 6.0


def test_a_class_or_model_never_seen_there_is_uncertain() -> None:
    """And what was seen is not."""
    times = _of(SHAPES["linear"], [1, 2])
    _, known = times.own(np.array([0]), 0)
    _, other_class = times.own(np.array([3]), 0)
    _, other_model = times.own(np.array([0]), 5)

    assert known[0] < 1.0
    assert min(other_class[0], other_model[0]) > 20.0


def test_a_busy_tier_is_told_apart() -> None:
    """Twice as slow in state 1, at each load; in a state never seen it is uncertain."""
    times = TierTimes(300.0)
    for _ in range(10):
        for load in (1, 2, 4):
            _learn(times, load, 100.0 + 20.0 * load)
            _learn(times, load, 2 * (100.0 + 20.0 * load), state=1)
    idle, busy, unknown = (times.curve(4, state) for state in (0, 1, 2))

    assert [120.0, 140.0, 180.0] == pytest.approx(idle.mean_ms[[1, 2, 4]].tolist(), rel=0.03)
    assert [240.0, 280.0, 360.0] == pytest.approx(busy.mean_ms[[1, 2, 4]].tolist(), rel=0.03)
    assert unknown.sd_ms[1] > 10 * busy.sd_ms[1]


def test_a_strange_round_counts_little() -> None:
    """One of thirteen takes five times as long: a mean would move by 31 %, this by 3 %."""
    times = TierTimes(300.0)
    for place in range(13):
        _learn(times, 2, 1000.0 if place == 6 else 200.0 + place % 3)

    assert 201.0 == pytest.approx(times.curve(2, 0).mean_ms[2], rel=0.03)


def test_a_leap_is_one_deviation_for_the_round_that_it_is_about() -> None:
    """Four sharers, of whom nothing is known: their time falls by its deviation; what is known hardly moves."""
    times = _of(SHAPES["linear"], [1, 2])
    _learn(times, 1, 150.0, kind=1)
    curve = times.curve(6, 0)
    everybody = Counter({0: 4}), Counter({0: 4})
    leap = times.leap(SharedRound(4, 0.0, *everybody, 0), 6, np.array([0, 1, 0]), [0])

    assert -curve.sd_ms[4] == pytest.approx(leap.shared_ms[4] + leap.own_ms[0, 0])
    assert (3, 1, 7) == (*leap.own_ms.shape, len(leap.shared_ms))
    assert (np.abs(leap.shared_ms[1:3]) <= curve.sd_ms[1:3] + 1e-9).all()
    assert curve.sd_ms[1] < 0.2 * curve.sd_ms[4]


def test_a_leap_about_a_class_never_seen_is_about_that_class() -> None:
    """Its own part falls by what is not known of it, others' parts do not."""
    times = _of(SHAPES["linear"], [1, 2])
    leap = times.leap(SharedRound(1, 0.0, Counter({3: 1}), Counter({0: 1}), 0), 2, np.array([0, 3]), [0])

    assert leap.own_ms[1, 0] < -20.0
    assert 0.0 == pytest.approx(leap.own_ms[0, 0], abs=1.0)


def test_expectations_are_of_the_round_with_its_noise() -> None:
    """Mean of a known load; sure of it, less sure of a class that was never there."""
    times = _of(SHAPES["linear"], [1, 2, 3], noise=0.03)
    mean_ms, sd_ms = times.expect(SharedRound(2, 130.0, Counter({0: 2}), Counter({0: 2}), 0))
    _, other_ms = times.expect(SharedRound(2, 130.0, Counter({4: 2}), Counter({0: 2}), 0))

    assert 130.0 == pytest.approx(mean_ms, rel=0.03)
    assert 1.0 < sd_ms < 10.0 < other_ms / 3


def test_after_a_shift_old_rounds_count_for_little() -> None:
    """Twenty old rounds, moved 15 % too short, weigh less than three new ones."""
    times = TierTimes(300.0)
    for _ in range(20):
        _learn(times, 2, 100.0)
    times.shift(100.0, newest=0)
    for _ in range(3):
        _learn(times, 2, 230.0)

    assert times.curve(2, 0).mean_ms[2] > 215.0


def test_a_shift_leaves_the_newest_rounds_where_they_are() -> None:
    """They were measured after the change: 100 before, 200 since, all moved to 200."""
    times = TierTimes(300.0)
    for mean_ms in [100.0] * 4 + [200.0] * 8:
        _learn(times, 2, mean_ms)
    times.shift(100.0, newest=8)

    assert 200.0 == pytest.approx(times.curve(2, 0).mean_ms[2], rel=0.01)


def test_a_shift_moves_loads_that_were_not_seen_again() -> None:
    """And makes them less sure."""
    times = _of(SHAPES["linear"], [1, 4])
    before = times.curve(4, 0)
    times.shift(80.0, newest=0)
    after = times.curve(4, 0)

    assert (before.mean_ms[[1, 4]] + 80.0).tolist() == pytest.approx(after.mean_ms[[1, 4]].tolist(), rel=0.03)
    assert (after.sd_ms[[1, 4]] > 1.5 * before.sd_ms[[1, 4]]).all()


def test_rare_loads_are_not_forgotten_first() -> None:
    """Two rounds of eight sharers, then more rounds of one than are kept."""
    times = TierTimes(300.0)
    for sharers, mean_ms in [(8, 400.0)] * 2 + [(1, 100.0)] * (MOST_ROUNDS + 50):
        _learn(times, sharers, mean_ms)

    assert MOST_ROUNDS == times.rounds
    assert 400.0 == pytest.approx(times.curve(8, 0).mean_ms[8], rel=0.02)


@pytest.mark.parametrize("looked", [True, False])
def test_saved_and_loaded_it_goes_on_exactly(looked: bool) -> None:
    """Through JSON, to the last bit, now and after another round, whether or not it had looked at the newest."""
    times = _of(SHAPES["kinked"], [1, 2, 5, 8], noise=0.1)
    _learn(times, 3, 200.0, kind=1, state=1)
    if looked:
        times.curve(20, 0)
    copy = TierTimes.loaded(json.loads(json.dumps(times.save())))
    for _ in range(2):
        for either in (times, copy):
            _learn(either, 4, 170.0)
        for state in (0, 1):
            one, other = times.curve(20, state), copy.curve(20, state)
            assert one.mean_ms.tolist() == other.mean_ms.tolist()
            assert one.sd_ms.tolist() == other.sd_ms.tolist()
        assert times.own(np.array([0, 1]), 0)[0].tolist() == copy.own(np.array([0, 1]), 0)[0].tolist()


@pytest.mark.parametrize(
    ("name", "value"),
    [("noise", 0.0), ("noise", float("nan")), ("level_ms", "x"), ("level_ms", float("nan")), ("level_ms", -1.0)]
    + [("most", None), ("seen", [[]]), ("rounds", [[1]]), ("rounds", 3), ("noise", float("inf"))]
    + [("rounds", [[*start, [[0, 1]], [[0, 1]], 0, 1.0, 1.0]]) for start in ((0, 9.0), (2, -1.0), (2, float("inf")))]
    + [("rounds", [[1, 9.0, [[0, 1]], [[0, 1]], 0, *weights]]) for weights in ((float("nan"), 1.0), (1.0, -1.0))],
)
def test_what_cannot_have_been_saved_is_refused(name: str, value: Any) -> None:
    """Noise, level, rounds, their times and weights out of bounds, or of another form."""
    saved = _of(SHAPES["linear"], [1, 2]).save()
    with pytest.raises((ValueError, TypeError)):
        TierTimes.loaded({**saved, name: value})


def test_a_round_of_more_sharers_than_the_curve_reaches_is_refused() -> None:
    """Its row could not be laid out."""
    saved = _of(SHAPES["linear"], [1, 2]).save()
    with pytest.raises((ValueError, IndexError)):
        TierTimes.loaded({**saved, "rounds": [[1000, 9.0, [[0, 1]], [[0, 1]], 0, 1.0, 1.0]]})
