"""The optimal policy."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Action, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.agents import optimal
from orchestrator.agents.optimal import Optimal
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import CheckpointRefused, FloorUnreachable, UnfitChoice
from orchestrator.solver.problem import Problem

LOCAL_MS = [459.0, 260, 150, 75, 230, 155, 100, 72]


class Known:
    """A world of known times: busy devices are slow. Counts how often it was asked."""

    def __init__(self, columns: tuple[Action, ...], accuracies: Accuracies) -> None:
        self.columns = columns
        self.accuracies = accuracies
        self.asked = 0

    def __call__(self, seen: Observation) -> tuple[Problem, tuple[Action, ...]]:
        self.asked += 1
        count = len(seen.devices)
        slow = [2.0 if device and device.cpu_percent > 80 else 1.0 for device in seen.state.devices]
        own_ms = np.array([[ms * factor for ms in LOCAL_MS] + [20.0, 60.0] for factor in slow])
        shared_ms = np.stack([200.0 * np.arange(count + 1), 240.0 + 30.0 * np.arange(count + 1)])
        tiers = np.array([list(Tier).index(column.tier) for column in self.columns])
        deficits = np.array([self.accuracies.deficit(column.model) for column in self.columns])
        budget = self.accuracies.budget(count, seen.floor_tenths)
        return Problem(own_ms, tiers, deficits, shared_ms, budget), self.columns


@pytest.fixture
def known(ten_actions: tuple[Action, ...], accuracies: Accuracies) -> Known:
    return Known(ten_actions, accuracies)


@pytest.mark.parametrize("floor_tenths", [0, 850, 890, 899])
def test_it_chooses_what_brute_force_finds(known: Known, observe: Any, floor_tenths: int) -> None:
    """Over all joint actions of what is listed, the floor met in integers; nothing is explored."""
    full = observe(1).actions[0]
    seen = observe(3, floor_tenths, actions=[full, full[2:9], (full[9], full[0])])
    choice = Optimal(known).act(seen)
    problem, columns = known(seen)
    joints = [[columns.index(action) for action in joint] for joint in product(*seen.actions)]
    expected = min(problem.total_ms(joint) for joint in joints if problem.feasible(joint))
    chosen = [columns.index(action) for action in choice.actions]

    assert not choice.explored
    assert all(action in listed for action, listed in zip(choice.actions, seen.actions, strict=True))
    assert problem.feasible(chosen)
    assert pytest.approx(expected) == problem.total_ms(chosen)


def test_the_order_of_columns_is_the_problems_own(known: Known, observe: Any) -> None:
    """Columns backwards, the same joint action."""
    seen = observe(3, 850)

    def backwards(observation: Observation) -> tuple[Problem, tuple[Action, ...]]:
        problem, columns = known(observation)
        flipped = replace(
            problem, own_ms=problem.own_ms[:, ::-1], tier=problem.tier[::-1], deficits=problem.deficits[::-1]
        )
        return flipped, columns[::-1]

    assert sorted(map(str, Optimal(known).greedy(seen))) == sorted(map(str, Optimal(backwards).greedy(seen)))


def test_each_observation_is_solved_once(known: Known, observe: Any) -> None:
    """Equal observations are one; another state, floor or list of actions is another."""
    agent = Optimal(known)
    for _ in range(3):
        assert agent.act(observe(2, 850)).actions == agent.greedy(observe(2, 850))
    assert 1 == known.asked

    agent.act(observe(2, 850, cpu_percent=95.0))
    agent.act(observe(2, 890))
    agent.act(observe(2, 850, actions=[observe(1).actions[0][:3]] * 2))
    assert 4 == known.asked


def test_what_it_remembers_is_bounded(known: Known, observe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three with room for two, the one used longest ago is solved again."""
    monkeypatch.setattr(optimal, "MOST_KEPT", 2)
    agent = Optimal(known)
    for floor_tenths in (850, 890, 850, 899, 850):
        agent.act(observe(2, floor_tenths))
    assert 3 == known.asked

    agent.act(observe(2, 890))
    assert 4 == known.asked


def test_it_learns_nothing(known: Known, observe: Any) -> None:
    """Whatever is told."""
    agent, seen = Optimal(known), observe(2, 850)
    before = agent.act(seen).actions
    agent.learn(Experience(seen, Choice(before), before, (9999.0, 9999.0), -9999.0, seen))

    assert before == agent.act(seen).actions


def test_a_floor_out_of_reach_is_told(known: Known, observe: Any) -> None:
    """Devices that have d7 only, at the highest floor."""
    seen = observe(2, 899, actions=[observe(1).actions[0][7:8]] * 2)
    with pytest.raises(FloorUnreachable):
        Optimal(known).act(seen)


def test_a_problem_that_does_not_fit_is_refused(known: Known, observe: Any) -> None:
    """Of another number of devices or columns, or with a column twice."""
    problem, columns = known(observe(2))
    for wrong in (columns[:-1], columns[:-1] + columns[:1]):
        with pytest.raises(UnfitChoice, match="a problem of shape"):
            Optimal(lambda _seen, wrong=wrong: (problem, wrong)).act(observe(2))
    with pytest.raises(UnfitChoice, match=r"a problem of shape \(2, 10\) for 3 devices"):
        Optimal(lambda _seen: (problem, columns)).act(observe(3))


def test_a_checkpoint_of_another_agent_is_refused(known: Known) -> None:
    """There is nothing in its own."""
    agent = Optimal(known)
    agent.load(agent.save())

    assert not agent.stateful
    with pytest.raises(CheckpointRefused, match="of 'random'"):
        agent.load(Checkpoint("random", 1))
