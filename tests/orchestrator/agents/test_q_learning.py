"""Algorithm 1."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Action, ModelName, Tier
from configs.orchestrator import QLearningSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.agents.q_learning import QLearning
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import CheckpointRefused, TooManyJointActions
from orchestrator.joint_actions import Layout
from orchestrator.reward import reward

LOCAL_MS = dict(zip((f"d{place}" for place in range(8)), (459, 260, 150, 75, 230, 155, 100, 72), strict=True))


def _agent(accuracies: Accuracies, seed: int = 1, **settings: Any) -> QLearning:
    return QLearning(QLearningSection(**settings), StateSection(), dict(accuracies.tenths), seed)


def _times_ms(joint: tuple[Action, ...]) -> tuple[float, ...]:
    """A small world: local times by model, and tiers that slow down with the number that share them."""
    sharing = {tier: sum(action.tier is tier for action in joint) for tier in Tier}
    offloaded_ms = {Tier.EDGE: 200.0, Tier.CLOUD: 240.0}
    return tuple(
        float(LOCAL_MS[a.model]) if a.tier is Tier.END else offloaded_ms[a.tier] * (0.4 + 0.6 * sharing[a.tier])
        for a in joint
    )


def _earned(joint: tuple[Action, ...], seen: Observation, accuracies: Accuracies) -> float:
    meets = accuracies.meets([action.model for action in joint], seen.floor_tenths)
    return reward(_times_ms(joint), meets, 10_000.0)


@pytest.mark.parametrize("floor", [0, 850, 890, 899])
def test_it_learns_the_optimum_that_brute_force_finds(accuracies: Accuracies, observe: Any, floor: int) -> None:
    """Two devices, 100 joint actions, 3 % noise: after 1000 rounds the greedy choice is within 1 % of the optimum."""
    seen = observe(2, floor)
    agent = _agent(accuracies, epsilon_decay=0.01, alpha=0.5)
    noise = np.random.default_rng(5)
    for _ in range(1000):
        choice = agent.act(seen)
        times_ms = tuple(ms * noise.normal(1.0, 0.03) for ms in _times_ms(choice.actions))
        meets = accuracies.meets([action.model for action in choice.actions], floor)
        earned = reward(times_ms, meets, 10_000.0)
        agent.learn(Experience(seen, choice, choice.actions, times_ms, earned, seen))
    agent_greedy = max(product(*seen.actions), key=lambda joint: agent.q_value(seen, joint) or float("-inf"))
    best = max(_earned(joint, seen, accuracies) for joint in product(*seen.actions))

    assert 1000 == agent.updates
    assert _earned(agent_greedy, seen, accuracies) >= 1.01 * best
    assert accuracies.meets([action.model for action in agent_greedy], floor)


def test_greedy_from_zero_sweeps_every_joint_action_once(accuracies: Accuracies, observe: Any) -> None:
    """A table of zeros is optimistic where every reward is negative (Table 11's steps)."""
    seen = observe(2)
    agent = _agent(accuracies, epsilon=0.0)
    done = []
    for _ in range(100):
        choice = agent.act(seen)
        done.append(choice.actions)
        agent.learn(Experience(seen, choice, choice.actions, (1.0, 1.0), -1.0, seen))

    assert 100 == len(set(done))


def test_line_13_updates_one_cell_by_alpha(accuracies: Accuracies, observe: Any) -> None:
    """Q += alpha (R + gamma max Q' - Q), by hand: 0.9 x (-100) = -90, then with gamma 0.5 and a next row of -40."""
    seen, other = observe(1), observe(1, cpu_percent=95.0)
    joint = (seen.actions[0][2],)
    choice = Choice(joint)
    agent = _agent(accuracies, alpha=0.9, gamma=0.5)
    agent.learn(Experience(seen, choice, joint, (100.0,), -100.0, other))
    assert -90.0 == pytest.approx(agent.q_value(seen, joint))
    assert 0.0 == agent.q_value(other, joint)
    for action in other.actions[0]:
        agent.learn(Experience(other, Choice((action,)), (action,), (1.0,), -40.0 / 0.9, observe(1, 1)))
    agent.learn(Experience(seen, choice, joint, (100.0,), -100.0, other))

    assert -90.0 + 0.9 * (-100.0 + 0.5 * -40.0 + 90.0) == pytest.approx(agent.q_value(seen, joint))


def test_rows_are_apart_per_state_floor_and_devices(accuracies: Accuracies, observe: Any) -> None:
    """What was learned at one floor, in one state, of one set of devices says nothing about another."""
    seen = observe(1, 850)
    joint = (seen.actions[0][0],)
    agent = _agent(accuracies)
    agent.learn(Experience(seen, Choice(joint), joint, (1.0,), -1.0, seen))
    others = [observe(1, 890), observe(1, 850, cpu_percent=95.0), replace(seen, devices=("s9",))]

    assert agent.q_value(seen, joint) < 0
    assert [0.0, 0.0, 0.0] == [agent.q_value(other, joint) for other in others]


def test_more_than_a_million_joint_actions_are_refused(accuracies: Accuracies, observe: Any) -> None:
    """Seven devices have ten million; the message says what to do."""
    with pytest.raises(TooManyJointActions, match="take another policy"):
        _agent(accuracies).act(observe(7))


def test_index_and_joint_action_undo_each_other(observe: Any) -> None:
    """For every column of a layout of unequal devices."""
    full = observe(1).actions[0]
    seen = observe(3, actions=[full, full[3:5], full[7:]])
    layout = Layout(seen.devices, seen.actions)

    assert list(range(60)) == [layout.index(layout.joint_action(index)) for index in range(60)]
    assert list(product(*seen.actions)) == [layout.joint_action(index) for index in range(60)]


@pytest.mark.parametrize(("kind", "expected"), [("subtract", 0.7), ("multiply", 0.1**3), ("multiply_rest", 0.9**3)])
def test_epsilon_decays_per_invocation(accuracies: Accuracies, observe: Any, kind: str, expected: float) -> None:
    """Three readings of Table 7's decay of 0.1, after three choices."""
    agent = _agent(accuracies, epsilon_decay=0.1, epsilon_decay_kind=kind)
    for _ in range(3):
        agent.act(observe(1))

    assert expected == pytest.approx(agent.epsilon)


def _broken(saved: Checkpoint) -> dict[str, Checkpoint]:
    about, arrays = dict(saved.about), dict(saved.arrays)
    far = arrays["cells"].copy()
    far[0] = 10**6
    nan = arrays["values"].copy()
    nan[0] = np.nan
    changes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "other models": ({**about, "models": {"d0": 899}}, arrays),
        "other accuracies": ({**about, "models": {**about["models"], "d3": 800}}, arrays),
        "a cell outside": (about, {**arrays, "cells": far}),
        "not a number": (about, {**arrays, "values": nan}),
        "values missing": (about, {**arrays, "values": arrays["values"][1:]}),
        "no epsilon": ({key: value for key, value in about.items() if key != "epsilon"}, arrays),
        "no randomness": ({**about, "random": {"bit_generator": "PCG64"}}, arrays),
        "row of no layout": ({**about, "rows": [{**about["rows"][0], "layout": 9}]}, arrays),
        "unknown tier": ({**about, "layouts": [{"devices": ["s1"], "actions": [["d0@moon"]]}]}, arrays),
    }
    return {name: Checkpoint(saved.agent, saved.version, *change) for name, change in changes.items()}


def test_a_contradictory_checkpoint_is_refused_and_changes_nothing(accuracies: Accuracies, observe: Any) -> None:
    """Each way to break it; the agent keeps its own table and epsilon."""
    seen = observe(1)
    joint = (seen.actions[0][0],)
    agent, fresh = _agent(accuracies), _agent(accuracies)
    agent.act(seen)
    agent.learn(Experience(seen, Choice(joint), joint, (1.0,), -1.0, seen))
    for name, wrong in _broken(agent.save()).items():
        with pytest.raises(CheckpointRefused):
            fresh.load(wrong)
        assert (name, 1.0, 0.0) == (name, fresh.epsilon, fresh.q_value(seen, joint))


def test_a_checkpoint_holds_visited_cells_only(accuracies: Accuracies, observe: Any) -> None:
    """Ten updates in a row of 10^5 columns: ten cells."""
    seen = observe(5)
    agent = _agent(accuracies)
    for _ in range(10):
        choice = agent.act(seen)
        agent.learn(Experience(seen, choice, choice.actions, (1.0,) * 5, -1.0, seen))

    assert len(agent.save().arrays["cells"]) <= 10


def test_each_checkpoint_holds_what_was_learned_since_the_last(accuracies: Accuracies, observe: Any) -> None:
    """Saved after every update, also of a cell that the last checkpoint had: the newest value is in it."""
    seen, other = observe(1), observe(1, cpu_percent=95.0)
    agent, read = _agent(accuracies), _agent(accuracies)
    for reward_ms, observation in ((-10.0, seen), (-20.0, other), (-30.0, seen)):
        joint = (observation.actions[0][0],)
        agent.learn(Experience(observation, Choice(joint), joint, (1.0,), reward_ms, observation))
        read.load(agent.save())
        assert agent.q_value(seen, joint) == read.q_value(seen, joint) != 0
        assert agent.q_value(other, joint) == read.q_value(other, joint)


def test_without_models_a_layout_may_name_any(accuracies: Accuracies, observe: Any) -> None:
    """A device with one action has one joint action."""
    seen = observe(2, actions=[(Action(Tier.END, ModelName("d7")),)] * 2)

    assert ("d7", "d7") == tuple(action.model for action in _agent(accuracies).act(seen).actions)


def test_greedy_is_the_largest_value_and_changes_nothing(accuracies: Accuracies, observe: Any) -> None:
    """The first of equals; asking draws nothing, so the next choices are those of an agent that was not asked."""
    seen = observe(1)
    asked, unasked = _agent(accuracies, epsilon=0.5), _agent(accuracies, epsilon=0.5)
    assert (seen.actions[0][0],) == asked.greedy(seen)
    for agent in (asked, unasked):
        for place, earned in enumerate((-50.0, -10.0, -90.0)):
            joint = (seen.actions[0][place],)
            agent.learn(Experience(seen, Choice(joint), joint, (1.0,), earned, seen))

    # What was never tried is worth 0, more than any reward.
    assert (seen.actions[0][3],) == asked.greedy(seen)
    assert [unasked.act(seen) for _ in range(30)] == [asked.act(seen) for _ in range(30)]


def test_transfer_copies_the_rows_of_another_floor(accuracies: Accuracies, observe: Any) -> None:
    """Section 6.2.1: every state's row; what is then learned under one floor stays there."""
    idle, busy = observe(1), observe(1, cpu_percent=95.0)
    agent = _agent(accuracies)
    joint = (idle.actions[0][2],)
    for seen, earned in ((idle, -100.0), (busy, -200.0)):
        agent.learn(Experience(seen, Choice(joint), joint, (1.0,), earned, seen))
    assert not agent.knows(observe(1, 890))
    agent.transfer(0, 890)

    assert agent.knows(observe(1, 890))
    for seen, floored in ((idle, observe(1, 890)), (busy, observe(1, 890, cpu_percent=95.0))):
        assert agent.q_value(seen, joint) == agent.q_value(floored, joint) != 0
    agent.learn(Experience(observe(1, 890), Choice(joint), joint, (1.0,), -900.0, idle))
    assert agent.q_value(idle, joint) == pytest.approx(-90.0)


def test_what_was_transferred_is_saved(accuracies: Accuracies, observe: Any) -> None:
    """After a checkpoint too the target floor has its values."""
    seen = observe(1)
    joint = (seen.actions[0][2],)
    agent, copy = _agent(accuracies), _agent(accuracies)
    agent.learn(Experience(seen, Choice(joint), joint, (1.0,), -100.0, seen))
    agent.save()
    agent.transfer(0, 850)
    copy.load(agent.save())

    assert agent.q_value(observe(1, 850), joint) == copy.q_value(observe(1, 850), joint) != 0
