"""Deep Q-learning with experience replay, Algorithm 2 of the paper.

| line | here |
|---|---|
| 1 | `DeepQLearning(...)`; a network with random weights and an empty buffer when first needed |
| 2-3 | the caller's rounds; an epoch is `epoch_rounds` of them |
| 4-5 | `act`: the observation's state, scaled to 0 to 1 |
| 6-10 | `act`: with probability epsilon a random joint action (4), else the one of the largest Q, found among all |
| 11-12 | the live loop, or the simulator: response times, and equation 4's reward |
| 13 | `learn`: the record goes into the replay buffer |
| 14-16 | `learn`: a mini-batch, the mean-square temporal difference, one step of Adam |
| 17 | the next call of `act` |

Deviations from the paper, and readings where it is silent:
1. "Two fully connected layers" are the hidden one and the output; with a second hidden layer an argmax over 10^5 joint
   actions takes seven times as long.
2. Rewards enter as -gain ln(1 - reward / scale), a monotone form, so the greedy decision aims at the same. A reward is
   minus some hundred ms or, when the floor is broken, the constant of equation 4; as they are, nearly all of the
   mean-square error would be about that cliff.
3. A broken floor's reward enters as the worst that a met floor has earned so far, as the order alone matters to the
   argmax: the optimum lies at the cliff's edge, and a smooth network sees over a low cliff only. Before a floor was met
   it is equation 4's constant.
4. "Choose random action" names no distribution. By default 1 to N devices, drawn uniformly, choose any of their actions
   and the others keep the greedy ones: of 10^5 joint actions few meet a high floor, but only 50 differ from the greedy
   one in one device. `all_devices` draws any joint action, and needs no argmax then.
5. Epsilon is multiplied by Table 7's 0.4, 0.7 or 0.9 once per epoch; per step it would be gone after 28 steps. It stays
   at or above `epsilon_min` ("we perform probabilistic exploration continuously"). Each network has its own epsilon:
   new devices or a new floor are a new problem.
6. Gamma is an explicit setting, 0 by default; then no largest Q of next states is looked for.
7. The paper names no optimiser: Adam. There is no target network, as in Algorithm 2.
8. A network belongs to the active devices with the actions each has, and to the floor, as a row of the Q-table does.
9. The state's raw values are the input, not Table 3's discrete ones.
10. Training begins when the buffer holds a whole mini-batch.
11. Of networks for other devices or floors the 32 last used are kept.
12. Equal Q-values: the lowest index. Before a network exists all are equal. More than 10^6 joint actions are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from broker.vocabulary import Action, Link, ModelName
from configs.orchestrator import DqnSection, Exploration
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.agents.dqn_learner import Learner
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import CheckpointImplausible
from orchestrator.joint_actions import Layout, Layouts
from orchestrator.replay import Floats
from orchestrator.state import Resources, SystemState

FORM = 1  # of the checkpoint
MOST_LEARNERS = 32  # about 0.2 MB each, all written with every checkpoint

Key = tuple[int, int]  # number of the layout, floor in tenths


class DeepQLearning:
    """Algorithm 2 over a network that takes a state and a joint action."""

    name = "dqn"
    stateful = True

    def __init__(self, settings: DqnSection, accuracy_tenths: dict[ModelName, int], seed: int | None = None) -> None:
        self.updates = 0
        self._settings = settings
        self._accuracy_tenths = dict(accuracy_tenths)
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._epsilon = settings.epsilon
        self._layouts = Layouts()
        self._learners: dict[Key, Learner] = {}
        torch.set_num_threads(1)  # the network is too small to share; the other cores have work of their own

    @property
    def epsilon(self) -> float:
        """The probability that the next choice is random, for devices and floor as in the last one."""
        return self._epsilon

    def act(self, observation: Observation) -> Choice:
        """Lines 4 to 10. Raises TooManyJointActions."""
        number = self._layouts.number(observation)
        layout = self._layouts[number]
        learner = self._learner(number, observation.floor_tenths)
        explored = bool(self._random.random() < learner.exploration.epsilon)
        if explored and self._settings.exploration is Exploration.ALL_DEVICES:
            joint = layout.joint_action(int(self._random.integers(layout.joint_actions)))
        else:
            joint = layout.joint_action(learner.best(features_of(observation.state)))
            joint = self._varied(layout, joint) if explored else joint
        learner.acted()
        self._epsilon = learner.exploration.epsilon
        return Choice(joint, explored)

    def _varied(self, layout: Layout, joint: tuple[Action, ...]) -> tuple[Action, ...]:
        """1 to N devices of `joint` choose anew."""
        devices = len(joint)
        anew = self._random.permutation(devices)[: 1 + self._random.integers(devices)]
        chosen = list(joint)
        for device in anew:
            chosen[device] = layout.actions[device][self._random.integers(len(layout.actions[device]))]
        return tuple(chosen)

    def greedy(self, observation: Observation) -> tuple[Action, ...]:
        """Line 9 alone. Draws nothing and changes nothing: without a network the first joint action."""
        number = self._layouts.number(observation)
        learner = self._learners.get((number, observation.floor_tenths))
        index = 0 if learner is None else learner.best(features_of(observation.state))
        return self._layouts[number].joint_action(index)

    def learn(self, experience: Experience) -> None:
        """Lines 13 to 16. Raises TooManyJointActions."""
        seen, settings = experience.observation, self._settings
        number = self._layouts.number(seen)
        learner = self._learner(number, seen.floor_tenths)
        able = self._layouts[number].actions
        places = [actions.index(action) for actions, action in zip(able, experience.choice.actions, strict=True)]
        tenths = [seen.accuracy_tenths[action.model] for action in experience.choice.actions]
        learner.add(
            features_of(seen.state),
            np.array(places, dtype=np.int64),
            min(experience.reward, 0.0),
            sum(tenths) >= len(tenths) * seen.floor_tenths,
            features_of(experience.next_observation.state),
        )
        if len(learner.buffer) >= min(settings.batch, settings.replay_capacity):
            learner.step(learner.buffer.sample(self._random, settings.batch))
        self.updates += 1

    def q_values(self, observation: Observation, joint_actions: Sequence[tuple[Action, ...]]) -> Floats:
        """(B,): the network's values of these joint actions, in the form of the scaled rewards; zeros without one."""
        number = self._layouts.number(observation)
        learner = self._learners.get((number, observation.floor_tenths))
        if learner is None:
            return np.zeros(len(joint_actions), dtype=np.float32)
        values = learner.network.all_values(features_of(observation.state))
        return values[[self._layouts[number].index(joint) for joint in joint_actions]]

    def reseed(self, seed: int | None) -> None:
        """Draw from this seed from now on."""
        self._random = np.random.Generator(np.random.PCG64(seed))

    def knows(self, observation: Observation) -> bool:
        """Whether it has a trained network for these devices with these actions under this floor."""
        learner = self._learners.get((self._layouts.number(observation), observation.floor_tenths))
        return learner is not None and learner.steps > 0

    def transfer(self, source_floor_tenths: int, target_floor_tenths: int) -> None:
        """Begin under the target floor with the networks of the source floor; buffer and optimiser begin anew."""
        for (number, floor), source in list(self._learners.items()):
            if floor == source_floor_tenths != target_floor_tenths:
                unused = np.random.Generator(np.random.PCG64(0))  # these first weights are overwritten at once
                target = Learner(self._settings, self._layouts[number], unused)
                target.exploration.epsilon = self._settings.epsilon_transfer
                self._learners[number, target_floor_tenths] = target
                with torch.no_grad():
                    target.network.parameters.copy_(source.network.parameters)
                target.changed()

    def _learner(self, number: int, floor_tenths: int) -> Learner:
        key = number, floor_tenths
        learner = self._learners.pop(key, None)
        if learner is None:
            learner = Learner(self._settings, self._layouts[number], self._random)
            while len(self._learners) >= MOST_LEARNERS:
                self._learners.pop(next(iter(self._learners)))
        self._learners[key] = learner  # the last used is last
        return learner

    # -- checkpoint -------------------------------------------------------------------------------------------

    def save(self) -> Checkpoint:
        """Weights, moments, buffers, exploration and randomness."""
        keys, arrays, numbers = list(self._learners), {}, []
        for place, key in enumerate(keys):
            own_numbers, own_arrays = self._learners[key].save()
            numbers.append({"layout": key[0], "floor_tenths": key[1], **own_numbers})
            arrays.update({f"{place}.{name}": array for name, array in own_arrays.items()})
        about = {
            "models": self._accuracy_tenths,
            "epsilon": self.epsilon,
            "random": self._random.bit_generator.state,
            "updates": self.updates,
            "layouts": self._layouts.save(),
            "learners": numbers,
        }
        return Checkpoint(self.name, FORM, about, arrays)

    def load(self, checkpoint: Checkpoint) -> None:
        """Take over a saved agent. Raises CheckpointRefused, and then nothing has changed."""
        checkpoint.expect(self.name, FORM, self._accuracy_tenths)
        fresh = DeepQLearning(self._settings, self._accuracy_tenths)
        try:
            fresh._take(checkpoint.about, checkpoint.arrays)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
            raise CheckpointImplausible(
                f"the checkpoint contradicts itself or these settings ({error!r}); move it away to start without it"
            ) from error
        self.__dict__.update(fresh.__dict__)

    def _take(self, about: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        if not 0.0 <= float(about["epsilon"]) <= 1.0:
            raise ValueError(f"epsilon {about['epsilon']}")
        self._layouts.load(about["layouts"])
        for place, numbers in enumerate(about["learners"]):
            own = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{place}.")}
            self._learner(int(numbers["layout"]), int(numbers["floor_tenths"])).load(numbers, own)
        self._epsilon, self.updates = float(about["epsilon"]), int(about["updates"])
        self._random.bit_generator.state = about["random"]  # last: networks drew their first weights from it


def features_of(state: SystemState) -> Floats:
    """(F,): equation 3's components in its order, each from 0 to 1; a node of which nothing is known is zeros."""
    nodes = (state.edge, state.cloud, *state.devices)
    return np.array([value for node in nodes for value in _components(node)], dtype=np.float32)


def _components(node: Resources | None) -> tuple[float, float, float]:
    if node is None:
        return 0.0, 0.0, 0.0
    return node.cpu_percent / 100, node.memory_percent / 100, float(node.link is Link.WEAK)
