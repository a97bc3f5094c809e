"""Stable-Baselines3's DQN: it has Discrete actions only, so one output for each joint action.

That is 1,000 with three devices, the number it is run with; with `--users 5` it has 100,000 (6.5 million weights).
Rounds do not depend on each other: gamma 0. Exploration falls from 1 to 0.05 over the first 4,000 rounds, not over a
share of all. Tried: learning rates 1e-3 to 5e-2, batches of 64 and 256, training every 1, 2 and 4 rounds, exploration
over 3,000 to 8,000 rounds, hidden layers of 64 and 256 and none.
It looks at its decision every 10 rounds, as our own DQN does.
"""

from __future__ import annotations

from typing import Any

import stable_baselines3
from game import Game
from sb3 import SiteEnv, learn, network

VERSION = stable_baselines3.__version__
DECISIONS = ("policy",)
USERS = 3
MOST_ROUNDS = 20_000
LOOK_EVERY = 10
SETTINGS: dict[str, Any] = {
    "learning_starts": 100,
    "train_freq": 4,
    "gradient_steps": 1,
    "batch_size": 256,
    "learning_rate": 1e-3,
    "gamma": 0.0,
    "buffer_size": 20_000,
    "exploration_rounds": 4_000,
    "exploration_final_eps": 0.05,
    "hidden": [64],
}


def play(game: Game, settings: dict[str, Any]) -> None:
    """Until the game is over."""
    given = {name: value for name, value in settings.items() if name not in ("hidden", "exploration_rounds")}
    given["exploration_fraction"] = min(1.0, settings["exploration_rounds"] / game.task.most_rounds)

    def make(environment: SiteEnv) -> Any:
        return stable_baselines3.DQN(
            "MlpPolicy",
            environment,
            policy_kwargs=network(settings["hidden"]),
            seed=game.task.seed,
            device="cpu",
            **given,
        )

    learn(make, game, joint=True, every=LOOK_EVERY)
