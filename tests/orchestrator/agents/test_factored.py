"""The factored agent, in rounds and one request at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Action, Tier
from configs.orchestrator import FactoredSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Observation, Reason
from orchestrator.agents.factored import Factored
from orchestrator.fallback import joint_fallback
from orchestrator.simulator.families import world_of
from orchestrator.simulator.world import World
from orchestrator.solver.exact import solve
from orchestrator.solver.problem import Problem

LOCAL_MS = dict(zip((f"d{place}" for place in range(8)), (459, 260, 150, 75, 230, 155, 100, 72), strict=True))
TIERS = (Tier.END, Tier.EDGE, Tier.CLOUD)


class Small:
    """A site of any devices: local times by model, a quick cloud and a slower edge; 2 % of noise.

    `factors`: what takes longer, by device or tier. `dead`: tiers that answer nobody.
    """

    def __init__(self, accuracies: Accuracies, seed: int = 1) -> None:
        self.factors: dict[str, float] = {}
        self.dead: set[Tier] = set()
        self._accuracies = accuracies
        self._noise = np.random.default_rng(seed)

    def shared_ms(self, tier: Tier, sharers: int) -> float:
        """Of each of them."""
        return self.factors.get(tier, 1.0) * {Tier.EDGE: 120.0, Tier.CLOUD: 100.0}[tier] * (0.6 + 0.4 * sharers)

    def times_ms(self, seen: Observation, joint: Sequence[Action]) -> list[float | None]:
        """Measured; None from what is dead."""
        on = {tier: sum(action.tier is tier for action in joint) for tier in TIERS}
        times_ms: list[float | None] = []
        for device, action in zip(seen.devices, joint, strict=True):
            local_ms = LOCAL_MS[action.model] * self.factors.get(device, 1.0)
            ms = local_ms if action.tier is Tier.END else self.shared_ms(action.tier, on[action.tier])
            times_ms.append(None if action.tier in self.dead else ms * self._noise.normal(1.0, 0.02))
        return times_ms

    def above(self, seen: Observation, joint: Sequence[Action]) -> float:
        """By what share the expected sum of a joint action is above the optimum of what is alive."""
        columns = sorted({action for able in seen.actions for action in able}, key=str)
        own_ms = np.full((len(seen.devices), len(columns)), np.inf)
        for row, (device, able) in enumerate(zip(seen.devices, seen.actions, strict=True)):
            for action in able:
                if action.tier not in self.dead:
                    local_ms = LOCAL_MS[action.model] * self.factors.get(device, 1.0)
                    own_ms[row, columns.index(action)] = local_ms if action.tier is Tier.END else 0.0
        numbers = range(len(seen.devices) + 1)
        problem = Problem(
            own_ms,
            np.array([TIERS.index(column.tier) for column in columns]),
            np.array([self._accuracies.deficit(column.model) for column in columns]),
            np.array([[self.shared_ms(tier, number) for number in numbers] for tier in TIERS[1:]]),
            self._accuracies.budget(len(seen.devices), seen.floor_tenths),
        )
        return problem.total_ms([columns.index(action) for action in joint]) / solve(problem).total_ms - 1

    def play(self, agent: Factored, seen: Observation, rounds: int = 1) -> Choice:
        """Rounds; the last choice."""
        for _ in range(rounds):
            choice = agent.act(seen)
            assert self._accuracies.meets([action.model for action in choice.actions], seen.floor_tenths)
            self.tell(agent, seen, choice)
        return choice

    def tell(self, agent: Factored, seen: Observation, choice: Choice) -> None:
        """What came of a choice."""
        times_ms = self.times_ms(seen, choice.actions)
        done = tuple(None if ms is None else told for ms, told in zip(times_ms, choice.actions, strict=True))
        agent.learn(Experience(seen, choice, done, tuple(times_ms), 0.0, seen))


@pytest.fixture
def agent(accuracies: Accuracies) -> Factored:
    return _agent(accuracies)


@pytest.fixture
def small(accuracies: Accuracies) -> Small:
    return Small(accuracies)


def _agent(accuracies: Accuracies, seed: int = 1, **settings: Any) -> Factored:
    return Factored(FactoredSection(**settings), StateSection(), dict(accuracies.tenths), seed)


def _play(agent: Factored, world: World, rounds: int) -> tuple[list[float], int]:
    """Rounds of a simulated site: by what share its greedy choice is above the optimum after each, and how many
    explored; the floor holds in each one, and if any of the devices fall back."""
    above, explored, random = [], 0, np.random.default_rng(1)
    for _ in range(rounds):
        seen = world.observe()
        choice = agent.act(seen)
        experience, played = world.play(seen, choice)
        assert played.floor_met[0]
        _assert_floor_with_fallbacks(world, choice, random.random(len(seen.devices)) < random.choice([0.5, 1.0]))
        agent.learn(experience)
        explored += choice.explored
        columns = world.indices(agent.greedy(world.observe()))[0].tolist()
        above.append(world.problem()[0].total_ms(columns) / world.optimum().total_ms - 1)
    return above, explored


def _assert_floor_with_fallbacks(world: World, choice: Choice, who: Any) -> None:
    tenths = {action.model: int(value) for action, value in zip(world.site.actions, world.site.tenths, strict=True)}
    local = [[action.model for action in world.site.actions if action.tier is Tier.END]] * len(choice.actions)
    known = Accuracies(tenths, {model: place for place, model in enumerate(reversed(tenths))})
    fallbacks = joint_fallback(choice.actions, local, world.floor_tenths, known)
    ran = [back if fell else told.model for back, told, fell in zip(fallbacks, choice.actions, who, strict=True)]
    assert known.meets([model for model in ran if model is not None], world.floor_tenths)


@pytest.mark.parametrize("floor_tenths", [0, 850, 890])
@pytest.mark.parametrize("family", ["paper", "non_additive", "heterogeneous", "convex", "kinked", "saturating", "fifo"])
def test_it_finds_the_proven_optimum_and_stays(accuracies: Accuracies, family: str, floor_tenths: int) -> None:
    """Four devices, 10^4 joint actions: within 30 rounds its greedy choice is within 1 % of the optimum, and stays
    there for 50 more; the floor holds in all of them."""
    agent = _agent(accuracies)
    above, explored = _play(agent, world_of(family, "exp-a", 4, floor_tenths, seed=3), 80)

    assert max(above[29:]) < 0.01
    assert explored > 0
    assert 0 == agent.changes_found


@pytest.mark.parametrize("family", ["noisy", "heavy_tails", "everything"])
def test_under_noise_the_floor_holds_and_the_optimum_is_near(accuracies: Accuracies, family: str) -> None:
    """10 % of noise, outliers, interactions, first in first out: within 5 % after 60 rounds, no broken floor."""
    above, explored = _play(_agent(accuracies), world_of(family, "exp-b", 5, 890, seed=2), 120)

    assert max(above[60:]) < 0.05
    assert explored > 0


@pytest.mark.parametrize(("family", "floor_tenths"), [("paper", 850), ("non_additive", 890), ("heavy_tails", 899)])
def test_forty_devices_share_what_they_learn(accuracies: Accuracies, family: str, floor_tenths: int) -> None:
    """10^40 joint actions: within 2 % after 30 rounds, the floor kept in each."""
    above, _ = _play(_agent(accuracies), world_of(family, "exp-b", 40, floor_tenths, seed=3, grow=True), 40)

    assert max(above[29:]) < 0.02


def test_a_bad_first_impression_does_not_last(agent: Factored, small: Small, observe: Any) -> None:
    """In the first rounds edge and cloud seem five times as slow. To look again at what seems so slow is dear, so it
    is done seldom, but it is done: the optimum is found within 500 rounds."""
    seen = observe(3, 890)
    small.factors = {Tier.EDGE: 5.0, Tier.CLOUD: 5.0}
    small.play(agent, seen, 4)
    small.factors = {}
    small.play(agent, seen, 500)

    assert small.above(seen, agent.greedy(seen)) < 0.01


def test_exploring_ends_but_for_probes(agent: Factored, small: Small, observe: Any) -> None:
    """In the last 100 of 200 rounds on a still site the mean regret is below 3 %, and what is explored is rare."""
    seen, above, explored = observe(3, 890), [], 0
    small.play(agent, seen, 100)
    for _ in range(100):
        choice = small.play(agent, seen)
        above.append(small.above(seen, choice.actions))
        explored += choice.explored

    assert (sum(above) / 100 < 0.03, explored < 50) == (True, True)


def test_a_device_that_returns_is_known(agent: Factored, small: Small, observe: Any) -> None:
    """Three times as slow as the others, gone for 30 rounds: at once the greedy choice is the optimum, before and
    after; the others do not start over either."""
    three, two = observe(3, 850), observe(2, 850)
    small.factors = {"s3": 3.0}
    small.play(agent, three, 60)
    assert small.above(two, agent.greedy(two)) < 0.01
    small.play(agent, two, 30)

    assert small.above(three, agent.greedy(three)) < 0.01


def test_a_new_device_is_served_by_what_its_peers_taught(agent: Factored, small: Small, observe: Any) -> None:
    """Among four that are known the fifth, never seen, makes the joint choice no more than 3 % slower."""
    small.play(agent, observe(4, 850), 60)
    five = observe(5, 850)

    assert small.above(five, agent.greedy(five)) < 0.03


def test_a_dead_cloud_is_left_at_once_and_used_again_when_it_lives(agent: Factored, small: Small, observe: Any) -> None:
    """The round after nobody was answered there, nobody is sent; once it lives it is back within 30 rounds."""
    seen = observe(3, 890)
    small.play(agent, seen, 40)
    assert Tier.CLOUD in [action.tier for action in agent.greedy(seen)]
    small.dead = {Tier.CLOUD}
    while Tier.CLOUD not in [action.tier for action in small.play(agent, seen).actions]:
        pass

    for _ in range(7):
        assert Tier.CLOUD not in [action.tier for action in small.play(agent, seen).actions]
        assert small.above(seen, agent.greedy(seen)) < 0.05
    small.dead = set()
    small.play(agent, seen, 30)
    assert small.above(seen, agent.greedy(seen)) < 0.01


def test_a_device_that_slows_down_is_found(agent: Factored, small: Small, observe: Any) -> None:
    """Four times as slow from one round to the next: one change, and within 30 rounds the optimum is found again."""
    seen = observe(3, 850)
    small.play(agent, seen, 60)
    assert 0 == agent.changes_found
    small.factors = {"s1": 4.0}
    small.play(agent, seen, 30)

    assert small.above(seen, agent.greedy(seen)) < 0.02
    assert 1 <= agent.changes_found <= 2


def test_what_did_not_come_or_was_not_told_changes_no_prediction(agent: Factored, small: Small, observe: Any) -> None:
    """Local runs that were late, lost or another model's: the next choice expects the same times."""
    seen = observe(3, 0, actions=[observe(1).actions[0][:8]] * 3)
    small.play(agent, seen, 30)
    best = Choice(agent.greedy(seen))
    before = [agent.act(seen).why(place) for place in range(3)]
    fallen = tuple(replace(action, model="d5") for action in best.actions)
    agent.learn(Experience(seen, best, (None,) * 3, (None,) * 3, 0.0, seen))
    agent.learn(Experience(seen, best, fallen, (9000.0,) * 3, 0.0, seen))
    beliefs = agent._times.believe(agent._times.view(seen))

    for place, why in enumerate(before):
        assert why.predicted_ms == beliefs.own_ms[place, agent._times.view(seen).column[why.action]]


def test_it_says_why(accuracies: Accuracies, small: Small, observe: Any) -> None:
    """Of each round and device: its action, a positive time and deviation, a runner-up that it has; a round that did
    not explore is all BEST, and among the first some are UNCERTAIN and among the later some PROBE."""
    agent, seen, reasons = _agent(accuracies, probe_share=1.0), observe(3, 890), []
    for _ in range(80):
        choice = agent.act(seen)
        whys = [choice.why(place) for place in range(3)]
        assert choice.actions == tuple(why.action for why in whys)
        assert all(why.predicted_ms > 0 < why.sd_ms and math.isfinite(why.sd_ms) for why in whys)
        assert all(why.runner_up in seen.actions[0] and why.runner_up != why.action for why in whys)
        assert choice.explored or {Reason.BEST} == {why.reason for why in whys}
        reasons.append({why.reason for why in whys})
        small.tell(agent, seen, choice)

    assert Reason.UNCERTAIN in set.union(*reasons[:10])
    assert Reason.PROBE in set.union(*reasons[10:])


def test_what_is_predicted_comes_true(agent: Factored, small: Small, observe: Any) -> None:
    """After 60 rounds predictions of the greedy choice are within 5 % of what is measured on average."""
    seen = observe(3, 890)
    small.play(agent, seen, 60)
    joint = agent.greedy(seen)
    measured = np.mean([small.times_ms(seen, joint) for _ in range(50)], axis=0)
    while (choice := agent.act(seen)).explored:
        small.tell(agent, seen, choice)

    assert measured.tolist() == pytest.approx([choice.why(place).predicted_ms for place in range(3)], rel=0.05)
