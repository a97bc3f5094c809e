"""Optuna's TPE as black-box search: one categorical parameter a device, one trial a round (ask and tell).

The value of a trial is minus equation 4's reward in ms: the measured mean, or the maximum where the floor is broken.
With `constraints` a trial is also told by how much it lacked the floor, which Optuna then ranks broken trials by; it is
the better choice, but tells this peer more than the others. The peer `tpe-reward` is the same without.
`multivariate`: devices are drawn jointly. The sampler does not see the state of the site: it searches for one answer.
Tried, with 800 trials: independent devices, 10, 20 and 50 random trials first, 24 and 100 candidates.

Decisions: `best trial` has the best measured value so far, as a user of Optuna would take it; with noise, that is the
luckiest. `best mean` is the joint action whose trials so far have the best mean.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import Any

import optuna
from game import Game

VERSION = optuna.__version__
DECISIONS = ("best trial", "best mean")
USERS = 5
MOST_ROUNDS = 2_000
SETTINGS: dict[str, Any] = {"multivariate": True, "n_startup_trials": 20, "n_ei_candidates": 24, "constraints": True}


def play(game: Game, settings: dict[str, Any]) -> None:
    """Until the game is over."""
    study = _study(game.task.seed, settings)
    choices = list(range(game.actions))
    best: tuple[float, list[int]] | None = None
    sums: dict[tuple[int, ...], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    while not game.over:
        trial = study.ask()
        actions = [int(trial.suggest_categorical(f"s{device}", choices)) for device in range(game.task.users)]
        outcome = game.play(actions)
        if settings["constraints"]:
            trial.set_constraint("floor", outcome.lacking_tenths)
        study.tell(trial, -outcome.reward_ms)
        if best is None or -outcome.reward_ms < best[0]:
            best = -outcome.reward_ms, actions
        total_ms, times = sums[tuple(actions)]
        sums[tuple(actions)] = total_ms - outcome.reward_ms, times + 1
        game.look("best trial", best[1])
        game.look("best mean", min(sums, key=lambda joint: sums[joint][0] / sums[joint][1]))


def _study(seed: int, settings: dict[str, Any]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed,
            multivariate=settings["multivariate"],
            n_startup_trials=settings["n_startup_trials"],
            n_ei_candidates=settings["n_ei_candidates"],
        )
    return optuna.create_study(sampler=sampler, direction="minimize")
