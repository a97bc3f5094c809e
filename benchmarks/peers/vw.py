"""Vowpal Wabbit's slates: one slot a device, its actions as the slot's, one global cost for all of them.

The nearest that a contextual bandit library has to this task: exploration per slot, so nothing grows with the number
of joint actions, and one cost for the whole slate: minus the reward as a share of its largest (`scale` times that).
It takes the cost as a sum over slots, which neither the floor nor the sharing of a tier is. The state of the site is
given as shared features; alone they say the same of every action, and it learned faster with their linear part ignored.

Ten bootstrapped policies and 5 % of uniform exploration; `--power_t 0` keeps the learning rate, for each slot's costs
change with what the others do. Tried: epsilon 0.02 to 0.3, squarecb, softmax, cover and bag, cost types mtr, ips and
dr, learning rates 0.005 to 2, decaying and not, coin, plain sgd, costs times 10. Most of them do well under one floor
only; none converged under 85 or reliably under 89. The decision is the most probable action of each slot.
"""

from __future__ import annotations

from typing import Any

import vowpalwabbit
from game import Game

VERSION = vowpalwabbit.__version__
DECISIONS = ("policy",)
USERS = 5
MOST_ROUNDS = 20_000
SETTINGS: dict[str, Any] = {
    "scale": 1.0,
    "arguments": "--slates --bag 10 --epsilon 0.05 --power_t 0 --learning_rate 0.02 --ignore_linear U",
}


def play(game: Game, settings: dict[str, Any]) -> None:
    """Until the game is over."""
    workspace = vowpalwabbit.Workspace(f"--quiet --random_seed {game.task.seed + 1} {settings['arguments']}")
    devices = range(game.task.users)
    actions = [f"slates action {slot} |A a{slot}_{action}" for slot in devices for action in range(game.actions)]
    slots = [f"|S s{slot}" for slot in devices]
    shared = "|U " + " ".join(f"u{place}:{value:g}" for place, value in enumerate(game.state / 100))
    question = [f"slates shared {shared}", *actions, *(f"slates slot {slot}" for slot in slots)]
    while True:
        told = workspace.predict(question)  # for each device pairs of action and probability, the drawn one first
        if game.round:
            game.look("policy", [max(slot, key=lambda pair: (pair[1], -pair[0]))[0] for slot in told])
        if game.over:
            break
        drawn = [slot[0] for slot in told]
        outcome = game.play([action for action, _ in drawn])
        labels = [f"slates slot {action}:{p:.6f} {slot}" for (action, p), slot in zip(drawn, slots, strict=True)]
        workspace.learn([f"slates shared {outcome.cost * settings['scale']:.6f} {shared}", *actions, *labels])
    workspace.finish()
