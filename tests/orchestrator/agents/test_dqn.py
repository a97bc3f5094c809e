"""Algorithm 2."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from broker.vocabulary import Action
from configs.orchestrator import DqnSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.agents.dqn import DeepQLearning, features_of
from orchestrator.agents.q_network import QNetwork
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import CheckpointRefused, TooManyJointActions
from orchestrator.reward import reward

LOCAL_MS = dict(zip((f"d{place}" for place in range(8)), (458, 280, 163, 86, 243, 165, 111, 72), strict=True))


def _agent(accuracies: Accuracies, seed: int = 1, **settings: Any) -> DeepQLearning:
    return DeepQLearning(DqnSection(**settings), dict(accuracies.tenths), seed)


def _mean_ms(joint: tuple[Action, ...]) -> float:
    """Local times by model; edge and cloud shared."""
    sharing = {tier: sum(action.tier == tier for action in joint) for tier in ("edge", "cloud")}
    times = [
        LOCAL_MS[a.model] if a.tier == "end" else 375 + {"edge": 191, "cloud": 73}[a.tier] * (sharing[a.tier] - 1)
        for a in joint
    ]
    return sum(times) / len(times)


def _earned(joint: tuple[Action, ...], seen: Observation, accuracies: Accuracies, factor: float = 1.0) -> float:
    meets = accuracies.meets([action.model for action in joint], seen.floor_tenths)
    return reward([_mean_ms(joint) * factor], meets, 1900.0)


def _train(agent: DeepQLearning, seen: Observation, accuracies: Accuracies, rounds: int) -> None:
    noise = np.random.default_rng(5)
    for _ in range(rounds):
        choice = agent.act(seen)
        earned = _earned(choice.actions, seen, accuracies, noise.normal(1.0, 0.02))
        agent.learn(Experience(seen, choice, choice.actions, (1.0,) * len(choice.actions), earned, seen))


@pytest.mark.parametrize("floor", [0, 850, 899])
def test_it_learns_the_optimum_that_brute_force_finds(accuracies: Accuracies, observe: Any, floor: int) -> None:
    """Two devices, 100 joint actions, 2 % noise: after 3000 rounds the greedy choice is within 1 % of the optimum."""
    seen = observe(2, floor)
    agent = _agent(accuracies, epoch_rounds=200, epsilon_decay=0.5)
    _train(agent, seen, accuracies, 3000)
    best = max(_earned(joint, seen, accuracies) for joint in product(*seen.actions))

    assert 3000 == agent.updates
    assert _earned(agent.greedy(seen), seen, accuracies) >= 1.01 * best


def test_the_argmax_is_that_of_single_evaluations(accuracies: Accuracies, observe: Any) -> None:
    """Three devices with different actions: all values at once are those of one forward pass each."""
    full = observe(1).actions[0]
    seen = observe(3, actions=[full, full[2:7], full[5:]])
    agent = _agent(accuracies)
    joints = list(product(*seen.actions))
    network = QNetwork([10, 5, 5], 15, 48, np.random.default_rng(3))
    places = np.array([[able.index(a) for able, a in zip(seen.actions, joint, strict=True)] for joint in joints])
    state = features_of(seen.state)
    one_by_one = network.values(np.tile(state, (len(joints), 1)), places).detach().numpy()

    assert network.all_values(state) == pytest.approx(one_by_one, abs=1e-5)
    assert agent.q_values(seen, joints).shape == (250,)


def test_the_network_is_two_fully_connected_layers(observe: Any) -> None:
    """The same numbers as torch's own layers over (state, one-hot actions), with the same weights."""
    network = QNetwork([10, 10], 12, 48, np.random.default_rng(1))
    first, bias, second, last = (part.detach() for part in network._parts())
    state, actions = np.random.default_rng(2).random((7, 12)).astype(np.float32), np.array([[3, 9]] * 7)
    inputs = torch.zeros(7, 32)
    inputs[:, :12] = torch.from_numpy(state)
    inputs[:, 12 + 3] = inputs[:, 22 + 9] = 1.0
    hidden = torch.nn.functional.linear(inputs, first.T, bias)
    expected = torch.nn.functional.linear(torch.relu(hidden), second[None], last[None]).squeeze(1)

    assert network.values(state, actions).detach().numpy() == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize(("devices", "hidden"), [(1, 48), (3, 48), (4, 64), (5, 128), (6, 128)])
def test_the_hidden_layer_is_section_5_4s(accuracies: Accuracies, observe: Any, devices: int, hidden: int) -> None:
    """48, 64, 128 units for three, four, five devices."""
    seen = observe(devices)
    agent = _agent(accuracies)
    agent.learn(Experience(seen, Choice(tuple(a[0] for a in seen.actions)), (), (), -1.0, seen))
    weights = agent.save().arrays["0.weights"]

    assert hidden * (3 * (2 + devices) + 10 * devices + 1) + hidden + 1 == len(weights)


def test_epsilon_is_multiplied_once_an_epoch(accuracies: Accuracies, observe: Any) -> None:
    """1, then 0.4, 0.16, and never below the least."""
    seen = observe(1)
    agent = _agent(accuracies, epoch_rounds=10, epsilon_decay=0.4, epsilon_min=0.1)
    found = []
    for _ in range(40):
        agent.act(seen)
        found.append(round(agent.epsilon, 4))

    assert [1.0] * 9 + [0.4] * 10 + [0.16] * 10 + [0.1] * 11 == found


def test_nothing_is_trained_before_a_whole_batch(accuracies: Accuracies, observe: Any) -> None:
    """64 records, then one step a round."""
    seen = observe(2, 850)
    agent = _agent(accuracies)
    _train(agent, seen, accuracies, 63)
    assert not agent.knows(seen)
    _train(agent, seen, accuracies, 2)

    assert agent.knows(seen)
    assert 2 == agent.save().about["learners"][0]["steps"]


def test_greedy_changes_nothing(accuracies: Accuracies, observe: Any) -> None:
    """Two agents of one seed, one of them asked all the time: the same choices."""
    seen = observe(2, 850)
    asked, unasked = _agent(accuracies), _agent(accuracies)
    for agent in (asked, unasked):
        _train(agent, seen, accuracies, 200)
    for _ in range(20):
        asked.greedy(seen)
        asked.greedy(observe(3))

    assert [unasked.act(seen) for _ in range(20)] == [asked.act(seen) for _ in range(20)]


def test_gamma_adds_the_largest_next_value(accuracies: Accuracies, observe: Any) -> None:
    """With gamma 0.5 and a constant reward, values approach scaled reward / (1 - gamma)."""
    seen = observe(1)
    agent = _agent(accuracies, gamma=0.5, epsilon_min=1.0, reward_gain=0.1, reward_scale_ms=10.0)
    for _ in range(1500):
        choice = agent.act(seen)
        agent.learn(Experience(seen, choice, choice.actions, (90.0,), -90.0, seen))
    expected = -0.1 * np.log1p(9.0) / 0.5

    assert agent.q_values(seen, [(action,) for action in seen.actions[0]]) == pytest.approx(expected, rel=0.02)


def test_what_was_learned_without_a_floor_begins_another(accuracies: Accuracies, observe: Any) -> None:
    """Section 6.2.1: the same values at first, and the source keeps its own."""
    seen, floored = observe(2), observe(2, 890)
    agent = _agent(accuracies)
    _train(agent, seen, accuracies, 300)
    joints = list(product(*seen.actions))[:20]
    agent.transfer(0, 890)

    assert agent.q_values(seen, joints).tolist() == agent.q_values(floored, joints).tolist()
    _train(agent, floored, accuracies, 100)
    assert agent.q_values(seen, joints).tolist() != agent.q_values(floored, joints).tolist()


def test_a_transfer_begins_anew_but_for_the_weights(accuracies: Accuracies, observe: Any) -> None:
    """Also where the target had a network: no records, no steps of Adam, epsilon as configured."""
    seen, floored = observe(2), observe(2, 890)
    agent = _agent(accuracies, epsilon_transfer=0.05)
    _train(agent, seen, accuracies, 100)
    _train(agent, floored, accuracies, 100)
    agent.transfer(0, 890)
    source, target = agent.save().about["learners"]

    assert (100, 0, 0) == (source["added"], target["added"], target["adam_steps"])
    assert (1.0, 0.05) == (source["epsilon"], target["epsilon"])


def test_a_new_floor_is_explored_as_much_as_the_first(accuracies: Accuracies, observe: Any) -> None:
    """Its network has learned nothing yet; the first one's epsilon stays where it was."""
    agent = _agent(accuracies, epoch_rounds=1, epsilon_decay=0.5)
    for _ in range(3):
        agent.act(observe(1))
    agent.act(observe(1, 890))
    second = agent.epsilon
    agent.act(observe(1))

    assert (0.5, 0.1) == (second, agent.epsilon)


def test_exploring_some_devices_keeps_the_greedy_actions_of_others(accuracies: Accuracies, observe: Any) -> None:
    """Of three devices, one, two or three choose anew; `all_devices` hardly ever keeps two of them."""
    seen = observe(3, 850)
    kept = {}
    for kind in ("some_devices", "all_devices"):
        agent = _agent(accuracies, exploration=kind)
        _train(agent, seen, accuracies, 100)
        best = agent.greedy(seen)
        choices = [agent.act(seen).actions for _ in range(500)]
        same = [sum(a == b for a, b in zip(joint, best, strict=True)) for joint in choices]
        kept[kind] = sum(count >= 2 for count in same) / 500

    assert 0.33 < kept["some_devices"] < 0.5
    assert kept["all_devices"] < 0.1


def test_a_broken_floor_counts_as_the_worst_that_was_met(accuracies: Accuracies, observe: Any) -> None:
    """Equation 4's constant until a floor was met, then that round's 90 ms: h = -ln(1 + 90 / 10)."""
    seen = observe(1, 899)
    d0, d7 = (seen.actions[0][0],), (seen.actions[0][7],)
    agent = _agent(accuracies, reward_gain=1.0, reward_scale_ms=10.0)
    agent.learn(Experience(seen, Choice(d7), d7, (1.0,), -9990.0, seen))
    learner = next(iter(agent._learners.values()))
    before = learner.targets(np.array([0]))
    agent.learn(Experience(seen, Choice(d0), d0, (90.0,), -90.0, seen))

    assert [-np.log(1000.0)] == pytest.approx(before.tolist())
    assert [-np.log(10.0)] * 2 == pytest.approx(learner.targets(np.array([0, 1])).tolist())


def test_values_without_a_network_are_zeros_and_cost_no_randomness(accuracies: Accuracies, observe: Any) -> None:
    """Two agents of one seed, one of them asked: the same first network."""
    seen = observe(2)
    asked, unasked = _agent(accuracies), _agent(accuracies)

    assert [0.0] == asked.q_values(seen, [tuple(able[0] for able in seen.actions)]).tolist()
    assert [unasked.act(seen) for _ in range(20)] == [asked.act(seen) for _ in range(20)]


def test_more_than_a_million_joint_actions_are_refused(accuracies: Accuracies, observe: Any) -> None:
    """Seven devices with ten actions."""
    with pytest.raises(TooManyJointActions, match="7 devices"):
        _agent(accuracies).act(observe(7))


@pytest.mark.parametrize("broken", ["nan", "short", "layout", "epsilon", "models", "missing", "far", "negative"])
def test_a_broken_checkpoint_is_refused_and_changes_nothing(accuracies: Accuracies, observe: Any, broken: str) -> None:
    """NaN, another size, no such layout or action, an impossible epsilon or moment, other models, a lost array."""
    seen = observe(2, 850)
    agent, twin = _agent(accuracies), _agent(accuracies)
    for trained in (agent, twin):
        _train(trained, seen, accuracies, 100)
    saved = agent.save()
    about, arrays = dict(saved.about), dict(saved.arrays)
    if broken == "nan":
        arrays["0.weights"] = np.full_like(arrays["0.weights"], np.nan)
    elif broken == "short":
        arrays["0.weights"] = arrays["0.weights"][:-1]
    elif broken == "layout":
        about["learners"] = [{**about["learners"][0], "layout": 7}]
    elif broken == "epsilon":
        about["learners"] = [{**about["learners"][0], "epsilon": 1.5}]
    elif broken == "models":
        about["models"] = {"d0": 899}
    elif broken == "far":
        arrays["0.actions"] = np.full_like(arrays["0.actions"], 10)
    elif broken == "negative":
        arrays["0.exp_avg_sq"] = -np.ones_like(arrays["0.exp_avg_sq"])
    else:
        del arrays["0.rewards"]
    with pytest.raises(CheckpointRefused):
        agent.load(Checkpoint(saved.agent, saved.version, about, arrays))

    assert [twin.act(seen) for _ in range(30)] == [agent.act(seen) for _ in range(30)]


def test_a_checkpoint_of_another_hidden_layer_is_refused(accuracies: Accuracies, observe: Any) -> None:
    """The settings say 32 units, the file has 48."""
    seen = observe(2)
    agent = _agent(accuracies)
    _train(agent, seen, accuracies, 100)
    with pytest.raises(CheckpointRefused, match="weights"):
        _agent(accuracies, hidden=32).load(agent.save())


def test_states_are_told_apart(accuracies: Accuracies, observe: Any) -> None:
    """A busy device takes three times as long in this world; the agent runs small networks there, and d0 elsewhere."""
    idle, busy = observe(1), observe(1, cpu_percent=95.0)
    agent = _agent(accuracies, epoch_rounds=200, epsilon_decay=0.5)
    best = {id(idle): idle.actions[0][0], id(busy): busy.actions[0][7]}
    for number in range(1500):
        seen = (idle, busy)[number % 2]
        choice = agent.act(seen)
        earned = -50.0 if choice.actions[0] == best[id(seen)] else -150.0
        agent.learn(Experience(seen, choice, choice.actions, (1.0,), earned, replace(seen)))

    assert (best[id(idle)],) == agent.greedy(idle)
    assert (best[id(busy)],) == agent.greedy(busy)


def test_without_torch_the_policy_says_what_to_install() -> None:
    """And every other policy works: the orchestrator's modules import with torch hidden."""
    script = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError('hidden', name='torch')\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from configs.orchestrator import OrchestratorConfig, Policy\n"
        "from model_zoo.manifest import load_manifest\n"
        "from orchestrator.accuracy import accuracies_of\n"
        "from orchestrator.errors import PolicyUnavailable\n"
        "from orchestrator.policies import new_agent\n"
        "import orchestrator.live\n"
        "config = OrchestratorConfig(version=1, site='lab')\n"
        "accuracies = accuracies_of(load_manifest())\n"
        "for policy in Policy:\n"
        "    try:\n"
        "        print(new_agent(policy, config, accuracies).name)\n"
        "    except PolicyUnavailable as error:\n"
        "        print('refused', policy, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)

    assert 0 == done.returncode, done.stderr
    assert "refused dqn the policy dqn needs torch: pip install '.[orchestrator,dqn]'" in done.stdout
    assert {"q_learning", "offload_only", "random"} <= set(done.stdout.split())


def test_only_the_last_used_networks_are_kept(accuracies: Accuracies, observe: Any) -> None:
    """Floors come and go; the first of 33 is forgotten, the second, used again, is not."""
    agent = _agent(accuracies)
    for floor in (1, 2, *range(3, 33), 2, 33):
        agent.act(observe(1, floor))
    kept = [learner["floor_tenths"] for learner in agent.save().about["learners"]]

    assert [*range(3, 33), 2, 33] == kept
