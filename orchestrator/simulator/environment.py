"""The simulator as a Gymnasium environment: `gymnasium.make("Tierwise/EndEdgeCloud-v0")`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from configs.calibration import CalibrationConfig, NoiseSection
from configs.demo import ExperimentConfig
from configs.scenario import ScenarioConfig
from configs.section import floor_of
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import accuracies_of, floor_tenths
from orchestrator.errors import SimulationRefused
from orchestrator.reward import reward
from orchestrator.simulator.files import find
from orchestrator.simulator.simulation import Simulation
from orchestrator.simulator.site import site_of

State = npt.NDArray[np.float32]
Actions = npt.NDArray[np.int64]


class EndEdgeCloudEnv(gymnasium.Env[State, Actions]):
    """N end devices, an edge node and a cloud node; in each step every device has one inference request.

    ## Observation
    `Box`, float32, shape (3 (N + 2),): Table 3's components in equation 3's order, that is for the edge, the cloud and
    then each device

    | place | component | values |
    |---|---|---|
    | 0 | CPU utilisation | 0 to 100 % |
    | 1 | memory utilisation | 0 to 100 % |
    | 2 | link | 0 regular, 1 weak |

    Values are raw; the Q-table makes them discrete. CPU shows background load and, as far as the scenario says, what
    the node did in the last round. Memory does not change. The cloud's link is always regular (Table 5).

    ## Action
    `MultiDiscrete([10] * N)`: for each device 0 to 7 local with d0 to d7, 8 on the edge with d0, 9 in the cloud with d0
    (M + 2 actions with a calibration of M models).

    ## Reward
    Equation 4: minus the average response time in ms if the average accuracy is at or above the floor (counted in
    integer tenths), else minus `maximum_response_ms`, a constant above any feasible response time.

    ## Info
    | key | |
    |---|---|
    | `response_ms` | (N,) measured response time of each device; the deadline where no result came |
    | `stages_ms` | (N, 6) what it consists of: decide, encode, uplink, queue, compute, downlink |
    | `missing` | (N,) bool: no result came |
    | `accuracy_tenths` | average Top-5 accuracy of the chosen models, in tenths of a point |
    | `accuracy_tenths_sum` | the integer sum behind it, which the floor is judged by |
    | `floor_met` | bool |

    ## Dynamics
    A local run takes the calibration's time of its model, divided by the device's speed. k jobs that share edge or
    cloud take compute x (1 + contention (k - 1) / vCPUs) each, or what the tier's `shape` says; with `queue: fifo` that
    on average, one after the other. Every request pays for asking over its device's link, an offloaded one for its
    image too; a weak edge link adds to both. Background load makes nodes busy (a Markov chain per node) and tasks there
    longer. Events change speeds, delays and links, or take nodes down. One factor of noise per device and round, of
    mean 1, multiplies a response time and its stages, and a further one those of outliers.

    ## Start, end
    Nobody is busy at the start. Nothing terminates and nothing is truncated; use `max_episode_steps` for episodes.
    The same seed gives the same trajectory; noise, background load, fifo orders and outliers have random streams of
    their own.

    ## Arguments
    `users`: N, 1 to 1000 and more. `experiment`, `calibration`, `scenario`: the name of one that comes along, a YAML
    file, or a loaded section; devices beyond five repeat the links of s1 to s5. `floor`: Top-5 % with at most one
    decimal, `min` or `max`. `noise`: replaces the calibration's.
    `maximum_response_ms`: replaces the constant that is computed from the calibration. Errors: SimulationRefused,
    ConfigError.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own form)

    def __init__(
        self,
        users: int = 5,
        experiment: str | Path | ExperimentConfig = "exp-a",
        floor: float | str = 85.0,
        calibration: str | Path | CalibrationConfig = "a1-paper",
        scenario: str | Path | ScenarioConfig = "still",
        noise: NoiseSection | None = None,
        maximum_response_ms: float | None = None,
    ) -> None:
        self.simulation = simulation_of(users, experiment, floor, calibration, scenario, noise)
        self._maximum_ms = self.simulation.maximum_ms(maximum_response_ms)
        self.observation_space, self.action_space = spaces(self.simulation)

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002  (Gymnasium's signature)
    ) -> tuple[State, dict[str, Any]]:
        """The idle site. Without a seed the next trajectory differs from the last."""
        super().reset(seed=seed)
        self.simulation.reset(seed if seed is not None else int(self.np_random.integers(2**63)))
        return self.simulation.state()[0], {}

    def step(self, action: Actions) -> tuple[State, float, bool, bool, dict[str, Any]]:
        """One round."""
        played = self.simulation.play(np.asarray(action)[None])
        met, tenths = bool(played.floor_met[0]), int(played.tenths[0])
        info = {
            "response_ms": played.response_ms[0],
            "stages_ms": played.stages_ms[0],
            "missing": played.missing[0],
            "accuracy_tenths": tenths / played.response_ms.shape[1],
            "accuracy_tenths_sum": tenths,
            "floor_met": met,
        }
        earned = reward([float(played.mean_ms[0])], met, self._maximum_ms)
        return self.simulation.state()[0], earned, False, False, info


def simulation_of(
    users: int,
    experiment: str | Path | ExperimentConfig,
    floor: float | str,
    calibration: str | Path | CalibrationConfig,
    scenario: str | Path | ScenarioConfig,
    noise: NoiseSection | None,
    batch: int = 1,
) -> Simulation:
    """The simulation behind an environment's arguments. Raises SimulationRefused, ConfigError."""
    calibrated = calibration if isinstance(calibration, CalibrationConfig) else find(CalibrationConfig, calibration)
    links = experiment if isinstance(experiment, ExperimentConfig) else find(ExperimentConfig, experiment)
    happening = scenario if isinstance(scenario, ScenarioConfig) else find(ScenarioConfig, scenario)
    try:
        tenths = floor_tenths(floor_of(floor))
    except ValueError as error:
        raise SimulationRefused(f"floor {floor!r}: {error}") from error
    site = site_of(calibrated, links, users, accuracies_of(load_manifest()))
    return Simulation(site, happening, noise or calibrated.noise, tenths, batch)


def spaces(simulation: Simulation) -> tuple[Any, gymnasium.spaces.MultiDiscrete]:
    """Of one site: Table 3's components of every node (a Box, generic in newer Gymnasium only), and all actions."""
    nodes = len(simulation.site.devices) + 2
    high = np.tile(np.array([100.0, 100.0, 1.0], dtype=np.float32), nodes)
    observations = gymnasium.spaces.Box(np.zeros(3 * nodes, dtype=np.float32), high, dtype=np.float32)
    return observations, gymnasium.spaces.MultiDiscrete([len(simulation.site.actions)] * (nodes - 2))
