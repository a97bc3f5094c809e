"""What Deep Q-learning keeps of one problem: the network, its optimiser, the replay buffer, the exploration.

One problem is a set of devices with the actions each has, under one floor. Lines 13 to 16 of Algorithm 2 are here; who
acts and who remembers which problem is `orchestrator.agents.dqn`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from configs.orchestrator import DqnSection
from orchestrator.agents.q_network import QNetwork
from orchestrator.exploration import EpsilonSchedule
from orchestrator.joint_actions import Layout
from orchestrator.replay import Floats, Ints, ReplayBuffer

COMPONENTS = 3  # CPU, memory, link of each node
HIDDEN = {1: 48, 2: 48, 3: 48, 4: 64}  # section 5.4; 128 from five devices on


class Learner:
    """Network, optimiser, replay buffer and exploration of one layout under one floor. Mutable."""

    def __init__(self, settings: DqnSection, layout: Layout, random: np.random.Generator) -> None:
        features, devices = COMPONENTS * (2 + len(layout.devices)), len(layout.devices)
        hidden = settings.hidden or HIDDEN.get(devices, 128)
        self.network = QNetwork([len(actions) for actions in layout.actions], features, hidden, random)
        self.buffer = ReplayBuffer(settings.replay_capacity, features, devices)
        self.optimiser = torch.optim.Adam([self.network.parameters], lr=settings.learning_rate, fused=True)
        self.exploration = EpsilonSchedule(
            settings.epsilon, settings.epsilon_min, settings.epsilon_decay, settings.epsilon_decay_kind
        )
        self.rounds = self.steps = 0
        self.worst_met = 0.0  # the lowest reward in ms of a floor that was met; 0: none yet
        self._settings = settings
        self._counts = np.array([len(actions) for actions in layout.actions])
        self._best: dict[bytes, int] = {}

    def best(self, state: Floats) -> int:
        """The column of the largest Q in `state`; looked for once until the weights change."""
        key = state.tobytes()
        if key not in self._best:
            self._best[key] = int(self.network.all_values(state).argmax())
        return self._best[key]

    def largest(self, states: Floats) -> Floats:
        """(B,): the largest Q in each state."""
        different, places = np.unique(states, axis=0, return_inverse=True)
        found = np.array([self.network.all_values(state).max() for state in different], dtype=np.float32)
        return found[places.reshape(-1)]

    def acted(self) -> None:
        """One more round of this epoch has passed."""
        self.rounds += 1
        if self.rounds % self._settings.epoch_rounds == 0:
            self.exploration.step()

    def add(self, state: Floats, actions: Ints, reward: float, met: bool, next_state: Floats) -> None:
        """Line 13; the reward in ms."""
        self.buffer.add(state, actions, reward, met, next_state)
        if met:
            self.worst_met = min(self.worst_met, reward)

    def targets(self, places: Ints) -> Floats:
        """(B,): what the network shall say of these records."""
        buffer, settings = self.buffer, self._settings
        rewards = buffer.rewards[places]
        if self.worst_met < 0:
            rewards = np.where(buffer.met[places], rewards, np.float32(self.worst_met))
        scaled: Floats = -settings.reward_gain * np.log1p(-rewards / settings.reward_scale_ms)
        if settings.gamma > 0:
            scaled = scaled + settings.gamma * self.largest(buffer.next_states[places])
        return scaled.astype(np.float32)

    def step(self, places: Ints) -> None:
        """Lines 14 to 16 on these records."""
        buffer, targets = self.buffer, self.targets(places)
        loss = torch.nn.functional.mse_loss(
            self.network.values(buffer.states[places], buffer.actions[places]), torch.from_numpy(targets)
        )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.changed()

    def changed(self) -> None:
        """The weights are others now."""
        self.steps += 1
        self._best.clear()

    def save(self) -> tuple[dict[str, float], dict[str, npt.NDArray[Any]]]:
        """Numbers and arrays with which `load` goes on exactly."""
        added, arrays = self.buffer.save()
        moments = self.optimiser.state_dict()["state"].get(0, {})
        arrays["weights"] = self.network.parameters.detach().numpy().copy()
        for name in ("exp_avg", "exp_avg_sq"):
            arrays[name] = moments[name].numpy().copy() if moments else np.zeros_like(arrays["weights"])
        numbers = {"added": added, "steps": self.steps, "adam_steps": int(moments.get("step", 0))}
        own = {"rounds": self.rounds, "epsilon": self.exploration.epsilon, "worst_met": self.worst_met}
        return {**numbers, **own}, arrays

    def load(self, numbers: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `save` gave. Raises KeyError, TypeError, ValueError."""
        epsilon, worst_met = float(numbers["epsilon"]), float(numbers["worst_met"])
        if not 0.0 <= epsilon <= 1.0 or not -math.inf < worst_met <= 0.0:
            raise ValueError(f"epsilon {epsilon}, worst reward {worst_met}")
        self.buffer.load(int(numbers["added"]), arrays)
        stored = self.buffer.actions[: len(self.buffer)]
        if (stored < 0).any() or (stored >= self._counts).any():
            raise ValueError("an action that its device does not have")
        vectors = [arrays[name].astype(np.float32) for name in ("weights", "exp_avg", "exp_avg_sq")]
        shape = tuple(self.network.parameters.shape)
        if any(vector.shape != shape or not np.isfinite(vector).all() for vector in vectors):
            raise ValueError(f"weights that are not {shape[0]} numbers")
        if (vectors[2] < 0).any():
            raise ValueError("a negative second moment")
        with torch.no_grad():
            self.network.parameters.copy_(torch.from_numpy(vectors[0]))
        if (steps := int(numbers["adam_steps"])) > 0:
            kept = {"step": torch.tensor(float(steps))}
            kept |= {"exp_avg": torch.from_numpy(vectors[1]), "exp_avg_sq": torch.from_numpy(vectors[2])}
            whole = self.optimiser.state_dict()
            self.optimiser.load_state_dict({**whole, "state": {0: kept}})
        self.changed()
        self.steps, self.rounds = int(numbers["steps"]), int(numbers["rounds"])
        self.exploration.epsilon, self.worst_met = epsilon, worst_met
