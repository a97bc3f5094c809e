"""One simulated site as the agents of `orchestrator.agent` meet it: observations out, experiences back."""

from __future__ import annotations

import numpy as np

from broker.vocabulary import Action, Link
from configs.calibration import NoiseSection
from configs.scenario import ScenarioConfig
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.errors import SimulationRefused
from orchestrator.reward import reward
from orchestrator.simulator.simulation import IDLE_MEMORY_PERCENT, Ints, Played, Simulation
from orchestrator.simulator.site import Bools, Site
from orchestrator.solver.exact import solve
from orchestrator.solver.problem import Problem, Solution
from orchestrator.state import Resources, SystemState

MOST_KEPT = 4096  # observations of states seen before, and problems
MOST_KEPT_DEVICES = 409_600  # in all that is kept of each: some 40 MB of problems

Key = tuple[bytes, int]


class World:
    """The synchronous rounds of one site under one floor. Mutable through `simulation`."""

    def __init__(
        self,
        site: Site,
        accuracies: Accuracies,
        scenario: ScenarioConfig,
        noise: NoiseSection,
        floor_tenths: int,
        maximum_ms: float | None = None,
    ) -> None:
        if not 0 <= floor_tenths <= site.best_tenths:
            raise SimulationRefused(f"a floor of {floor_tenths / 10} %; choose 0 to {site.best_tenths / 10} %")
        self.simulation = Simulation(site, scenario, noise, floor_tenths, batch=1)
        self.floor_tenths = floor_tenths
        self.maximum_ms = self.simulation.maximum_ms(maximum_ms)
        self._tenths = dict(accuracies.tenths)
        self._places = {action: place for place, action in enumerate(site.actions)}
        self._actions = (site.actions,) * len(site.devices)
        self._observations: dict[Key, Observation] = {}
        self._resources: dict[tuple[float, float], Resources] = {}
        self._most_kept = min(MOST_KEPT, MOST_KEPT_DEVICES // len(site.devices))
        self._problems: dict[tuple[bytes, int], Problem] = {}
        self._solutions: dict[int, Solution] = {}

    @property
    def site(self) -> Site:
        """As it is now, after the events so far."""
        return self.simulation.site

    @property
    def states_seen(self) -> int:
        """How many states were observed so far (of very many, only the newest)."""
        return len(self._observations)

    def reset(self, seed: int) -> None:
        """Begin again, from this seed."""
        self.simulation.reset(seed)

    def observe(self) -> Observation:
        """What an agent sees before the next round."""
        cpu = self.simulation.cpu_percent()[0]
        links = self.simulation.weak_links()
        key = cpu.tobytes(), hash(links.tobytes())
        known = self._observations.get(key)
        if known is None:
            nodes = zip(cpu.tolist(), links.tolist(), strict=True)
            known = self._observation([self._resources.get(node) or self._resource(node) for node in nodes])
            if len(self._observations) >= self._most_kept:
                self._observations.clear()
            self._observations[key] = known
        return known

    def _resource(self, node: tuple[float, float]) -> Resources:
        cpu_percent, weak = node
        made = Resources(cpu_percent, IDLE_MEMORY_PERCENT, Link.WEAK if weak else Link.REGULAR)
        return self._resources.setdefault(node, made)

    def _observation(self, nodes: list[Resources]) -> Observation:
        edge, cloud, *devices = nodes
        return Observation(
            state=SystemState(edge, cloud, tuple(devices)),
            devices=self.site.devices,
            actions=self._actions,
            floor_tenths=self.floor_tenths,
            accuracy_tenths=self._tenths,
        )

    def indices(self, actions: tuple[Action, ...]) -> Ints:
        """(1, N): a joint action as the simulation takes it. Raises SimulationRefused."""
        try:
            return np.array([[self._places[action] for action in actions]])
        except KeyError as error:
            raise SimulationRefused(f"no device can do {error.args[0]}") from error

    def play(self, observation: Observation, choice: Choice) -> tuple[Experience, Played]:
        """One round with `choice`: what the agent may know of it, and what only the world knows."""
        played = self.simulation.play(self.indices(choice.actions))
        times_ms = played.response_ms[0].tolist()
        if played.missing.any():
            given = [None if gone else ms for ms, gone in zip(times_ms, played.missing[0], strict=True)]
            executed = tuple(None if ms is None else action for ms, action in zip(given, choice.actions, strict=True))
        else:
            given, executed = times_ms, choice.actions
        earned = reward(times_ms, bool(played.floor_met[0]), self.maximum_ms)
        return Experience(observation, choice, executed, tuple(given), earned, self.observe()), played

    def problem(self) -> tuple[Problem, tuple[Action, ...]]:
        """The decision problem of the round to come, and the joint action's columns. It knows the background load."""
        return self._problem(self.simulation.busy[0]), self.site.actions

    def _problem(self, busy: Bools) -> Problem:
        key = busy.tobytes(), self.simulation.happened
        if key not in self._problems:
            if len(self._problems) >= self._most_kept:
                self._problems.clear()
                self._solutions.clear()
            self._problems[key] = self.site.problem(self.floor_tenths, busy)
        return self._problems[key]

    def optimum(self) -> Solution:
        """The proven optimum of the round to come. Raises FloorUnreachable."""
        problem = self._problem(self.simulation.busy[0])
        if id(problem) not in self._solutions:
            self._solutions[id(problem)] = solve(problem)
        return self._solutions[id(problem)]
