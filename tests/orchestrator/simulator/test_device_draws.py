"""Devices that differ: speeds and interactions, drawn by the number of the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from configs.calibration import InteractionsSection, SpeedSpreadSection
from orchestrator.simulator.device_draws import interaction_factors, speeds

BOTH = {"interactions": {"sd_percent": 25, "seed": 3}, "speed_spread": {"slowest": 0.5, "fastest": 8, "seed": 3}}


def test_device_i_is_the_same_on_a_site_of_any_size(make_site: Any) -> None:
    """Its local times with all models, to the bit; another seed gives others."""
    small, large = make_site(3, change=BOTH), make_site(1000, change=BOTH)
    other = make_site(3, change={"interactions": {"sd_percent": 25, "seed": 4}})

    assert (small.local_ms == large.local_ms[:3]).all()
    assert (small.local_ms != other.local_ms).all()
    assert 1000 * 8 == len(np.unique(large.local_ms))


@pytest.mark.parametrize("sd_percent", [5.0, 25.0, 80.0])
def test_interactions_have_mean_1_and_the_deviation_stated(sd_percent: float) -> None:
    """Of 800,000 factors: within five standard errors, and 3 %; independent between models and between devices."""
    factors = interaction_factors(InteractionsSection(sd_percent=sd_percent, seed=1), 100_000, 8)

    assert 1.0 == pytest.approx(factors.mean(), abs=5 * factors.std() / np.sqrt(factors.size))
    assert sd_percent == pytest.approx(100 * factors.std(), rel=0.03)
    assert factors.min() > 0
    assert abs(np.corrcoef(factors[:, 0], factors[:, 1])[0, 1]) < 5 / np.sqrt(100_000)
    assert abs(np.corrcoef(factors[1:, 0], factors[:-1, 0])[0, 1]) < 5 / np.sqrt(100_000)


def test_interactions_multiply_local_times_only(make_site: Any) -> None:
    """Edge, cloud and links stay as they are."""
    plain, changed = make_site(4), make_site(4, change={"interactions": {"sd_percent": 25, "seed": 3}})
    factors = interaction_factors(InteractionsSection(sd_percent=25, seed=3), 4, 8)

    assert np.allclose(plain.local_ms * factors, changed.local_ms, rtol=1e-12, atol=0)
    assert (plain.shared_ms == changed.shared_ms).all()
    assert (plain.ask_ms == changed.ask_ms).all()


def test_speeds_are_log_uniform_within_the_spread() -> None:
    """Between 1 and 8: as many below 2 as between 2 and 4 and above 4, within five standard errors."""
    drawn = speeds(SpeedSpreadSection(slowest=1, fastest=8, seed=2), 30_000)
    shares = np.histogram(drawn, [1, 2, 4, 8])[0] / 30_000

    assert 1.0 <= drawn.min() < 1.01
    assert 7.9 < drawn.max() <= 8.0
    assert np.allclose(1 / 3, shares, atol=5 * np.sqrt(2 / 9 / 30_000))


def test_a_speed_that_is_named_wins(make_site: Any) -> None:
    """s2 is named with 2 (conftest.HAND); the others keep what they would have drawn."""
    drawn = speeds(SpeedSpreadSection(slowest=0.5, fastest=8, seed=3), 3)
    local_ms = make_site(3, change={"speed_spread": BOTH["speed_spread"]}).local_ms

    assert [400 / drawn[0], 200.0, 400 / drawn[2]] == pytest.approx(local_ms[:, 0].tolist(), rel=1e-12)
    assert 2.0 != drawn[1]


def test_speeds_and_interactions_of_one_seed_are_independent() -> None:
    """Or the fast devices would be those that like d0."""
    drawn = np.log(speeds(SpeedSpreadSection(slowest=1, fastest=8, seed=5), 20_000))
    factors = np.log(interaction_factors(InteractionsSection(sd_percent=25, seed=5), 20_000, 1)[:, 0])

    assert abs(np.corrcoef(drawn, factors)[0, 1]) < 5 / np.sqrt(20_000)


def test_without_a_spread_all_devices_are_alike(make_site: Any) -> None:
    """Exactly as the calibration says, whatever the seeds."""
    change = {"interactions": {"seed": 9}, "speed_spread": {"seed": 9}}

    assert (make_site(5).local_ms == make_site(5, change=change).local_ms).all()
    assert [400.0, 200.0, 400.0] == make_site(3).local_ms[:, 0].tolist()
