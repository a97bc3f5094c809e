"""Stable-Baselines3's PPO with the site's own MultiDiscrete space: one independent categorical per device.

One network for all devices, so nothing grows with the number of joint actions. Rounds do not depend on each other:
gamma 0 makes the reward of a round its whole return. Shorter rollouts than the default (128 rounds, not 2048) train
more often. Tried: 32, 64, 128 and 256 rounds, learning rates 1e-3, 3e-3 and 1e-2, entropy bonus 0, 0.01, 0.02 and 0.03,
10 and 20 epochs, one hidden layer and none. With shorter rollouts or a larger rate it settles early on a decision that
is 10 % too slow, or breaks the floor for ever; with longer ones it needs twice as many rounds.
"""

from __future__ import annotations

from typing import Any

import stable_baselines3
from game import Game
from sb3 import SiteEnv, learn, network

VERSION = stable_baselines3.__version__
DECISIONS = ("policy",)
USERS = 5
MOST_ROUNDS = 20_000
SETTINGS: dict[str, Any] = {
    "n_steps": 128,
    "batch_size": 128,
    "n_epochs": 10,
    "learning_rate": 3e-3,
    "gamma": 0.0,
    "ent_coef": 0.01,
    "hidden": [64],
}


def play(game: Game, settings: dict[str, Any]) -> None:
    """Until the game is over."""
    given = {name: value for name, value in settings.items() if name != "hidden"}

    def make(environment: SiteEnv) -> Any:
        return stable_baselines3.PPO(
            "MlpPolicy",
            environment,
            policy_kwargs=network(settings["hidden"]),
            seed=game.task.seed,
            device="cpu",
            **given,
        )

    learn(make, game, joint=False, every=None)
