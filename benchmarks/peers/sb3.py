"""What the two algorithms of Stable-Baselines3 share: the site as they take it, and the looks at their decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from game import Game
from stable_baselines3.common.callbacks import BaseCallback

State = npt.NDArray[np.float32]


class SiteEnv(gymnasium.Env[State, Any]):
    """The game as an endless episode: observations 0 to 1, the reward as a share of its largest, -1 to 0.

    `joint`: one Discrete action for all devices together, for algorithms that have no MultiDiscrete.
    """

    def __init__(self, game: Game, joint: bool) -> None:
        self.game = game
        self._joint = joint
        inner = game.environment
        self._high = np.asarray(inner.observation_space.high, dtype=np.float32)  # type: ignore[attr-defined]
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, self._high.shape, dtype=np.float32)
        self.action_space = gymnasium.spaces.Discrete(game.actions**game.task.users) if joint else inner.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[State, dict[str, Any]]:
        """Goes on; the game began it."""
        super().reset(seed=seed, options=options)
        return self.observed(), {}

    def observed(self) -> State:
        """What a policy sees."""
        state: State = self.game.state / self._high
        return state

    def devices(self, action: Any) -> list[int]:
        """A joint action, one number a device."""
        if not self._joint:
            return [int(part) for part in action]
        return [int(action) // self.game.actions**place % self.game.actions for place in range(self.game.task.users)]

    def step(self, action: Any) -> tuple[State, float, bool, bool, dict[str, Any]]:
        """One round."""
        outcome = self.game.play(self.devices(action))
        return self.observed(), -outcome.cost, False, False, {}


class Looks(BaseCallback):
    """Looks at the deterministic policy, and ends the learning with the game.

    `every` None: after each training from a rollout, when alone the policy changes; else every so many rounds.
    """

    def __init__(self, environment: SiteEnv, every: int | None) -> None:
        super().__init__()
        self._environment, self._every = environment, every

    def _look(self) -> None:
        action, _ = self.model.predict(self._environment.observed(), deterministic=True)
        self._environment.game.look("policy", self._environment.devices(action))

    def _on_rollout_start(self) -> None:
        if self._every is None and self._environment.game.round:
            self._look()

    def _on_step(self) -> bool:
        game = self._environment.game
        if self._every is not None and game.round % self._every == 0:
            self._look()
        return not game.over


def learn(make: Callable[[SiteEnv], Any], game: Game, joint: bool, every: int | None) -> None:
    """Until the game is over."""
    torch.set_num_threads(1)  # these networks are too small for more
    environment = SiteEnv(game, joint)
    model = make(environment)
    model.learn(total_timesteps=game.task.most_rounds, callback=Looks(environment, every))


def network(hidden: Sequence[int]) -> dict[str, Any]:
    """As Stable-Baselines3 takes it."""
    return {"net_arch": list(hidden)}
