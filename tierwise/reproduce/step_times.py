"""How long an agent's steps take, alone in this process: decisions and learning of five devices."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns, thread_time_ns

import numpy as np
import numpy.typing as npt

from configs.calibration import CalibrationConfig
from configs.orchestrator import Policy
from configs.scenario import ScenarioConfig
from orchestrator.agent import Agent
from orchestrator.policies import new_agent
from orchestrator.simulator.files import find
from orchestrator.simulator.world import World
from orchestrator.training.hyperparameters import for_users
from tierwise.reproduce.published import USERS
from tierwise.reproduce.site import CALIBRATION, accuracies, paper_site

FLOOR_TENTHS = 850
WARM_UP = 100  # calls; the DQN's replay holds a whole batch (64) after them


@dataclass(frozen=True, slots=True)
class Times:
    """Of `count` calls, in ms. `cpu_ms`: the median of the processor time, which other processes hardly change."""

    median_ms: float
    p99_ms: float
    count: int
    cpu_ms: float | None = None


def exploiting_agent(policy: Policy) -> Agent:
    """With Table 7's settings for five users, but it never chooses at random: an argmax is the dearer branch."""
    config = for_users(USERS)
    greedy = {"epsilon": 0.0, "epsilon_min": 0.0}
    sections = {"q_learning": config.q_learning, "dqn": config.dqn}
    changed = {name: section.model_copy(update=greedy) for name, section in sections.items()}
    return new_agent(policy, config.model_copy(update={**changed, "seed": 1}), accuracies())


def step_times(agent: Agent, calls: int) -> dict[str, Times]:
    """Of `decision`, of `learning` and of both as one `step`; five devices in Exp-A, after warming up."""
    noise = find(CalibrationConfig, CALIBRATION).noise
    world = World(paper_site("exp-a", USERS), accuracies(), find(ScenarioConfig, "still"), noise, FLOOR_TENTHS)
    world.reset(1)
    rounds = []
    observation = world.observe()
    for _ in range(WARM_UP + calls):
        started = _now_ns()
        choice = agent.act(observation)
        decided = _now_ns()
        experience, _played = world.play(observation, choice)
        learning = _now_ns()
        agent.learn(experience)
        rounds.append((started, decided, learning, _now_ns()))
        observation = experience.next_observation
    taken = np.array(rounds[WARM_UP:])  # (calls, 4 moments, 2 clocks)
    decisions, learnings = taken[:, 1] - taken[:, 0], taken[:, 3] - taken[:, 2]
    kinds = {"decision": decisions, "learning": learnings, "step": decisions + learnings}
    return {kind: times_of(clocks_ns[:, 0], clocks_ns[:, 1]) for kind, clocks_ns in kinds.items()}


def _now_ns() -> tuple[int, int]:
    """Both clocks. This thread's processor time is all there is: the agents use one thread."""
    return perf_counter_ns(), thread_time_ns()


def times_of(wall_ns: npt.NDArray[np.int64], cpu_ns: npt.NDArray[np.int64]) -> Times:
    """Medians, and the nearest-rank 99th percentile."""
    ordered = np.sort(wall_ns)
    p99_ns = ordered[-(len(ordered) // 100) - 1]
    return Times(float(np.median(wall_ns)) / 1e6, float(p99_ns) / 1e6, len(ordered), float(np.median(cpu_ns)) / 1e6)
