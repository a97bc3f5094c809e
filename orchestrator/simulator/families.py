"""Named families of worlds, for a benchmark of learning: what an agent may assume of a site does not hold in all.

All are the paper's site but for what their `about` says; a seed gives them other devices and another trajectory. Every
calibration is an ordinary one, so it can be written to a file and read again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from configs.calibration import CalibrationConfig, NoiseSection
from configs.demo import ExperimentConfig
from configs.scenario import ScenarioConfig
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import Accuracies, accuracies_of
from orchestrator.errors import SimulationRefused
from orchestrator.simulator.files import find
from orchestrator.simulator.site import site_of
from orchestrator.simulator.world import World

PAPER = "a1-paper"
PAPER_USERS = 5  # whom the paper's edge and cloud serve

Change = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """`changes(seed)` is what its calibrations have instead of the paper's, nested as in a calibration's file."""

    name: str
    about: str
    changes: Callable[[int], Change]

    def calibration(self, users: int, seed: int, grow: bool = False) -> CalibrationConfig:
        """That of a site of `users` devices drawn from `seed`; `grow`: with serving tiers as in `grown`."""
        changes = self.changes(seed)
        body = merged(_paper().model_dump(mode="json"), {**changes, "name": self.name})
        body["origin"] |= dict.fromkeys(_paths(changes), f"set by the family {self.name}")
        calibration = CalibrationConfig.model_validate(body)
        return grown(calibration, users) if grow else calibration


def grown(calibration: CalibrationConfig, users: int) -> CalibrationConfig:
    """The same with users / 5 times the vCPUs on edge and cloud, to a whole one; never with fewer than it has.

    So offloading stays as worthwhile for the share of the devices that does it as it is for the paper's five.
    """
    factor = max(1.0, users / PAPER_USERS)
    changes = {
        name: {"vcpus": math.floor(getattr(calibration, name).vcpus * factor + 0.5)} for name in ("edge", "cloud")
    }
    origin = dict.fromkeys(_paths(changes), f"{factor:g} times as many, for {users} devices") if factor > 1 else {}
    return CalibrationConfig.model_validate(merged(calibration.model_dump(mode="json"), {**changes, "origin": origin}))


def merged(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Change:
    """`body` with `changes` in place of what is there, section by section."""
    both = dict(body)
    for key, value in changes.items():
        both[key] = merged(both.get(key, {}), value) if isinstance(value, Mapping) else value
    return both


def _paths(changes: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted paths of all values, as the keys of a calibration's origin."""
    paths: list[str] = []
    for key, value in changes.items():
        paths += _paths(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return paths


def _non_additive(seed: int) -> Change:
    return {"interactions": {"sd_percent": 25.0, "seed": seed}}


def _heterogeneous(seed: int) -> Change:
    return {"speed_spread": {"slowest": 1.0, "fastest": 8.0, "seed": seed}}


def _both_tiers(**change: str) -> Callable[[int], Change]:
    return lambda _: {"edge": dict(change), "cloud": dict(change)}


def _noise(**change: str | float) -> Callable[[int], Change]:
    return lambda _: {"noise": dict(change)}


def _everything(seed: int) -> Change:
    return {
        **_non_additive(seed),
        **_heterogeneous(seed),
        "edge": {"shape": "kinked", "queue": "fifo"},
        "cloud": {"shape": "saturating", "queue": "fifo"},
        "noise": {"distribution": "lognormal", "sd_percent": 10.0},
    }


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family("paper", "the paper's site: device x model, linear contention, 3 % of noise", lambda _: {}),
            Family("non_additive", "each device has models that suit it: interactions of 25 %", _non_additive),
            Family("heterogeneous", "devices from 1 to 8 times as fast", _heterogeneous),
            Family("convex", "contention grows faster than the number of jobs", _both_tiers(shape="convex")),
            Family("kinked", "no contention up to a job per vCPU, then a steep one", _both_tiers(shape="kinked")),
            Family("saturating", "contention rises at once and levels off", _both_tiers(shape="saturating")),
            Family("fifo", "edge and cloud serve one job after the other", _both_tiers(queue="fifo")),
            Family("noisy", "10 % of lognormal noise", _noise(distribution="lognormal", sd_percent=10.0)),
            Family(
                "heavy_tails",
                "10 % of Student's t noise, and one measurement in 100 takes five times as long",
                _noise(distribution="student_t", sd_percent=10.0, outlier_percent=1.0, outlier_factor=5.0),
            ),
            Family(
                "everything",
                "interactions, speeds from 1 to 8, a kinked edge, a saturating cloud, both fifo, 10 % of noise",
                _everything,
            ),
        )
    }
)


def family_named(name: str) -> Family:
    """Raises SimulationRefused."""
    if name not in FAMILIES:
        raise SimulationRefused(f"no family {name!r}: name one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def world_of(
    family: Family | str,
    experiment: str,
    users: int,
    floor_tenths: int,
    seed: int,
    scenario: str | ScenarioConfig = "still",
    noise: NoiseSection | None = None,
    grow: bool = False,
) -> World:
    """A world of the family, begun from `seed`, which its devices are drawn from too. `noise` replaces the family's.

    `experiment`: the links of exp-a to exp-d, repeated every five devices. Raises SimulationRefused, ConfigError.
    """
    chosen = family_named(family) if isinstance(family, str) else family
    calibration = chosen.calibration(users, seed, grow)
    happening = scenario if isinstance(scenario, ScenarioConfig) else find(ScenarioConfig, scenario)
    known = _accuracies()
    site = site_of(calibration, _experiment(experiment), users, known)
    world = World(site, known, happening, noise or calibration.noise, floor_tenths)
    world.reset(seed)
    return world


# Frozen, and read from files that come along; reading them takes as long as all else.
@cache
def _paper() -> CalibrationConfig:
    return find(CalibrationConfig, PAPER)


@cache
def _accuracies() -> Accuracies:
    return accuracies_of(load_manifest())


@cache
def _experiment(name: str) -> ExperimentConfig:
    return find(ExperimentConfig, name)
