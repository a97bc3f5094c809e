"""Small worlds from the shipped calibration, on which agents learn."""

from __future__ import annotations

from typing import Protocol

import pytest

from configs.calibration import CalibrationConfig, NoiseSection
from configs.demo import ExperimentConfig
from configs.scenario import ScenarioConfig
from orchestrator.accuracy import Accuracies
from orchestrator.simulator.files import find
from orchestrator.simulator.site import site_of
from orchestrator.simulator.world import World


class MakeWorld(Protocol):
    """A world of `users` devices under a floor."""

    def __call__(
        self, users: int, floor_tenths: int = 0, scenario: str = "still", noise_percent: float = 3.0
    ) -> World: ...


@pytest.fixture(scope="session")
def make_world(accuracies: Accuracies) -> MakeWorld:
    """See MakeWorld."""

    def make(users: int, floor_tenths: int = 0, scenario: str = "still", noise_percent: float = 3.0) -> World:
        calibration = find(CalibrationConfig, "a1-paper")
        site = site_of(calibration, find(ExperimentConfig, "exp-a"), users, accuracies)
        noise = NoiseSection(sd_percent=noise_percent)
        world = World(site, accuracies, find(ScenarioConfig, scenario), noise, floor_tenths)
        world.reset(1)
        return world

    return make
