"""How many rounds an agent needs: one run of Table 11, from nothing or from a run without a floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from broker.vocabulary import Action
from configs.orchestrator import OrchestratorConfig, Policy
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Learner, Observation, Transferable
from orchestrator.errors import TransferRefused
from orchestrator.policies import new_agent
from orchestrator.simulator.world import World
from orchestrator.training.convergence import TOLERANCE, Convergence, TestSet, visited_states
from orchestrator.training.trainer import Progress, Watcher, train

CURVE_POINTS = 100
OPTIMUM_WITHIN = 5  # "within five invocations" (section 6.2.2)
TEST_SET_SEED = 424242  # the set of states is the same for every agent and seed
LOOK_EVERY = {Policy.DQN: 10}  # rounds between two looks at a greedy decision; a window of 100 rounds is ten looks
WITHOUT_FLOOR = 0

MakeWorld = Callable[[int], World]


@dataclass(frozen=True, slots=True)
class StudyJob:
    """`policy` under a floor, for `most_rounds` at most and `after_rounds` once converged.

    `transfer`: first converge without a floor, then begin with what that has learned; those rounds do not count.
    """

    policy: Policy
    config: OrchestratorConfig
    floor_tenths: int
    seed: int
    most_rounds: int
    after_rounds: int
    transfer: bool = False


@dataclass(slots=True)
class StudyResult:
    """What one run came to. `converged_at` None: not within `rounds`. Shares are of rounds; times per round, in ms.

    `broken_share`: of the rounds until convergence (or the end), the share that broke the floor. `optimal_within`: the
    most rounds that greedy decisions needed to be optimal from any of the `states`, None if more than five; in
    `good_states` of them the last greedy decision is within 1 %. `states_seen`: how many the agent met. `curve`: by
    block, mean reward and share broken.
    """

    converged_at: int | None
    rounds: int
    good_share: float | None
    broken_share: float
    states: int
    good_states: int
    states_seen: int
    optimal_within: int | None
    act_ms: float
    learn_ms: float
    wall_s: float
    block_rounds: int
    curve: list[tuple[float, float]] = field(default_factory=list)


def run_study(job: StudyJob, make_world: MakeWorld, accuracies: Accuracies, watcher: Watcher) -> StudyResult:
    """Run one job; `make_world` makes the site under a floor in tenths.

    Raises TierwiseError, and what `watcher` raises.
    """
    agent = new_agent(job.policy, job.config.model_copy(update={"seed": job.seed}), accuracies)
    if not isinstance(agent, Learner):
        raise TransferRefused(f"the policy {agent.name} does not learn")
    if job.transfer:
        if not isinstance(agent, Transferable):
            raise TransferRefused(f"the policy {agent.name} has nothing that another floor could begin with")
        _converge(job, agent, make_world(WITHOUT_FLOOR), job.seed, after_rounds=0, watcher=watcher)
        agent.transfer(WITHOUT_FLOOR, job.floor_tenths)
    started_s = perf_counter()
    world = make_world(job.floor_tenths)
    # Another seed than the first part's, or the same noise would come again.
    seed = job.seed + 10_000 * job.transfer
    progress, convergence, test_set = _converge(job, agent, world, seed, job.after_rounds, watcher)
    seen = world.states_seen
    good, within = _judge(agent, world, test_set)
    return StudyResult(
        converged_at=convergence.converged_at,
        rounds=progress.round,
        good_share=convergence.good_share,
        broken_share=_broken_share(progress, convergence.converged_at),
        states=len(test_set.states),
        good_states=good,
        states_seen=seen,
        optimal_within=within,
        act_ms=1000 * progress.act_s / progress.round,
        learn_ms=1000 * progress.learn_s / progress.round,
        wall_s=perf_counter() - started_s,
        block_rounds=progress.block_rounds,
        curve=[(round(b.reward / b.rounds, 2), round(b.broken / b.rounds, 4)) for b in progress.blocks],
    )


def _converge(
    job: StudyJob, agent: Learner, world: World, seed: int, after_rounds: int, watcher: Watcher
) -> tuple[Progress, Convergence, TestSet]:
    test_set = visited_states(world, "visited", TEST_SET_SEED)
    world.reset(seed)
    places = {action: place for place, action in enumerate(world.site.actions)}
    local = job.policy not in (Policy.DQN, Policy.FACTORED)
    convergence = Convergence(agent, test_set, places, LOOK_EVERY.get(job.policy, 1), local)
    progress = Progress(max(1, job.most_rounds // CURVE_POINTS))

    def enough(_: Progress) -> bool:
        return convergence.converged_at is not None and convergence.rounds_after >= after_rounds

    train(world, agent, job.most_rounds, progress, convergence, watcher, enough)
    return progress, convergence, test_set


def _broken_share(progress: Progress, converged_at: int | None) -> float:
    """Over whole blocks, the one with the round of convergence included."""
    blocks = progress.blocks
    if converged_at is not None:
        blocks = blocks[: (converged_at - 1) // progress.block_rounds + 1]
    return sum(block.broken for block in blocks) / sum(block.rounds for block in blocks)


def _judge(agent: Learner, world: World, test_set: TestSet) -> tuple[int, int | None]:
    """In how many states the greedy decision is within 1 %, and how many rounds it takes at most until it is."""
    places = {action: place for place, action in enumerate(world.site.actions)}
    needed = [_rounds_to_optimum(agent, world, state.bring_about(world), places) for state in test_set.states]
    within = [rounds for rounds in needed if rounds is not None]
    return needed.count(1), max(within) if len(within) == len(needed) else None


def _rounds_to_optimum(agent: Learner, world: World, observation: Observation, places: dict[Action, int]) -> int | None:
    """From a state brought about in `world`: the first round whose greedy decision is within 1 % of the optimum."""
    for number in range(1, OPTIMUM_WITHIN + 1):
        actions = agent.greedy(observation)
        indices = tuple(places[action] for action in actions)
        problem, best = world.problem()[0], world.optimum()
        if problem.feasible(indices) and problem.total_ms(indices) <= (1 + TOLERANCE) * best.total_ms:
            return number
        experience, _ = world.play(observation, Choice(actions))
        observation = experience.next_observation
    return None
