"""A simulated site as agents meet it: observations out, experiences back, the optimum beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from broker.messages import Report, Stages
from broker.vocabulary import Link, Outcome, RequestId
from configs.calibration import NoiseSection
from configs.scenario import ScenarioConfig
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice
from orchestrator.deciding import JointDecision
from orchestrator.errors import SimulationRefused
from orchestrator.reward import reward
from orchestrator.rounds import Asked, RoundEntry
from orchestrator.settling import Decided, settle
from orchestrator.simulator.world import World
from orchestrator.solver.exact import brute_force

HAPPENING = {
    "background": {"s1": {"start": 0.5, "stop": 0.5}},
    "own_load": {"edge": 1.0},
    "events": [
        {"round": 10, "kind": "slow", "nodes": ["edge"], "factor": 4},
        {"round": 20, "kind": "slow", "nodes": ["edge"], "factor": 8},
        {"round": 30, "kind": "down", "nodes": ["cloud"]},
        {"round": 40, "kind": "restore", "nodes": ["edge", "cloud"]},
        {"round": 50, "kind": "link", "nodes": ["end"], "link": "weak"},
    ],
}


def _choice(world: Any, *places: int) -> Choice:
    return Choice(tuple(world.site.actions[place] for place in places))


def _settled(accuracies: Accuracies, experience: Any, times_ms: list[float | None], maximum_ms: float) -> Any:
    """What `orchestrator.settling` makes of these response times; None where no report came."""
    observation, choice = experience.observation, experience.choice
    entry = RoundEntry(1, 0.0)
    for device, action, ms in zip(observation.devices, choice.actions, times_ms, strict=True):
        asked = entry.asked[device] = Asked(device, RequestId(f"r-{device}"))
        if ms is not None:
            asked.report = Report(
                request_id=asked.request_id, outcome=Outcome.DONE, decided=True, tier=action.tier, model=action.model,
                serving_node="edge", response_ms=ms, stages=Stages(),
            )  # fmt: skip
    joint = JointDecision(observation, choice, tuple(action.model for action in choice.actions), "test", None)
    return settle(entry, Decided(joint, 1, 3000.0, maximum_ms), accuracies, experience.next_observation)


def test_an_observation_is_what_the_live_loop_would_make(make_world: Any, accuracies: Accuracies) -> None:
    """State in equation 3's order, sorted devices, the ten actions of each, floor and accuracies in tenths."""
    world = make_world(2, floor_tenths=850)
    seen = world.observe()

    assert ("s1", "s2") == seen.devices
    assert (world.site.actions,) * 2 == seen.actions
    assert (850, accuracies.tenths) == (seen.floor_tenths, seen.accuracy_tenths)
    assert {(5.0, 30.0, Link.REGULAR)} == {
        (node.cpu_percent, node.memory_percent, node.link) for node in (seen.state.edge, *seen.state.devices)
    }


def test_the_same_state_is_the_same_object(make_world: Any) -> None:
    """So that agents may remember what they know of it; another state is another object."""
    world = make_world(3, HAPPENING)
    seen: dict[bytes, Any] = {}
    for _ in range(200):
        observation, state = world.observe(), world.simulation.state().tobytes()

        assert observation is world.observe()
        assert observation is seen.setdefault(state, observation)
        world.play(observation, _choice(world, 0, 8, 8))
    assert len(seen) == len({id(observation) for observation in seen.values()})
    assert len(seen) >= 4


def test_the_next_observation_of_a_round_is_the_observation_of_the_next(make_world: Any) -> None:
    """What own load and background load have left."""
    world = make_world(2, HAPPENING)
    experience, _ = world.play(world.observe(), _choice(world, 8, 8))

    assert experience.next_observation is world.observe()
    assert 100.0 == experience.next_observation.state.edge.cpu_percent


@pytest.mark.parametrize("places", [(0, 9, 9), (8, 9, 0), (7, 7, 7), (9, 9, 9)])
@pytest.mark.parametrize("floor_tenths", [0, 899])
def test_an_experience_is_what_the_live_loop_would_settle(
    make_world: Any, accuracies: Accuracies, places: tuple[int, ...], floor_tenths: int
) -> None:
    """With the cloud down: None for what is missing, its deadline in the mean, equation 4's reward."""
    events = [{"round": 1, "kind": "down", "nodes": ["cloud"]}]
    world = make_world(3, {"events": events}, NoiseSection(sd_percent=10), floor_tenths)
    observation, choice = world.observe(), _choice(world, *places)
    experience, played = world.play(observation, choice)
    times_ms = [None if place == 9 else ms for place, ms in zip(places, played.response_ms[0].tolist(), strict=True)]
    live, summary = _settled(accuracies, experience, times_ms, world.maximum_ms)

    assert live == experience
    assert summary.missing == played.missing.sum()
    assert summary.mean_response_ms == pytest.approx(played.mean_ms[0])
    assert summary.floor_met == played.floor_met[0]


def test_the_optimum_is_that_of_the_round_to_come(make_world: Any) -> None:
    """Brute force over what the simulation itself takes agrees, before and after each event, busy or not."""
    world = make_world(2, HAPPENING, floor_tenths=880)
    totals, seen = set(), set()
    for _ in range(60):
        observation, best = world.observe(), world.optimum()
        problem, actions = world.problem()

        assert brute_force(problem).total_ms == pytest.approx(best.total_ms)
        assert actions == world.site.actions
        experience, played = world.play(observation, _choice(world, *best.actions))
        assert best.mean_ms == pytest.approx(played.expected_ms[0])
        assert best.mean_ms == pytest.approx(-experience.reward)
        assert played.floor_met[0]
        totals.add(round(best.total_ms, 6))
        seen.add((world.simulation.happened, world.simulation.busy.tobytes()))
    assert {0, 1, 2, 3, 4, 5} == {happened for happened, _ in seen}
    assert len(totals) >= 4


def test_the_problem_is_that_of_the_site_as_it_is_now(make_world: Any) -> None:
    """A new problem after each event, the old ones again after a reset; never another's that was here before."""
    events = [
        {"round": number, "kind": "slow", "nodes": ["edge"], "factor": number} for number in range(1, 40)
    ]  # a freed site's id is soon another's
    world = make_world(1, {"events": events})
    for number in range(1, 40):
        assert 12 + 100.0 * number == world.problem()[0].total_ms([8])
        world.play(world.observe(), _choice(world, 0))
    world.reset(1)

    assert 112.0 == world.problem()[0].total_ms([8])
    assert world.problem()[0] is world.problem()[0]


def test_a_missing_result_is_never_worth_less_than_a_broken_floor(make_world: Any) -> None:
    """The constant is above the deadline, once something can be down."""
    events = [{"round": 1, "kind": "down", "nodes": ["edge"]}]
    world = make_world(2, {"events": events}, floor_tenths=899)
    kept, _ = world.play(world.observe(), _choice(world, 8, 8))
    broken, _ = world.play(world.observe(), _choice(world, 7, 7))

    assert -3000.0 == kept.reward == reward([3000.0, 3000.0], True, 4000.0)
    assert -4000.0 == broken.reward
    assert (None, None) == kept.executed == kept.response_ms


def test_a_constant_below_a_response_time_is_refused(make_site: Any, accuracies: Accuracies, hand: Any) -> None:
    """A world is as strict as the environment."""
    still = ScenarioConfig(version=1, name="still")
    with pytest.raises(SimulationRefused, match="maximum_response_ms 802: must be above"):
        World(make_site(1), accuracies, still, hand.noise, 0, maximum_ms=802.0)

    assert 803.0 == World(make_site(1), accuracies, still, hand.noise, 0, maximum_ms=803.0).maximum_ms


def test_a_joint_action_of_too_few_is_refused(make_world: Any) -> None:
    """One action per device."""
    world = make_world(2)
    with pytest.raises(SimulationRefused, match=r"actions of shape \(1, 1\), not \(1, 2\)"):
        world.play(world.observe(), _choice(world, 0))


def test_reset_begins_again(make_world: Any) -> None:
    """The same seed gives the same experiences, another seed others."""
    world = make_world(2, HAPPENING, NoiseSection(sd_percent=5))

    def run(seed: int) -> list[float]:
        world.reset(seed)
        return [world.play(world.observe(), _choice(world, 0, 8))[0].reward for _ in range(60)]

    assert run(3) == run(3) != run(4)
    assert not np.isnan(run(3)).any()
