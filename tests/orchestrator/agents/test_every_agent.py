"""One suite for the Agent protocol, run over every implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Tier
from configs.orchestrator import DqnSection, FactoredSection, QLearningSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Agent, Experience
from orchestrator.agents.dqn import DeepQLearning
from orchestrator.agents.factored import Factored
from orchestrator.agents.fixed import FixedStrategy, UniformModel
from orchestrator.agents.offload_only import OffloadOnly
from orchestrator.agents.q_learning import QLearning
from orchestrator.agents.random_policy import RandomPolicy
from orchestrator.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from orchestrator.errors import CheckpointRefused

MAKERS: dict[str, Callable[[Accuracies], Agent]] = {
    "q_learning": lambda a: QLearning(QLearningSection(epsilon_decay=0.01), StateSection(), dict(a.tenths), seed=1),
    "offload_only": lambda a: OffloadOnly(
        QLearning(QLearningSection(epsilon_decay=0.01), StateSection(), dict(a.tenths), seed=1)
    ),
    "dqn": lambda a: DeepQLearning(DqnSection(epoch_rounds=20, epsilon_decay=0.5), dict(a.tenths), seed=1),
    "factored": lambda a: Factored(FactoredSection(), StateSection(), dict(a.tenths), seed=1),
    "random": lambda _a: RandomPolicy(seed=1),
    "device_only": lambda _a: FixedStrategy("device_only", Tier.END),
    "edge_only": lambda _a: FixedStrategy("edge_only", Tier.EDGE),
    "uniform_model": lambda a: UniformModel("uniform_model", a.cost),
    "cloud_only": lambda _a: FixedStrategy("cloud_only", Tier.CLOUD),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, accuracies: Accuracies) -> Callable[[], Agent]:
    return lambda: MAKERS[request.param](accuracies)


def _live(agent: Agent, observe: Any, rounds: int, seed: int) -> list[tuple[Any, bool]]:
    """Rounds of two and three devices in varying states, with seeded rewards; the choices made."""
    world = np.random.default_rng(seed)
    choices = []
    for _ in range(rounds):
        seen = observe(int(world.integers(2, 4)), 850, cpu_percent=float(world.choice([5.0, 95.0])))
        choice = agent.act(seen)
        choices.append((choice.actions, choice.explored))
        times_ms = tuple(float(ms) for ms in world.uniform(50, 500, len(seen.devices)))
        earned = -sum(times_ms) / len(times_ms)
        agent.learn(Experience(seen, choice, choice.actions, times_ms, earned, seen))
    return choices


def test_choices_are_among_the_actions_of_each_device(make: Callable[[], Agent], observe: Any) -> None:
    """Also when devices differ in what they can do."""
    full = observe(1).actions[0]
    seen = observe(3, 800, actions=[full, full[3:5], full[7:8]])
    agent = make()
    for _ in range(50):
        choice = agent.act(seen)
        assert all(action in able for action, able in zip(choice.actions, seen.actions, strict=True))


def test_saved_and_loaded_it_goes_on_exactly(make: Callable[[], Agent], observe: Any, tmp_path: Path) -> None:
    """After a checkpoint on disk, the copy makes the same next 100 choices as the original."""
    original, copy = make(), make()
    _live(original, observe, 120, seed=2)
    write_checkpoint(tmp_path / "agent.npz", original.save())
    copy.load(read_checkpoint(tmp_path / "agent.npz"))

    assert _live(original, observe, 100, seed=3) == _live(copy, observe, 100, seed=3)


def test_an_agent_that_has_learned_nothing_is_saved_and_loaded(make: Callable[[], Agent], observe: Any) -> None:
    """An orchestrator that was stopped before its first round starts again."""
    original, copy = make(), make()
    copy.load(original.save())

    assert _live(original, observe, 30, seed=3) == _live(copy, observe, 30, seed=3)


def test_a_checkpoint_of_another_agent_or_version_is_refused(make: Callable[[], Agent], observe: Any) -> None:
    """And the agent goes on as if nothing had been tried."""
    agent, twin = make(), make()
    _live(agent, observe, 30, seed=2)
    _live(twin, observe, 30, seed=2)
    saved = agent.save()
    for wrong in (
        Checkpoint("another", saved.version, saved.about, saved.arrays),
        Checkpoint(saved.agent, saved.version + 1, saved.about, saved.arrays),
    ):
        with pytest.raises(CheckpointRefused):
            agent.load(wrong)

    assert _live(twin, observe, 20, seed=4) == _live(agent, observe, 20, seed=4)
