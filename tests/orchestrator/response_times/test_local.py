"""Times of local runs: device and model factors, and what like devices tell of each other."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from orchestrator.response_times import local
from orchestrator.response_times.local import LocalTimes, Spread

SPREAD = Spread(noise=0.07, device=0.4, interaction=0.12)


def _round(times: LocalTimes, rows: list[int], models: list[int], ms: list[float], kind: int = 0) -> None:
    times.learn(np.array(rows), np.array(models), np.full(len(rows), kind), np.log(ms))


def _predict(times: LocalTimes, row: int, kind: int = 0) -> tuple[Any, Any]:
    """Mean in ms and standard deviation of the logarithm, for every model."""
    mean, sd = times.predict(np.array([row]), np.array([kind]))
    return np.exp(mean[0]), sd[0]


def _dense(seen: list[tuple[int, int, int, float]], rows: int, kinds: int, models: int) -> tuple[Any, Any]:
    """(R, C, M) mean and deviation of every cell, by conditioning one Gaussian over all cells on what was `seen`."""
    row, kind, model = (place.ravel() for place in np.indices((rows, kinds, models)))

    def same(values: Any) -> Any:
        return (values[:, None] == values).astype(float)

    covariance = local.LEVEL_SD**2 + local.CLASS_SD**2 * same(kind) + local.MODEL_SD**2 * same(model)
    covariance += local.CLASS_MODEL_SD**2 * same(kind) * same(model)
    covariance += SPREAD.device**2 * same(row) + SPREAD.interaction**2 * same(row) * same(model)
    at = [np.ravel_multi_index(cell[:3], (rows, kinds, models)) for cell in seen]
    told = np.array([cell[3] for cell in seen]) - local.LEVEL
    gain = np.linalg.solve(covariance[np.ix_(at, at)] + SPREAD.noise**2 * np.eye(len(at)), covariance[at]).T
    sd = np.sqrt(np.diag(covariance - gain @ covariance[at]))
    return (local.LEVEL + gain @ told).reshape(rows, kinds, models), sd.reshape(rows, kinds, models)


def test_the_posterior_is_that_of_one_dense_gaussian() -> None:
    """Mean and deviation of every device, class and model, for given variances; most cells seen never, one 12 times."""
    rows, kinds, models = 5, 2, 3
    random = np.random.default_rng(4)
    seen = [(0, 1, 2, 5.0 + 0.01 * times) for times in range(12)]
    seen += [
        (int(random.integers(rows - 1)), int(random.integers(kinds)), int(random.integers(models)), value)
        for value in random.normal(5.5, 0.6, 14)
    ]
    times = LocalTimes(models)
    for row, kind, model, value in seen:
        times.learn(np.array([row]), np.array([model]), np.array([kind]), np.array([value]))
    times.spread = SPREAD
    times._grow(rows, kinds)
    times._precision = np.linalg.inv(times._prior())
    times._solve()
    times._stale = False
    mean, sd = _dense(seen, rows, kinds, models)

    for kind in range(kinds):
        got_mean, got_sd = times.predict(np.arange(rows), np.full(rows, kind))
        np.testing.assert_allclose(got_mean, mean[:, kind], rtol=0, atol=1e-8)
        np.testing.assert_allclose(got_sd, sd[:, kind], rtol=0, atol=1e-8)


def test_an_outlier_counts_little() -> None:
    """One measurement in thirteen takes five times as long: a mean of logarithms would move by 13 %, this by 2 %."""
    times = LocalTimes(2)
    for place in range(13):
        _round(times, [0], [0], [1500.0 if place == 6 else 300.0 + place % 3])

    assert 300.0 == pytest.approx(_predict(times, 0)[0][0], rel=0.02)


def test_a_device_never_seen_is_predicted_like_its_peers() -> None:
    """Within the spread of five that were seen, for each model, and less surely than any of them."""
    times = LocalTimes(2)
    for _ in range(4):
        for model, level in ((0, 400.0), (1, 80.0)):
            _round(times, [0, 1, 2, 3, 4], [model] * 5, [level * factor for factor in (0.9, 0.95, 1.0, 1.05, 1.1)])
    mean_ms, sd = _predict(times, 7)

    assert [400.0, 80.0] == pytest.approx(mean_ms, rel=0.05)
    assert (sd > 2 * _predict(times, 0)[1]).all()


def test_devices_that_are_alike_tell_more_of_a_new_one() -> None:
    """Six equal devices and six from 100 to 900 ms: the new one's deviation is a third or less with equal ones."""
    alike, unlike = LocalTimes(2), LocalTimes(2)
    for _ in range(4):
        _round(alike, list(range(6)), [0] * 6, [300.0] * 6)
        _round(unlike, list(range(6)), [0] * 6, [100.0, 180.0, 260.0, 400.0, 600.0, 900.0])

    assert _predict(alike, 6)[1][0] * 3 < _predict(unlike, 6)[1][0]


def test_a_fast_device_is_fast_with_a_model_that_it_never_ran() -> None:
    """Twice as fast as the others with one model: the other model is believed to take about half of theirs."""
    times = LocalTimes(2)
    for _ in range(6):
        _round(times, [0, 1, 2, 3], [0] * 4, [150.0, 300.0, 300.0, 300.0])
        _round(times, [1, 2, 3], [1] * 3, [100.0] * 3)

    assert 50.0 == pytest.approx(_predict(times, 0)[0][1], rel=0.15)


def test_what_being_busy_costs_is_learned_from_others() -> None:
    """Three busy devices take twice as long; the fourth was never seen busy, and is expected to as well."""
    times = LocalTimes(2)
    for _ in range(6):
        _round(times, [0, 1, 2, 3], [0] * 4, [200.0] * 4)
        _round(times, [0, 1, 2], [0] * 3, [400.0] * 3, kind=1)

    assert 400.0 == pytest.approx(_predict(times, 3, kind=1)[0][0], rel=0.03)
    assert 200.0 == pytest.approx(_predict(times, 3, kind=0)[0][0], rel=0.03)


def test_what_is_seen_more_often_is_surer() -> None:
    """The deviation falls with every measurement of ten, and comes below 2 %."""
    times, sds = LocalTimes(1), []
    for place in range(10):
        _round(times, [0], [0], [300.0 + place % 2])
        sds.append(_predict(times, 0)[1][0])

    assert sds == sorted(sds, reverse=True)
    assert sds[-1] < 0.02 < sds[0]


def test_noise_is_learned() -> None:
    """Of 20 devices with 10 % of noise 6 to 12 % are found (the scale of Student's t), of exact ones 2 % or less."""
    random = np.random.default_rng(1)
    noisy, exact = LocalTimes(1), LocalTimes(1)
    for _ in range(8):
        _round(noisy, list(range(20)), [0] * 20, list(300.0 * np.exp(random.normal(0, 0.1, 20))))
        _round(exact, list(range(20)), [0] * 20, [300.0] * 20)
        noisy.predict(np.arange(20), np.zeros(20, dtype=int))
        exact.predict(np.arange(20), np.zeros(20, dtype=int))

    assert 0.06 < noisy.spread.noise < 0.12
    assert exact.spread.noise < 0.02


def test_a_shift_moves_one_device_with_all_its_models() -> None:
    """Twice as slow with the model seen and the one unseen, and less sure; its peers stay within 3 %."""
    times = LocalTimes(2)
    for _ in range(10):
        _round(times, [0, 1, 2, 3], [0] * 4, [300.0] * 4)
        _round(times, [1, 2, 3], [1] * 3, [90.0] * 3)
    before_ms, before_sd = _predict(times, 0)
    peer_ms, _ = _predict(times, 1)
    times.shift(0, float(np.log(2.0)))
    after_ms, after_sd = _predict(times, 0)

    assert list(2.0 * before_ms) == pytest.approx(list(after_ms), rel=0.1)
    assert after_sd[0] > 1.5 * before_sd[0]
    assert list(peer_ms) == pytest.approx(list(_predict(times, 1)[0]), rel=0.03)


@pytest.mark.parametrize("looked", [True, False])
def test_saved_and_loaded_it_predicts_the_same(looked: bool) -> None:
    """To the last bit, now and after more rounds, whether or not it had looked at the newest one."""
    random = np.random.default_rng(3)
    times, copy = LocalTimes(3), LocalTimes(3)
    for number in range(30):
        _round(times, [0, 1], [number % 3, 2], list(random.uniform(100, 300, 2)), kind=number % 2)
        if looked or number < 29:
            _predict(times, 0)
    copy.load(json.loads(json.dumps(times.about())), times.observed.save())
    for _ in range(3):
        for got, expected in zip(_predict(copy, 1, 1), _predict(times, 1, 1), strict=True):
            assert expected.tolist() == got.tolist()
        for either in (times, copy):
            _round(either, [0, 1], [0, 1], [150.0, 170.0])


@pytest.mark.parametrize("spread", [[0.1, 0.1, -0.1], [0.1, 0.1, float("nan")], ["x", 0.1, 0.1], [0.1] * 4, None])
def test_deviations_that_cannot_be_are_refused(spread: Any) -> None:
    """Negative, not a number, a word, too many, none."""
    with pytest.raises((ValueError, TypeError)):
        LocalTimes(1).load({"spread": spread, "stale": True}, LocalTimes(1).observed.save())
