"""Large sites by laps: the plan is made in a thread, the floor holds at each request, and it ends near the optimum."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from broker.errors import TierwiseError
from broker.vocabulary import Action, NodeId
from configs.orchestrator import FactoredSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Observation
from orchestrator.agents.factored import Factored
from orchestrator.checkpoint import Checkpoint
from orchestrator.laps import Came, Lap, Laps, Part, Planning
from orchestrator.simulator.families import world_of
from orchestrator.simulator.world import World
from orchestrator.standing import Standing, fit

PATIENCE_S = 120.0


class Site:
    """A world whose devices ask in random order, and what each was told last."""

    def __init__(self, world: World, accuracies: Accuracies) -> None:
        self.world, self.accuracies = world, accuracies
        self.seen = world.observe()
        self.standing = Standing(accuracies)
        self.standing.of_site(self, self, zip(self.seen.devices, self.seen.actions, strict=True))
        self.random = np.random.default_rng(1)

    def lap(self, laps: Laps) -> None:
        """Each device once; what it is told keeps the floor beside what the others hold, also should they fall back."""
        lap, floor = laps.in_force, self.seen.floor_tenths
        assert lap is not None
        for place in self.random.permutation(len(self.seen.devices)).tolist():
            device, able = self.seen.devices[place], self.seen.actions[place]
            beside, part = self.standing.beside(device), lap.parts[device]
            told, fallback, _ = fit(part, self.standing.held(device), able, beside, floor, self.accuracies)
            assert beside.tenths + self.accuracies.tenths[told.model] >= (beside.count + 1) * floor
            assert beside.worst_tenths + self.accuracies.tenths[fallback] >= (beside.count + 1) * floor
            self.standing.tell(device, told, fallback)
            laps.note(device, Came(told, told, self._ms(place) * self.random.normal(1.0, 0.03)))

    def joint(self) -> list[int]:
        """What all hold, as columns of the world's problem; who holds nothing its first action."""
        columns = self.world.problem()[1]
        pairs = zip(self.seen.devices, self.seen.actions, strict=True)
        return [columns.index(self.standing.held(device) or able[0]) for device, able in pairs]

    def above(self) -> float:
        """By what share what all hold is above the optimum."""
        return self.world.problem()[0].total_ms(self.joint()) / self.world.optimum().total_ms - 1

    def _ms(self, place: int) -> float:
        problem, joint = self.world.problem()[0], np.array(self.joint())
        tier = int(problem.tier[joint[place]])
        shared_ms = float(problem.shared_ms[tier - 1, (problem.tier[joint] == tier).sum()]) if tier else 0.0
        return float(problem.own_ms[place, joint[place]]) + shared_ms


def _with_laps(
    agent: Any, accuracies: Accuracies, scenario: Callable[[Laps, Callable[[Observation], Awaitable[None]]], Any]
) -> list[Checkpoint]:
    """Run `scenario` with laps of `agent` and a way to wait for the next plan; returns what was saved."""
    saved: list[Checkpoint] = []

    async def run() -> None:
        laps, now_s = Laps(agent, accuracies, saved.append), 0.0

        async def turn(seen: Observation) -> None:
            nonlocal now_s
            now_s += 1e6  # whatever has to pass has passed
            before = laps.in_force
            laps.turn(lambda: seen, now_s)
            async with asyncio.timeout(PATIENCE_S):
                while laps.in_force is before and laps._busy:
                    await asyncio.sleep(0)

        await scenario(laps, turn)
        await asyncio.to_thread(laps.close)

    asyncio.run(run())
    return saved


@pytest.mark.parametrize("floor_tenths", [0, 850, 899])
def test_a_large_site_ends_near_the_optimum_and_keeps_the_floor_at_each_request(
    accuracies: Accuracies, floor_tenths: int
) -> None:
    """60 devices, 25 laps: over the last five what all hold is on average within 5 % of the optimum."""
    site, above = Site(world_of("heterogeneous", "exp-a", 60, floor_tenths, seed=2), accuracies), []
    agent = Factored(FactoredSection(), StateSection(), dict(accuracies.tenths), seed=2)

    async def scenario(laps: Laps, turn: Callable[[Observation], Awaitable[None]]) -> None:
        for _ in range(25):
            await turn(site.seen)
            site.lap(laps)
            above.append(site.above())

    saved = _with_laps(agent, accuracies, scenario)

    assert np.mean(above[-5:]) < 0.05
    assert "factored" == saved[0].agent


def test_the_factored_agent_plans_for_large_sites_alone(accuracies: Accuracies) -> None:
    """From 48 devices on; once it does, down to half as many, so that a site does not change back and forth."""
    agent = Factored(FactoredSection(), StateSection(), dict(accuracies.tenths), seed=2)
    assert isinstance(agent, Planning)

    async def scenario(laps: Laps, turn: Callable[[Observation], Awaitable[None]]) -> None:
        assert [False, True] == [laps.serves(47), laps.serves(48)]
        await turn(world_of("paper", "exp-a", 48, 850, seed=2).observe())
        assert [False, True] == [laps.serves(23), laps.serves(24)]

    _with_laps(agent, accuracies, scenario)


class Unable:
    """Cannot decide."""

    name, stateful, plans_from = "unable", False, 2

    def act(self, _seen: Any) -> Choice:
        raise TierwiseError("cannot")

    def act_one(self, *_: Any) -> Choice:
        raise NotImplementedError

    learn = learn_one = save = load = act_one


def test_an_agent_that_cannot_plan_leaves_the_plan_as_it_is(accuracies: Accuracies, observe: Any) -> None:
    """None at first; it is asked again."""

    async def scenario(laps: Laps, turn: Callable[[Observation], Awaitable[None]]) -> None:
        for _ in range(2):
            await turn(observe(3, 850))
            assert laps.in_force is None

    _with_laps(Unable(), accuracies, scenario)


def test_a_lap_is_over_when_nearly_all_had_their_turn_or_after_two_seconds(observe: Any, ten_actions: Any) -> None:
    """Never before anybody reported."""
    seen = observe(10, 850)
    lap = Lap(seen, dict.fromkeys(seen.devices, None), 100.0)  # type: ignore[arg-type]
    assert not lap.is_over(1000.0)
    lap.came[NodeId("s1")] = Came(ten_actions[0], ten_actions[0], 10.0)
    assert [False, True] == [lap.is_over(101.9), lap.is_over(102.0)]
    lap.came.update(dict.fromkeys(seen.devices[:9], lap.came[NodeId("s1")]))
    assert [False, True] == [lap.is_over(100.2), lap.is_over(100.31)]


def test_who_did_not_report_was_not_asked(accuracies: Accuracies, observe: Any) -> None:
    """Of a dead edge three devices hold, one alone was heard of: nothing is said of it. Two: it is dead."""
    seen = observe(60, 850)
    edge, local = seen.actions[0][8], seen.actions[0][0]
    dead = []
    for heard in (1, 2):
        agent = Factored(FactoredSection(), StateSection(), dict(accuracies.tenths), seed=2)
        lap = Lap(seen, _parts(seen, [edge] * 3 + [local] * 57), 0.0)
        lap.came.update({device: Came(edge, local, None) for device in seen.devices[:heard]})
        agent.learn(lap.experience())
        dead.append(agent.schedule.tiers[1].dead)

    assert [False, True] == dead


def _parts(seen: Observation, actions: list[Action]) -> dict[NodeId, Any]:
    return {device: Part(action, action.model, None) for device, action in zip(seen.devices, actions, strict=True)}
