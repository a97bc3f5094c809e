"""When an agent counts as converged, and on which states: the design's definition.

**Converged** at round t: the first t from which, for 100 rounds on end, the greedy decision in every state of a frozen
test set meets the floor (in integers) and its noise-free mean is at most 1 % above the proven optimum of that state.
With a high learning rate and noise it does not stay so for ever; the share of all later rounds in which it holds is
counted beside it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from broker.vocabulary import Action
from orchestrator.agent import Choice, Learner, Observation
from orchestrator.errors import SimulationRefused
from orchestrator.simulator.site import Bools, Floats
from orchestrator.simulator.world import World
from orchestrator.solver.problem import Problem

WINDOW = 100
TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class TestState:
    """One state, the decision problem behind it, its optimum's noise-free mean in ms, and how to bring it about."""

    __test__ = False  # not a test of pytest's

    observation: Observation
    problem: Problem
    optimum_ms: float
    busy: Bools
    own_cpu_percent: Floats

    def bring_about(self, world: World) -> Observation:
        """Put `world` into this state; what it observes there."""
        world.simulation.put(self.busy, self.own_cpu_percent)
        return world.observe()

    def excess(self, indices: tuple[int, ...]) -> float:
        """By what share a joint action is slower than the optimum; infinite if it breaks the floor."""
        if not self.problem.feasible(indices):
            return float("inf")
        return self.problem.total_ms(indices) / len(indices) / self.optimum_ms - 1.0


@dataclass(frozen=True, slots=True)
class TestSet:
    """A frozen set of states with its name; `shares[i]` of the rounds under the optimum policy are in `states[i]`."""

    __test__ = False

    name: str
    states: tuple[TestState, ...]
    shares: tuple[float, ...]


def visited_states(world: World, name: str, seed: int, rounds: int = 2000, least_share: float = 0.01) -> TestSet:
    """The states in which the optimum policy spends at least `least_share` of `rounds` rounds. Resets the world.

    What own load does to the state depends on the policy; a state that only exploration visits is not served by any
    trained one.
    """
    world.reset(seed)
    seen: Counter[int] = Counter()
    states: dict[int, TestState] = {}
    for _ in range(rounds):
        observation, best = world.observe(), world.optimum()
        if id(observation) not in states:
            simulation = world.simulation
            busy, own = simulation.busy.copy(), simulation.own_cpu_percent.copy()
            states[id(observation)] = TestState(observation, world.problem()[0], best.mean_ms, busy, own)
        elif states[id(observation)].problem is not world.problem()[0]:
            raise SimulationRefused("own load hides background load, so one state stands for two problems")
        seen[id(observation)] += 1
        world.play(observation, Choice(tuple(world.site.actions[place] for place in best.actions)))
    kept = [(states[key], count / rounds) for key, count in seen.items() if count >= least_share * rounds]
    return TestSet(name, tuple(state for state, _ in kept), tuple(share for _, share in kept))


class Convergence:
    """Watches one agent on a test set, round by round. Mutable.

    `every`: how many rounds lie between two looks, for agents whose look is dear; a look then stands for all of them.
    `local`: only the state that was learned in can have changed (a table), so only that is looked at.
    """

    def __init__(self, agent: Learner, test_set: TestSet, places: dict[Action, int], every: int, local: bool) -> None:
        self.converged_at: int | None = None
        self.good_after = 0
        self.rounds_after = 0
        self._agent = agent
        self._states = test_set.states
        self._places = places
        self._every = every
        self._local = local
        self._number = {id(state.observation): number for number, state in enumerate(self._states)}
        self._good = [self._is_good(number) for number in range(len(self._states))]
        self._good_since: int | None = None

    def _is_good(self, number: int) -> bool:
        state = self._states[number]
        actions = self._agent.greedy(state.observation)
        return state.excess(tuple(self._places[action] for action in actions)) <= TOLERANCE

    def note(self, round_number: int, learned_in: Observation) -> None:
        """Round `round_number` (from 1) has been learned, in the state `learned_in`."""
        self._look(round_number, learned_in)
        good = all(self._good)
        if not good:
            self._good_since = None
        elif self._good_since is None:
            self._good_since = round_number
        if self.converged_at is not None:
            self.rounds_after += 1
            self.good_after += good
        elif self._good_since is not None and round_number - self._good_since + 1 >= WINDOW:
            self.converged_at = self._good_since
            self.rounds_after = self.good_after = WINDOW

    def _look(self, round_number: int, learned_in: Observation) -> None:
        if self._local:
            number = self._number.get(id(learned_in))
            if number is not None:
                self._good[number] = self._is_good(number)
        elif round_number % self._every == 0:
            self._good = [self._is_good(number) for number in range(len(self._states))]

    @property
    def good_share(self) -> float | None:
        """Of the rounds since convergence."""
        return self.good_after / self.rounds_after if self.rounds_after else None
