"""What the simulator's tests share: a calibration of round figures, and simulations and worlds made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pytest

from configs.calibration import CalibrationConfig, NoiseSection
from configs.demo import ExperimentConfig
from configs.scenario import ScenarioConfig
from orchestrator.accuracy import Accuracies
from orchestrator.simulator.families import merged
from orchestrator.simulator.simulation import Simulation
from orchestrator.simulator.site import Site, site_of
from orchestrator.simulator.world import World

HAND = {
    "version": 1,
    "name": "hand",
    "models": {"d0": 400, "d1": 300, "d2": 200, "d3": 100, "d4": 250, "d5": 150, "d6": 90, "d7": 50},
    "speeds": {"s2": 2},
    "edge": {"vcpus": 2, "compute_ms": {"d0": 100}, "contention": 0.5},
    "cloud": {"vcpus": 4, "compute_ms": {"d0": 80}, "contention": 1.0},
    "links": {
        "regular": {"ask_ms": 2, "image_ms": 10},
        "weak": {"ask_ms": 30, "image_ms": 50},
        "edge_weak": {"ask_ms": 5, "image_ms": 7},
    },
    "busy": {"end": 2, "edge": 1.5, "cloud": 1.25},
    "noise": {"distribution": "none", "sd_percent": 0},
    "deadline_ms": 3000,
    "origin": dict.fromkeys(
        ["models", "speeds", "speed_spread", "interactions", "edge", "cloud", "links", "busy", "noise", "deadline_ms"],
        "by hand",
    ),
}
NOISY = NoiseSection(sd_percent=3.0)

Links = Mapping[str, str]
Happening = Mapping[str, Any]


class MakeSite(Protocol):
    """The site of so many devices with the `links` of the nodes named; `change` of the hand-written calibration."""

    def __call__(self, users: int, links: Links | None = None, change: Happening | None = None) -> Site: ...


class MakeSimulation(Protocol):
    """A simulation of the hand-written site; `happening` is what a scenario's file says beside version and name."""

    def __call__(
        self,
        users: int,
        links: Links | None = None,
        happening: Happening | None = None,
        noise: NoiseSection | None = None,
        floor_tenths: int = 0,
        batch: int = 1,
        seed: int = 1,
        change: Happening | None = None,
    ) -> Simulation: ...


class MakeWorld(Protocol):
    """The same as a world."""

    def __call__(
        self, users: int, happening: Happening | None = None, noise: NoiseSection | None = None, floor_tenths: int = 0
    ) -> World: ...


@pytest.fixture(scope="session")
def hand() -> CalibrationConfig:
    """Round figures, and no noise."""
    return CalibrationConfig.model_validate(HAND)


@pytest.fixture(scope="session")
def make_site(hand: CalibrationConfig, accuracies: Accuracies) -> MakeSite:
    """See MakeSite."""

    def make(users: int, links: Links | None = None, change: Happening | None = None) -> Site:
        experiment = ExperimentConfig.model_validate({"version": 1, "name": "test", "links": links or {}})
        changed = CalibrationConfig.model_validate(merged(hand.model_dump(mode="json"), change or {}))
        return site_of(changed, experiment, users, accuracies)

    return make


@pytest.fixture(scope="session")
def make_simulation(hand: CalibrationConfig, make_site: MakeSite) -> MakeSimulation:
    """See MakeSimulation."""

    def make(
        users: int,
        links: Links | None = None,
        happening: Happening | None = None,
        noise: NoiseSection | None = None,
        floor_tenths: int = 0,
        batch: int = 1,
        seed: int = 1,
        change: Happening | None = None,
    ) -> Simulation:
        site, scenario = make_site(users, links, change), scenario_of(happening)
        simulation = Simulation(site, scenario, noise or hand.noise, floor_tenths, batch)
        simulation.reset(seed)
        return simulation

    return make


@pytest.fixture(scope="session")
def make_world(hand: CalibrationConfig, make_site: MakeSite, accuracies: Accuracies) -> MakeWorld:
    """See MakeWorld."""

    def make(
        users: int, happening: Happening | None = None, noise: NoiseSection | None = None, floor_tenths: int = 0
    ) -> World:
        world = World(make_site(users), accuracies, scenario_of(happening), noise or hand.noise, floor_tenths)
        world.reset(1)
        return world

    return make


def scenario_of(happening: Happening | None) -> ScenarioConfig:
    return ScenarioConfig.model_validate({"version": 1, "name": "test", **(happening or {})})
