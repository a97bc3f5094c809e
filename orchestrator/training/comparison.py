"""One policy on a simulated site, from nothing: what its users would have seen. `tierwise compare` runs several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from broker.vocabulary import Action
from configs.orchestrator import Policy
from configs.scenario import ScenarioConfig
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Agent, Learner
from orchestrator.policies import new_agent
from orchestrator.simulator.files import find
from orchestrator.simulator.world import World
from orchestrator.training.convergence import Convergence, visited_states
from orchestrator.training.job import TrainingJob

LOOK_EVERY = 10  # rounds between two looks at the greedy decisions of agents whose look is costly
MAX_CONVERGENCE_USERS = 10  # of larger sites the test set of proven optima takes too long
TEST_SET_SEED = 424242
CURVE_POINTS = 100


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """Figures over all rounds, those of learning included. Times as measured (with noise), in ms.

    `accuracy_percent`: the mean of the average Top-5. `floor_met_percent`: of the rounds. `converged_at`: the round, by
    the definition of `training.convergence`; None if it did not converge, or does not learn. `curve_ms`: the mean of
    each of up to 100 equal parts of the run.
    """

    policy: str
    rounds: int
    mean_ms: float
    p95_ms: float
    optimum_ms: float
    accuracy_percent: float
    floor_met_percent: float
    learns: bool
    converged_at: int | None
    curve_ms: tuple[float, ...]


def measure_policy(job: TrainingJob, accuracies: Accuracies, tell: Callable[[int], None]) -> PolicyFigures:
    """Run `job.rounds` rounds; `tell` takes the rounds done. Raises TierwiseError."""
    world = job.world(accuracies)
    agent = new_agent(job.policy, job.config.model_copy(update={"seed": job.seed}), accuracies)
    convergence = _convergence(agent, job, world) if isinstance(agent, Learner) else None
    world.reset(job.seed)
    times_ms = np.empty((job.rounds, job.users))
    optima_ms, tenths, met = np.empty(job.rounds), np.empty(job.rounds), np.empty(job.rounds, dtype=bool)
    observation = world.observe()
    for number in range(job.rounds):
        optima_ms[number] = world.optimum().mean_ms
        experience, played = world.play(observation, agent.act(observation))
        agent.learn(experience)
        times_ms[number] = played.response_ms[0]
        tenths[number], met[number] = played.tenths[0] / job.users, played.floor_met[0]
        if convergence is not None:
            convergence.note(number + 1, observation)
        observation = experience.next_observation
        tell(number + 1)
    parts = np.array_split(times_ms.mean(axis=1), min(CURVE_POINTS, job.rounds))
    return PolicyFigures(
        policy=str(job.policy),
        rounds=job.rounds,
        mean_ms=float(times_ms.mean()),
        p95_ms=float(np.percentile(times_ms, 95)),
        optimum_ms=float(optima_ms.mean()),
        accuracy_percent=float(tenths.mean()) / 10,
        floor_met_percent=100 * float(met.mean()),
        learns=isinstance(agent, Learner),
        converged_at=None if convergence is None else convergence.converged_at,
        curve_ms=tuple(round(float(part.mean()), 2) for part in parts),
    )


def _convergence(agent: Agent, job: TrainingJob, world: World) -> Convergence | None:
    if job.users > MAX_CONVERGENCE_USERS or find(ScenarioConfig, job.scenario).events or not isinstance(agent, Learner):
        return None
    test_set = visited_states(world, "visited", TEST_SET_SEED)
    places: dict[Action, int] = {action: place for place, action in enumerate(world.site.actions)}
    table = job.policy not in (Policy.DQN, Policy.FACTORED)
    return Convergence(agent, test_set, places, 1 if table else LOOK_EVERY, table)
