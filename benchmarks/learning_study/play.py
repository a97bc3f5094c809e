"""One run of the learning benchmark: the agent on a simulated site, watched without noise."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.learning_study.runs import FEW_USERS, FLOORS, Result, Run
from broker.vocabulary import NodeId
from configs.orchestrator import FactoredSection, StateSection
from configs.scenario import EventKind, EventSection, ScenarioConfig
from orchestrator.agents.factored import Factored
from orchestrator.simulator.families import world_of
from orchestrator.simulator.world import World
from orchestrator.solver.bounded import solve_within
from orchestrator.solver.problem import Problem
from orchestrator.training.convergence import TOLERANCE, WINDOW
from tierwise.parallel import Reporter
from tierwise.reproduce.site import accuracies

MOST_ROUNDS = 400
CALM_ROUNDS = 10_000
EVENT_ROUNDS = 100  # between two changes; the first hundred are for learning
BACK_WINDOW = 50  # rounds on end for which an agent must be right to count as back
PROVEN = 1e-4  # the optimum that is compared with is a lower bound, proven to be this near


class Watched:
    """A world and an agent, with what only the world knows. Mutable."""

    def __init__(self, run: Run, scenario: ScenarioConfig | str) -> None:
        self.world: World = world_of(
            run.family, run.experiment, run.users, FLOORS[run.floor], run.seed, scenario, grow=run.users > FEW_USERS
        )
        self.agent = Factored(FactoredSection(), StateSection(), dict(accuracies().tenths), run.seed)
        self.broken = self.explored = self.rounds = 0
        self.regrets: list[float] = []
        self.act_ms: list[float] = []
        self.learn_ms: list[float] = []
        self.gap = 0.0
        self._places = {action: place for place, action in enumerate(self.world.site.actions)}
        self._seen = self.world.observe()
        self._bounds: dict[int, tuple[Problem, float]] = {}

    def round(self) -> float:
        """Play one; by what share the greedy decision is slower than the optimum then. Infinite if it breaks the floor.

        Judged on the site as it is before the next round: after a change, on the changed one.
        """
        started_s = perf_counter()
        choice = self.agent.act(self._seen)
        acted_s = perf_counter()
        least_ms = self._least_ms(self.world.problem()[0])
        experience, played = self.world.play(self._seen, choice)
        learning_s = perf_counter()
        self.agent.learn(experience)
        self.act_ms.append(1000 * (acted_s - started_s))
        self.learn_ms.append(1000 * (perf_counter() - learning_s))
        self.rounds += 1
        self.broken += not bool(played.floor_met[0])
        self.explored += choice.explored
        self.gap = max(self.gap, self.agent.gap)
        self.regrets.append(float(played.expected_ms[0]) * len(self._seen.devices) / least_ms - 1)
        self._seen = experience.next_observation
        return self._excess()

    def see_anew(self) -> None:
        """The next observation is another object of the same content, as telemetry makes one."""
        self._seen = replace(self._seen)

    def _excess(self) -> float:
        problem = self.world.problem()[0]
        columns = [self._places[action] for action in self.agent.greedy(self._seen)]
        if not problem.feasible(columns):
            return float("inf")
        return problem.total_ms(columns) / self._least_ms(problem) - 1

    def _least_ms(self, problem: Problem) -> float:
        """The sum of an optimum, at least."""
        if id(problem) not in self._bounds:
            self._bounds[id(problem)] = problem, solve_within(problem, PROVEN).bound_ms
        return self._bounds[id(problem)][1]


def play(run: Run, reporter: Reporter) -> Result:
    """One run, in a worker process."""
    if run.kind == "learn":
        return _learn(run, reporter)
    return _change(run, reporter) if run.kind == "change" else _calm(run, reporter)


def _learn(run: Run, reporter: Reporter) -> Result:
    """Until the greedy decision was right for 100 rounds on end: the design's definition of converged."""
    watched = Watched(run, "still")
    since, converged_at = None, None
    for number in range(1, MOST_ROUNDS + 1):
        good = watched.round() <= TOLERANCE
        since = (number if since is None else since) if good else None
        if since is not None and number - since + 1 >= WINDOW:
            converged_at = since
            break
        if number % 20 == 0:
            reporter.tell(number / MOST_ROUNDS, f"{number} rounds")
    after = watched.regrets[converged_at - 1 :] if converged_at else []
    return {
        "converged_at": converged_at,
        **_counted(watched),
        "regret_until": float(np.mean(watched.regrets[: converged_at or None])),
        "regret_after": float(np.mean(after)) if after else None,
    }


def _counted(watched: Watched) -> dict[str, Any]:
    return {
        "rounds": watched.rounds,
        "broken": watched.broken,
        "explored": watched.explored,
        "gap": watched.gap,
        "changes_found": watched.agent.changes_found,
        "act_ms": round(float(np.median(watched.act_ms)), 3),
        "learn_ms": round(float(np.median(watched.learn_ms)), 3),
    }


def changes(users: int, seed: int) -> ScenarioConfig:
    """A fifth of the devices twice as slow and the edge 120 ms slower; all as before; the cloud dead."""
    drawn = np.random.default_rng(seed).choice(users, max(1, users // 5), replace=False)
    slow = tuple(NodeId(f"s{number + 1}") for number in sorted(drawn.tolist()))
    first, second, third = (EVENT_ROUNDS * number + 1 for number in (1, 2, 3))
    events = (
        EventSection(round=first, kind=EventKind.SLOW, nodes=slow, factor=2.0),
        EventSection(round=first, kind=EventKind.DELAY, nodes=(NodeId("edge"),), ms=120.0),
        EventSection(round=second, kind=EventKind.RESTORE, nodes=(*slow, NodeId("edge"))),
        EventSection(round=third, kind=EventKind.DOWN, nodes=(NodeId("cloud"),)),
    )
    return ScenarioConfig(version=1, name="changes", events=events)


def _change(run: Run, reporter: Reporter) -> Result:
    watched = Watched(run, changes(run.users, run.seed))
    excess: list[float] = []
    for number in range(1, 4 * EVENT_ROUNDS + 1):
        excess.append(watched.round())
        if number % 20 == 0:
            reporter.tell(number / (4 * EVENT_ROUNDS), f"{number} rounds")
    result: Result = {"back_after": [_back(excess, number) for number in (1, 2, 3)], **_counted(watched)}
    if (run.family, run.experiment, run.floor) == ("paper", "exp-a", "max"):  # for the picture
        result["excess"] = [round(min(9.99, share), 4) for share in excess]
    return result


def _back(excess: list[float], change: int) -> int | None:
    """Rounds played on the changed site until the greedy decision is right, for 50 rounds on end.

    The last value before a change is judged on the changed site already: 0 means that nothing had to be learned.
    """
    judged = excess[change * EVENT_ROUNDS - 1 : (change + 1) * EVENT_ROUNDS - 1]
    since = None
    for number, share in enumerate(judged):
        since = (number if since is None else since) if share <= TOLERANCE else None
        if since is not None and number - since + 1 >= BACK_WINDOW:
            return since
    return None


def _calm(run: Run, reporter: Reporter) -> Result:
    watched = Watched(run, "still")
    for number in range(1, CALM_ROUNDS + 1):
        watched.round()
        if number % 100 == 0:
            reporter.tell(number / CALM_ROUNDS, f"{number} rounds")
    return _counted(watched)
