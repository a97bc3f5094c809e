"""The optimal policy: the proven optimum of P1 (equation 2) for each state. Ground truth, not a learner.

It knows what no agent of the paper knows, every response time in advance: whoever makes it hands in `problem_of`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace

import numpy as np

from broker.vocabulary import Action
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import UnfitChoice
from orchestrator.solver.exact import solve
from orchestrator.solver.problem import Problem

FORM = 1
MOST_KEPT = 4096  # joint actions of observations, the last used

ProblemOf = Callable[[Observation], tuple[Problem, tuple[Action, ...]]]


class Optimal:
    """Solves each observation's problem once. Learns nothing. Raises FloorUnreachable and NotProven, as the solver.

    `problem_of(observation)` returns the Problem and its columns. Row i of the problem is `observation.devices[i]`;
    column a is the action `columns[a]`, each once, the same for all devices: the paper's ten, say. What
    `observation.actions[i]` does not list is not chosen, whatever time the problem has for it.

    The answer must follow from state, devices, actions and floor of the observation alone, because it is remembered by
    these; where the world changes behind an observation (an event, hidden load), take a new Optimal.
    """

    name = "optimal"
    stateful = False

    def __init__(self, problem_of: ProblemOf) -> None:
        self._problem_of = problem_of
        self._known: OrderedDict[Hashable, tuple[Action, ...]] = OrderedDict()

    def act(self, observation: Observation) -> Choice:
        """The optimum; nothing is explored."""
        return Choice(self.greedy(observation))

    def greedy(self, observation: Observation) -> tuple[Action, ...]:
        """The same joint action that `act` chooses."""
        key = (observation.state, observation.devices, observation.actions, observation.floor_tenths)
        joint = self._known.get(key)
        if joint is None:
            problem, columns = self._problem_of(observation)
            solution = solve(_limited(problem, columns, observation))
            joint = tuple(columns[column] for column in solution.actions)
            if len(self._known) >= MOST_KEPT:
                self._known.popitem(last=False)
            self._known[key] = joint
        else:
            self._known.move_to_end(key)
        return joint

    def learn(self, experience: Experience) -> None:
        """Nothing to learn."""

    def save(self) -> Checkpoint:
        """Nothing but whose it is."""
        return Checkpoint(self.name, FORM)

    def load(self, checkpoint: Checkpoint) -> None:
        """Raises CheckpointRefused when it is another agent's."""
        checkpoint.expect(self.name, FORM)


def _limited(problem: Problem, columns: tuple[Action, ...], observation: Observation) -> Problem:
    """`problem` without what the observation does not list. Raises UnfitChoice where the two do not fit."""
    expected = (len(observation.devices), len(columns))
    if problem.own_ms.shape != expected or len(set(columns)) != len(columns):
        raise UnfitChoice(
            f"a problem of shape {problem.own_ms.shape} for {expected[0]} devices and {expected[1]} columns"
        )
    listed = {actions: [column in actions for column in columns] for actions in set(observation.actions)}
    able = np.array([listed[actions] for actions in observation.actions])
    return replace(problem, own_ms=np.where(able, problem.own_ms, np.inf))
