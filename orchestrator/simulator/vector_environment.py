"""Many simulated sites in step, for training that wants batches: the vectorised form of `EndEdgeCloudEnv`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from configs.calibration import CalibrationConfig, NoiseSection
from configs.demo import ExperimentConfig
from configs.scenario import ScenarioConfig
from orchestrator.simulator.environment import simulation_of, spaces

States = npt.NDArray[np.float32]
Actions = npt.NDArray[np.int64]
Numbers = npt.NDArray[Any]


class EndEdgeCloudVectorEnv(gymnasium.vector.VectorEnv[States, Actions, Numbers]):
    """`num_envs` (B) copies of one site; what `EndEdgeCloudEnv` says holds for each, with B as the first dimension.

    Background load and noise differ between copies; events happen in all of them. Nothing terminates, so nothing is
    reset but by `reset`.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012  (Gymnasium's own form)

    def __init__(
        self,
        num_envs: int = 256,
        users: int = 5,
        experiment: str | Path | ExperimentConfig = "exp-a",
        floor: float | str = 85.0,
        calibration: str | Path | CalibrationConfig = "a1-paper",
        scenario: str | Path | ScenarioConfig = "still",
        noise: NoiseSection | None = None,
        maximum_response_ms: float | None = None,
    ) -> None:
        self.num_envs = num_envs
        self.simulation = simulation_of(users, experiment, floor, calibration, scenario, noise, num_envs)
        self._maximum_ms = self.simulation.maximum_ms(maximum_response_ms)
        self.single_observation_space, self.single_action_space = spaces(self.simulation)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002  (Gymnasium's signature)
    ) -> tuple[States, dict[str, Any]]:
        """Every site idle; one seed for all of them together."""
        super().reset(seed=seed)
        self.simulation.reset(seed if seed is not None else int(self.np_random.integers(2**63)))
        return self.simulation.state(), {}

    def step(self, actions: Actions) -> tuple[States, Numbers, Numbers, Numbers, dict[str, Any]]:
        """One round on every site; `actions` (B, N). The infos are arrays with B as the first dimension."""
        played = self.simulation.play(np.asarray(actions))
        mean_ms = np.minimum(played.mean_ms, self._maximum_ms)
        earned = -np.where(played.floor_met, mean_ms, self._maximum_ms)
        info = {
            "response_ms": played.response_ms,
            "stages_ms": played.stages_ms,
            "missing": played.missing,
            "accuracy_tenths": played.tenths / played.response_ms.shape[1],
            "accuracy_tenths_sum": played.tenths,
            "floor_met": played.floor_met,
        }
        never = np.zeros(self.num_envs, dtype=bool)
        return self.simulation.state(), earned, never, never.copy(), info
