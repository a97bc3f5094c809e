"""The offload-only baseline: three actions a device, and the learner that chooses among them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Action, ModelName, Tier
from configs.orchestrator import QLearningSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Learner
from orchestrator.agents.offload_only import MOST_KEPT, OffloadOnly
from orchestrator.agents.q_learning import QLearning
from orchestrator.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from orchestrator.errors import CheckpointRefused

D0 = ModelName("d0")
THREE = tuple(Action(tier, D0) for tier in (Tier.END, Tier.EDGE, Tier.CLOUD))


def _learner(accuracies: Accuracies, **settings: Any) -> QLearning:
    return QLearning(QLearningSection(**settings), StateSection(), dict(accuracies.tenths), seed=1)


def _mean_ms(joint: tuple[Action, ...]) -> float:
    """Two devices, the second slow; edge and cloud take as many times longer as there are devices on them."""
    on = [action.tier for action in joint]
    times_ms = {Tier.EDGE: 150.0 * on.count(Tier.EDGE), Tier.CLOUD: 180.0 * on.count(Tier.CLOUD)}
    local_ms = (100.0, 600.0)
    return sum(times_ms.get(tier, own) for tier, own in zip(on, local_ms, strict=True)) / 2


def _train(agent: OffloadOnly, seen: Any, rounds: int, seed: int) -> None:
    noise = np.random.default_rng(seed)
    for _ in range(rounds):
        choice = agent.act(seen)
        mean_ms = _mean_ms(choice.actions) * noise.normal(1.0, 0.03)
        agent.learn(Experience(seen, choice, choice.actions, (mean_ms, mean_ms), -mean_ms, seen))


def test_a_device_has_three_actions(accuracies: Accuracies, observe: Any) -> None:
    """Local, edge and cloud, each with the most accurate model there; 27 joint actions of three devices, all tried."""
    agent, seen = OffloadOnly(_learner(accuracies, epsilon_decay=0.0)), observe(3, 850)
    chosen = {agent.act(seen).actions for _ in range(600)}

    assert set(product(THREE, repeat=3)) == chosen


def test_without_a_model_or_a_tier_there_are_fewer(accuracies: Accuracies, observe: Any) -> None:
    """The most accurate of what the device has; none of what it lacks."""
    full = observe(1).actions[0]
    seen = observe(3, actions=[full[5:9], full[2:4], full[9:]])
    agent = OffloadOnly(_learner(accuracies, epsilon_decay=0.0))
    chosen = {tuple(str(action) for action in agent.act(seen).actions) for _ in range(100)}

    assert {("d5@end", "d2@end", "d0@cloud"), ("d0@edge", "d2@end", "d0@cloud")} == chosen


@pytest.mark.parametrize("floor_tenths", [0, 899])
def test_it_learns_the_best_of_nine_joint_actions(accuracies: Accuracies, observe: Any, floor_tenths: int) -> None:
    """Two devices, 3 % noise: after 400 rounds the greedy choice is the known optimum, local and edge."""
    learner = _learner(accuracies, epsilon_decay=0.01, alpha=0.5)
    agent, seen = OffloadOnly(learner), observe(2, floor_tenths)
    _train(agent, seen, 400, seed=5)
    best = min(product(THREE, repeat=2), key=_mean_ms)

    assert (THREE[0], THREE[1]) == best == agent.greedy(seen)
    assert 400 == learner.updates


def test_greedy_draws_nothing_and_changes_nothing(accuracies: Accuracies, observe: Any) -> None:
    """However often it is asked, the choices after it are the same."""
    asked, plain = (OffloadOnly(_learner(accuracies, epsilon_decay=0.01)) for _ in range(2))
    seen = observe(2)
    choices = []
    for agent in (asked, plain):
        _train(agent, seen, 30, seed=5)
        made = []
        for _ in range(50):
            if agent is asked:
                agent.greedy(seen)
            made.append(agent.act(seen))
        choices.append(made)

    assert choices[0] == choices[1]


def test_the_learner_sees_the_three_actions_and_nothing_else_is_changed(accuracies: Accuracies, observe: Any) -> None:
    """State, devices, floor and accuracies go through, and so do times, reward and the rest of an experience."""

    class Listener:
        name, stateful, heard = "listener", False, None

        def learn(self, experience: Experience) -> None:
            self.heard = experience

    listener: Any = Listener()
    seen, following = observe(2, 850), observe(2, 850, cpu_percent=95.0)
    told = Experience(seen, Choice((THREE[0], THREE[1])), (THREE[0], None), (3.0, None), -4.0, following)
    OffloadOnly(listener).learn(told)
    limited = replace(seen, actions=(THREE, THREE)), replace(following, actions=(THREE, THREE))

    assert replace(told, observation=limited[0], next_observation=limited[1]) == listener.heard


def test_it_remembers_no_more_observations_than_it_may(accuracies: Accuracies, observe: Any) -> None:
    """A live site makes a new one each round; another object with the place of a forgotten one is not taken for it."""
    agent, full = OffloadOnly(_learner(accuracies, epsilon=0.0)), observe(1).actions[0]
    for number in range(MOST_KEPT + 500):
        able = full[number % 8 : number % 8 + 1]

        assert able == agent.act(observe(1, actions=[able])).actions
    assert len(agent._limited) <= MOST_KEPT


def test_it_is_a_learner(accuracies: Accuracies) -> None:
    """It can say what it would do without exploring."""
    assert isinstance(OffloadOnly(_learner(accuracies)), Learner)


def test_saved_and_loaded_it_goes_on_exactly(accuracies: Accuracies, observe: Any, tmp_path: Path) -> None:
    """On disk, epsilon and randomness included: the same next 200 choices, then the same greedy one."""
    seen = observe(2, 850)
    original, copy = (OffloadOnly(_learner(accuracies, epsilon_decay=0.01)) for _ in range(2))
    _train(original, seen, 100, seed=5)
    write_checkpoint(tmp_path / "offload_only.npz", original.save())
    copy.load(read_checkpoint(tmp_path / "offload_only.npz"))
    runs = []
    for agent in (original, copy):
        choices = []
        for _ in range(200):
            choices.append(agent.act(seen))
            agent.learn(Experience(seen, choices[-1], choices[-1].actions, (1.0, 1.0), -1.0, seen))
        runs.append((choices, agent.greedy(seen)))

    assert runs[0] == runs[1]


def test_checkpoints_of_others_are_refused_and_change_nothing(accuracies: Accuracies, observe: Any) -> None:
    """The learner's own, one of another learner, and one that lacks its learner."""
    seen = observe(2)
    agent = OffloadOnly(_learner(accuracies, epsilon_decay=0.01))
    _train(agent, seen, 100, seed=5)
    best, saved = agent.greedy(seen), agent.save()
    for wrong in (
        _learner(accuracies).save(),
        Checkpoint(saved.agent, saved.version, {**saved.about, "learner": "dqn"}, saved.arrays),
        Checkpoint(saved.agent, saved.version, {}, saved.arrays),
        Checkpoint(saved.agent, saved.version, {**saved.about, "version": None}, saved.arrays),
        Checkpoint(saved.agent, saved.version, {**saved.about, "about": 3}, saved.arrays),
        Checkpoint(saved.agent, saved.version, saved.about, {}),
    ):
        with pytest.raises(CheckpointRefused):
            agent.load(wrong)

    assert best == agent.greedy(seen)
    assert saved.about == agent.save().about
