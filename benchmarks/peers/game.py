"""The task that every peer gets: rounds on one simulated site, and when its decision counts as good.

A peer's `play(game)` decides with `game.play`, and shows with `game.look` what it would do without exploring, whenever
that may have changed or every `look_every` rounds where a look is dear; a look stands for the rounds until the next.
It goes on until `game.over`.

Converged is what `orchestrator/training/convergence.py` says: the first round from which, for 100 rounds on end, the
greedy decision meets the floor in integers and its noise-free mean is at most 1 % above the proven optimum. The same
with 5 % and 10 % shows what a weaker quality costs. The peer never sees the optimum nor a time without noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.simulator.environment import EndEdgeCloudEnv
from orchestrator.solver.exact import solve
from orchestrator.training.convergence import TOLERANCE, WINDOW
from tierwise.reproduce.site import problem

TOLERANCES = {"converged_at": TOLERANCE, "within_5": 0.05, "within_10": 0.10}


@dataclass(frozen=True, slots=True)
class Task:
    """One site under one floor, for `most_rounds` at most. `seed` is of the noise and of the peer."""

    experiment: str
    floor: str
    users: int
    seed: int
    most_rounds: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one round: equation 4's reward in ms; `cost`, minus the reward as a share of its largest, 0 to 1.

    `lacking_tenths`: what the joint action lacks to the floor, in tenths of a point over all devices; 0 or less: kept.
    """

    reward_ms: float
    cost: float
    lacking_tenths: int


class Streak:
    """Since when looks are at most `tolerance` above the optimum. Mutable."""

    def __init__(self, tolerance: float) -> None:
        self.reached_at: int | None = None
        self._tolerance = tolerance
        self._since: int | None = None

    def note(self, round_number: int, excess: float) -> None:
        """A look after that round."""
        if self.reached_at is not None:
            return
        # The look before stands for all rounds until this one, this one for its own at least.
        if self._since is not None and round_number - self._since >= WINDOW:
            self.reached_at = self._since
            return
        if excess > self._tolerance:
            self._since = None
            return
        self._since = round_number if self._since is None else self._since
        if round_number - self._since + 1 >= WINDOW:
            self.reached_at = self._since


class Watch:
    """What one way to decide has come to. Mutable."""

    def __init__(self) -> None:
        self.streaks = {name: Streak(tolerance) for name, tolerance in TOLERANCES.items()}
        self.excess = float("inf")

    def note(self, round_number: int, excess: float) -> None:
        """A look after that round; infinite where the decision breaks the floor."""
        self.excess = excess
        for streak in self.streaks.values():
            streak.note(round_number, excess)


class Game:
    """One peer on one task. Mutable. `decisions`: the names of the ways to decide that the peer shows."""

    def __init__(self, task: Task, decisions: Sequence[str]) -> None:
        self.task = task
        self.round = 0
        self.watches = {name: Watch() for name in decisions}
        self._broken = [0]  # rounds that broke the floor, after each round
        self.environment = EndEdgeCloudEnv(task.users, task.experiment, task.floor)
        self.state, _ = self.environment.reset(seed=task.seed)
        self._floor_tenths = self.environment.simulation.floor_tenths
        self.maximum_ms = self.environment.simulation.maximum_ms()

    @cached_property
    def _problem(self) -> Any:
        return problem(self.task.experiment, self.task.users, self._floor_tenths)

    @cached_property
    def optimum_ms(self) -> float:
        """Proven by the exact solver."""
        return solve(self._problem).mean_ms

    @property
    def over(self) -> bool:
        """Whether every decision has converged, or the rounds are used up."""
        converged = all(watch.streaks["converged_at"].reached_at is not None for watch in self.watches.values())
        return converged or self.round >= self.task.most_rounds

    @property
    def actions(self) -> int:
        """Of each device."""
        return len(self.environment.simulation.site.actions)

    def play(self, actions: Sequence[int]) -> Outcome:
        """One round."""
        self.state, reward_ms, _, _, info = self.environment.step(np.asarray(actions, dtype=np.int64))
        self.round += 1
        lacking = self.task.users * self._floor_tenths - info["accuracy_tenths_sum"]
        self._broken.append(self._broken[-1] + (not info["floor_met"]))
        return Outcome(reward_ms, -reward_ms / self.maximum_ms, lacking)

    def look(self, decision: str, actions: Sequence[int]) -> None:
        """What the peer would do without exploring, after the rounds so far."""
        self.watches[decision].note(self.round, self.excess(actions))

    def excess(self, actions: Sequence[int]) -> float:
        """By what share a joint action is slower than the optimum, without noise; infinite if it breaks the floor."""
        indices = tuple(int(action) for action in actions)
        if not self._problem.feasible(indices):
            return float("inf")
        mean_ms: float = self._problem.total_ms(indices) / len(indices)
        return mean_ms / self.optimum_ms - 1.0

    def found(self, decision: str) -> dict[str, Any]:
        """Rounds are from 1, None: not within `rounds`; `broken_rounds` until converged, or the end."""
        watch = self.watches[decision]
        reached = {name: streak.reached_at for name, streak in watch.streaks.items()}
        until = reached["converged_at"] or self.round
        kept = watch.excess < float("inf")
        return {
            **reached,
            "rounds": self.round,
            "broken_rounds": self._broken[until],
            "final_excess_percent": round(100 * watch.excess, 3) if kept else None,
            "final_meets_floor": kept,
        }
