"""Requests decided at once on a large site, and in overload: every one is answered, and the floor holds throughout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.clock import ManualClock
from broker.errors import Refused
from broker.messages import Birth, Decision, Heartbeat, Report, Stages, State, Telemetry
from broker.topics import Channel
from broker.vocabulary import Link, ModelName, NodeId, NodeState, Outcome, RequestId, Tier
from configs.orchestrator import GoalSection, OrchestratorConfig
from orchestrator.accuracy import Accuracies
from orchestrator.alarms import Alarms
from orchestrator.conductor import Conductor, Doors, SiteParts
from orchestrator.goal import goal_at_start
from orchestrator.log_rows import DecisionRow, ExplanationRow
from orchestrator.nodes import Registry
from orchestrator.overload import MANY_PER_S
from orchestrator.policies import Policies

PATIENCE_S = 120.0
FLOOR = 850


class Site:
    """A conductor with `count` devices, an edge and a cloud; what it published and logged."""

    def __init__(self, directory: Path, accuracies: Accuracies, policy: str, count: int) -> None:
        self.accuracies, self.clock, self.late_s = accuracies, ManualClock(), 0.0
        self.decided: list[tuple[NodeId, Decision]] = []
        self.logged: list[DecisionRow | ExplanationRow] = []
        goal = {"policy": policy, "accuracy_floor": FLOOR / 10}
        config = OrchestratorConfig.model_validate(
            {
                "version": 1, "site": "lab", "goal": goal, "rounds": {"mode": "immediate"}, "seed": 1,
                "files": {"directory": str(directory)},
            }
        )  # fmt: skip
        self.registry = Registry(1e9)
        doors = Doors(self._publish, self.logged.append, lambda: True, lambda _now_s: self.late_s)
        parts = SiteParts(self.registry, accuracies, Policies(config, accuracies), Alarms(self.clock))
        goal_in_force = goal_at_start(GoalSection.model_validate(goal), None)
        self.conductor = Conductor(config, parts, goal_in_force, 1, doors, self.clock)
        self.devices = [NodeId(f"s{number:02d}") for number in range(count)]
        for node in (*self.devices, NodeId("edge"), NodeId("cloud")):
            self._join(node)

    def _join(self, node: NodeId) -> None:
        tier = Tier(node) if node in ("edge", "cloud") else Tier.END
        models = {str(model): "0" * 64 for model in self.accuracies.tenths}
        self.registry.on_birth(node, Birth(session=1, tier=tier, agent_version="1", vcpus=1, models=models))
        self.registry.on_state(node, State(session=1, state=NodeState.ONLINE))
        self.registry.on_heartbeat(node, Heartbeat(session=1, seq=0), 0.0)
        told = Telemetry(seq=0, cpu_percent=5.0, memory_percent=5.0, link=Link.REGULAR)
        self.registry.on_telemetry(node, told)

    def _publish(self, node: NodeId, channel: Channel, body: Any) -> bool:
        if channel is Channel.DECISION:
            self.decided.append((node, body))
        return True

    def ask(self, device: NodeId, request_id: str) -> Decision:
        """What a device is told at once; the floor is kept beside what all others were told last."""
        before = len(self.decided)
        self.conductor.ask(device, RequestId(request_id), self.clock.monotonic())
        assert [device] == [node for node, _ in self.decided[before:]]
        last = dict(self.decided)
        assert self.accuracies.meets([ModelName(told.model) for told in last.values()], FLOOR)
        return self.decided[-1][1]

    def report(self, device: NodeId, told: Decision, response_ms: float) -> None:
        """It did so."""
        report = Report(
            request_id=told.request_id, outcome=Outcome.DONE, decided=True, tier=told.tier, model=told.model,
            serving_node=told.serving_node, response_ms=response_ms, stages=Stages(),
        )  # fmt: skip
        self.conductor.report(device, report, self.clock.monotonic())

    async def settle(self, condition: Callable[[], bool]) -> None:
        """Let the loop and the thread that plans work until that is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0)


def _run(scenario: Any, *arguments: Any) -> Site:
    async def run() -> Site:
        site = Site(*arguments)
        finisher = asyncio.create_task(site.conductor.finisher.run())
        site.conductor.start()
        try:
            await scenario(site)
        finally:
            site.conductor.stop()
            await asyncio.to_thread(site.conductor.close)
            await site.conductor.finisher.close()
            finisher.cancel()
        return site

    return asyncio.run(run())


def test_a_large_site_is_decided_by_plans_with_the_floor_kept_at_each_request(
    tmp_path: Path, accuracies: Accuracies
) -> None:
    """60 devices: the first are told a safe local model until there is a plan; then each is told its part, and why."""

    async def scenario(site: Site) -> None:
        for lap in range(6):
            for number, device in enumerate(site.devices):
                told = site.ask(device, f"request-{lap}-{number:02d}")
                site.report(device, told, 300.0 if told.tier is Tier.END else 100.0)
                await asyncio.sleep(0)
            laps = next(iter(site.conductor._large._laps.values()))
            site.clock.advance(10.0)
            await site.settle(lambda laps=laps: laps.in_force is not None and not laps._busy)

    site = _run(scenario, tmp_path, accuracies, "factored", 60)
    last = [decision for _, decision in site.decided[-60:]]

    assert "safe_fallback" == site.decided[0][1].policy
    assert {"factored"} == {decision.policy for decision in last}
    explained = {row.request_id for row in site.logged if isinstance(row, ExplanationRow)}
    assert explained & {decision.request_id for decision in last}
    assert (tmp_path / "factored.npz").exists()


@pytest.mark.parametrize(("policy", "count"), [("edge_only", 3), ("factored", 3), ("factored", 60)])
def test_in_overload_every_request_is_answered_with_a_safe_local_model(
    tmp_path: Path, accuracies: Accuracies, policy: str, count: int
) -> None:
    """500 requests in a second, of which the 200th and all later ones wait too long; afterwards the policy decides."""

    async def scenario(site: Site) -> None:
        site.late_s = 0.05
        for number in range(500):
            device = site.devices[number % count]
            told = site.ask(device, f"request-{number}")
            site.report(device, told, 100.0)
            await asyncio.sleep(0)
        site.late_s = 0.0
        site.ask(site.devices[0], "request-after")

    site = _run(scenario, tmp_path, accuracies, policy, count)
    refused = [decision for _, decision in site.decided[MANY_PER_S - 1 : 500]]

    assert {("safe_fallback", Tier.END)} == {(decision.policy, decision.tier) for decision in refused}
    assert 501 - MANY_PER_S == site.conductor.figures()["answered_cheaply"]
    assert len({decision.request_id for _, decision in site.decided}) == 501
    assert 501 == sum(isinstance(row, DecisionRow) for row in site.logged)


def test_a_request_that_was_answered_in_overload_is_not_answered_twice(tmp_path: Path, accuracies: Accuracies) -> None:
    """QoS 1 may bring it again."""

    async def scenario(site: Site) -> None:
        site.late_s = 0.05
        for number in range(MANY_PER_S):
            device = site.devices[number % 3]
            site.report(device, site.ask(device, f"request-{number}"), 100.0)
        with pytest.raises(Refused, match="duplicate"):
            site.conductor.ask(device, RequestId(f"request-{number}"), site.clock.monotonic())

    _run(scenario, tmp_path, accuracies, "edge_only", 3)
