"""The replay buffer: the newest records, in a circle, sampled at random. Shared by agents that learn in batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class ReplayBuffer:
    """Records (S, A, R, S') of Algorithm 2, line 13: states (F,), actions (N,), a reward.

    Beside each, whether the joint action met the accuracy floor. Mutable.
    """

    def __init__(self, capacity: int, features: int, devices: int) -> None:
        self.states: Floats = np.zeros((capacity, features), dtype=np.float32)
        self.actions: Ints = np.zeros((capacity, devices), dtype=np.int64)
        self.rewards: Floats = np.zeros(capacity, dtype=np.float32)
        self.met: Bools = np.zeros(capacity, dtype=np.bool_)
        self.next_states: Floats = np.zeros((capacity, features), dtype=np.float32)
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, len(self.rewards))

    def add(self, state: Floats, actions: Ints, reward: float, met: bool, next_state: Floats) -> None:
        """Keep a record; a full buffer forgets its oldest."""
        place = self._added % len(self.rewards)
        self.states[place], self.actions[place], self.rewards[place] = state, actions, reward
        self.met[place], self.next_states[place] = met, next_state
        self._added += 1

    def sample(self, random: np.random.Generator, batch: int) -> Ints:
        """(batch,): places of records, each drawn from all that are kept."""
        return random.integers(len(self), size=batch)

    def save(self) -> tuple[int, dict[str, npt.NDArray[Any]]]:
        """How many were ever added, and the records that are kept."""
        kept = len(self)
        return self._added, {
            "states": self.states[:kept].copy(),
            "actions": self.actions[:kept].copy(),
            "rewards": self.rewards[:kept].copy(),
            "met": self.met[:kept].copy(),
            "next_states": self.next_states[:kept].copy(),
        }

    def load(self, added: int, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `save` gave. Raises KeyError, ValueError."""
        kept = min(added, len(self.rewards))
        for name in ("states", "actions", "rewards", "met", "next_states"):
            own, stored = getattr(self, name), arrays[name]
            if added < 0 or stored.shape != (kept, *own.shape[1:]) or not np.isfinite(stored).all():
                raise ValueError(f"the replay buffer's {name} are not {kept} records")
            own[:kept] = stored
        self._added = added
