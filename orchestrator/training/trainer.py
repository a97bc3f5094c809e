"""The loop: observe, act, play, learn; and what is counted meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from orchestrator.agent import Agent, Observation
from orchestrator.simulator.world import World
from orchestrator.training.convergence import Convergence

PROGRESS_S = 0.25


@dataclass(slots=True)
class Block:
    """Sums over some rounds. Mutable while it is the last one. Times in ms, without noise."""

    rounds: int = 0
    expected_ms: float = 0.0
    optimum_ms: float = 0.0
    kept: int = 0  # rounds that kept the floor; the sums are over these
    broken: int = 0
    explored: int = 0
    reward: float = 0.0

    @property
    def mean_ms(self) -> float | None:
        """The mean response time, without noise, over the rounds that kept the floor."""
        return self.expected_ms / self.kept if self.kept else None

    @property
    def regret_percent(self) -> float | None:
        """How much slower than the optimum, over the rounds that kept the floor."""
        return 100 * (self.expected_ms / self.optimum_ms - 1) if self.kept else None


@dataclass(slots=True)
class Progress:
    """What a training has come to. `blocks` are of equal length but for the last."""

    block_rounds: int
    round: int = 0
    blocks: list[Block] = field(default_factory=list)
    act_s: float = 0.0
    learn_s: float = 0.0

    def note(self, expected_ms: float, optimum_ms: float, kept: bool, explored: bool, reward: float) -> None:
        """One more round."""
        if not self.blocks or self.blocks[-1].rounds == self.block_rounds:
            self.blocks.append(Block())
        block = self.blocks[-1]
        self.round += 1
        block.rounds += 1
        block.explored += explored
        block.reward += reward
        if kept:
            block.kept += 1
            block.expected_ms += expected_ms
            block.optimum_ms += optimum_ms
        else:
            block.broken += 1

    @property
    def last(self) -> Block:
        """The newest block that is worth looking at."""
        whole = [block for block in self.blocks[-2:] if block.rounds * 2 >= self.block_rounds]
        return whole[-1] if whole else self.blocks[-1] if self.blocks else Block()


Watcher = Callable[[Progress], None]


def train(
    world: World,
    agent: Agent,
    rounds: int,
    progress: Progress,
    convergence: Convergence | None = None,
    watcher: Watcher | None = None,
    until: Callable[[Progress], bool] | None = None,
) -> Observation:
    """Play until `progress.round` is `rounds`, or `until` says so; the observation after the last round.

    `watcher` is called about four times a second and at the end.
    """
    observation = world.observe()
    told_s = perf_counter()
    while progress.round < rounds:
        started_s = perf_counter()
        choice = agent.act(observation)
        acted_s = perf_counter()
        optimum_ms = world.optimum().mean_ms
        experience, played = world.play(observation, choice)
        learning_s = perf_counter()
        agent.learn(experience)
        now_s = perf_counter()
        progress.act_s += acted_s - started_s
        progress.learn_s += now_s - learning_s
        progress.note(
            float(played.expected_ms[0]), optimum_ms, bool(played.floor_met[0]), choice.explored, experience.reward
        )
        if convergence is not None:
            convergence.note(progress.round, observation)
        observation = experience.next_observation
        if watcher is not None and now_s - told_s >= PROGRESS_S:
            watcher(progress)
            told_s = now_s
        if until is not None and until(progress):
            break
    if watcher is not None:
        watcher(progress)
    return observation
