"""Measurement noise: factors of mean 1 and of the deviation that the calibration states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from configs.calibration import NoiseDistribution, NoiseSection
from orchestrator.simulator.noise import Noise

ROWS, COLUMNS = 2000, 500


def _factors(distribution: str, sd_percent: float, seed: int = 1) -> Any:
    noise = Noise(
        NoiseSection(distribution=distribution, sd_percent=sd_percent), (COLUMNS,), np.random.default_rng(seed)
    )
    return np.array([noise.row() for _ in range(ROWS)])


@pytest.mark.parametrize("sd_percent", [0.5, 3.0, 10.0, 30.0, 60.0, 100.0])
@pytest.mark.parametrize("distribution", ["normal", "lognormal", "student_t"])
def test_factors_have_mean_1_and_are_above_0(distribution: str, sd_percent: float) -> None:
    """Of a million, within five standard errors; whatever is cut off at a tenth is made good."""
    factors = _factors(distribution, sd_percent)

    assert 1.0 == pytest.approx(factors.mean(), abs=5 * factors.std() / np.sqrt(factors.size))
    assert factors.min() > 0


# The fourth moment of Student's t with three degrees of freedom is infinite, so its measured deviation varies more.
@pytest.mark.parametrize(("distribution", "within"), [("normal", 0.01), ("lognormal", 0.01), ("student_t", 0.1)])
@pytest.mark.parametrize("sd_percent", [0.5, 3.0, 10.0])
def test_factors_have_the_deviation_stated(distribution: str, within: float, sd_percent: float) -> None:
    """In per cent of the mean."""
    assert sd_percent == pytest.approx(100 * _factors(distribution, sd_percent).std(), rel=within)


def test_students_t_has_the_heavier_tails() -> None:
    """Beyond five deviations lie two to three of a thousand with it, and next to none of a normal distribution."""
    far = {name: float((abs(_factors(name, 3.0) - 1.0) > 0.15).mean()) for name in ("normal", "lognormal", "student_t")}

    assert far["normal"] <= far["lognormal"] < 1e-4
    assert 1e-3 < far["student_t"] < 4e-3


@pytest.mark.parametrize(("distribution", "sd_percent"), [("none", 50.0), ("normal", 0.0), ("student_t", 0.0)])
def test_no_noise_is_exactly_1(distribution: str, sd_percent: float) -> None:
    """Named so, or of no deviation."""
    assert (_factors(distribution, sd_percent) == 1.0).all()


def test_every_distribution_is_tested_here() -> None:
    """One that is added without a test would not be noticed."""
    assert {"none", "normal", "lognormal", "student_t"} == {str(name) for name in NoiseDistribution}


def test_noise_is_independent_per_device_and_round(make_simulation: Any) -> None:
    """No correlation between two devices, nor between one round and the next."""
    simulation = make_simulation(2, noise=NoiseSection(sd_percent=10), batch=200)
    rounds = np.array([simulation.play(np.zeros((200, 2), dtype=np.int64)).response_ms for _ in range(100)])
    first, second = rounds[..., 0], rounds[..., 1]

    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / np.sqrt(first.size)
    assert abs(np.corrcoef(first[1:].ravel(), first[:-1].ravel())[0, 1]) < 5 / np.sqrt(first.size)


def test_noise_does_not_depend_on_background_load(make_simulation: Any) -> None:
    """Its factors stay the same when other people's work and own load come in; only what they multiply changes."""
    noise = NoiseSection(sd_percent=10)
    happening = {"background": {"end": {"start": 0.5, "stop": 0.5}}, "own_load": {"edge": 1.0}}
    still, loaded = make_simulation(3, noise=noise), make_simulation(3, happening=happening, noise=noise)
    actions = np.array([[0, 3, 8]])
    slower = 0
    for _ in range(3000):
        busy = loaded.busy[0, 2:].copy()
        expected = np.array([400.0, 50.0, 100.0]) * np.where(busy & [True, True, False], 2, 1) + [2, 2, 12]
        factors = still.play(actions).response_ms[0] / [402, 52, 112]

        assert np.allclose(factors, loaded.play(actions).response_ms[0] / expected, rtol=1e-12, atol=0)
        slower += int(busy.any())
    assert slower > 1000


def test_the_mean_is_measured_and_the_expectation_is_not(make_simulation: Any) -> None:
    """`expected_ms` has no noise in it, `mean_ms` is that of the response times."""
    played = make_simulation(2, noise=NoiseSection(sd_percent=10)).play(np.array([[0, 0]]))

    assert 302.0 == played.expected_ms[0] != played.mean_ms[0]
    assert played.response_ms[0].mean() == pytest.approx(played.mean_ms[0])


def test_outliers_are_the_share_stated_and_the_factor_stated(make_simulation: Any) -> None:
    """Of 100,000, within five standard errors; all others are as without outliers, as is what is expected."""
    noise, actions = NoiseSection(sd_percent=10), np.zeros((200, 5), dtype=np.int64)
    clean = make_simulation(5, noise=noise, batch=200)
    dirty = make_simulation(5, noise=NoiseSection(sd_percent=10, outlier_percent=2, outlier_factor=7), batch=200)
    hits = 0
    for _ in range(100):
        first, second = clean.play(actions), dirty.play(actions)
        ratios = second.response_ms / first.response_ms
        hit = ratios > 2
        hits += int(hit.sum())

        assert np.allclose(ratios[hit], 7.0, rtol=1e-12, atol=0)
        assert (second.response_ms[~hit] == first.response_ms[~hit]).all()
        assert np.allclose(second.stages_ms.sum(axis=2), second.response_ms, rtol=1e-12, atol=0)
        assert (first.expected_ms == second.expected_ms).all()
    assert 0.02 == pytest.approx(hits / 100_000, abs=5 * np.sqrt(0.02 * 0.98 / 100_000))


def test_outliers_need_no_noise(make_simulation: Any) -> None:
    """Every measurement is one at 100 %."""
    noise = NoiseSection(distribution="none", outlier_percent=100, outlier_factor=3)
    played = make_simulation(2, noise=noise).play(np.array([[0, 0]]))

    assert [1206.0, 606.0] == played.response_ms[0].tolist()
    assert 302.0 == played.expected_ms[0]
